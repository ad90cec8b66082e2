"""SHOT: source hypothesis transfer, which needs the source model but no source row."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method, Needs
from jointadapt.methods.parts import entropies, imbalance
from jointadapt.networks.network import Activations
from jointadapt.runtime.options import Count, NotNegative

PseudoLabelWeight = Annotated[NotNegative, "β, the weight of the pseudo-label loss."]


class SHOT(Method):
    """Information maximisation plus cross-entropy with labels from class centroids of the target:

        mean H(p_i) − H(mean p_i) + β · mean −log p_i(ŷ_i),   ŷ_i = argmax_c cos(f_i, μ_c)

    H(mean p_i) is as in IM: with estimated class shares the mean is drawn to them. The network starts as the
    source-only model; its classifier stays as it is and its features move. Centroids come from the last rows seen (the
    paper passes the whole target once an epoch): weighed by p first, then by the labels those give, as in the paper's
    Eq. (4)-(6).

    Source: Liang, Hu, Feng, ICML 2020, Eq. (3)-(7).
    """

    needs = Needs(source=False)
    trade_off = 1.0
    seen: Tensor
    certainty: Tensor

    def __init__(
        self,
        widths: Sequence[int],
        *,
        pseudo_label_weight: PseudoLabelWeight = 0.3,
        centroid_memory: Annotated[
            Count, "Number of the last target examples that the class centroids are computed from."
        ] = 1024,
    ) -> None:
        super().__init__(widths)
        self.pseudo_label_weight = pseudo_label_weight
        self.register_buffer("seen", torch.zeros(centroid_memory, widths[-2]))
        self.register_buffer("certainty", torch.zeros(centroid_memory, widths[-1]))

    def forward(self, source: Activations | None, target: Activations) -> Tensor:  # noqa: ARG002
        """Return the two terms' sum."""
        logits, features = wide(target.logits), wide(target.features).detach()
        p, rows = logits.softmax(1), len(self.seen)
        self.seen = torch.cat([features, self.seen.to(features.dtype)])[:rows]
        self.certainty = torch.cat([p.detach(), self.certainty.to(p.dtype)])[:rows]
        information = -imbalance(p.mean(0), self.class_shares) - entropies(logits).mean()
        return self.pseudo_label_weight * cross_entropy(logits, self._labels(features)) - information

    def _labels(self, features: Tensor) -> Tensor:
        """Return each row's nearest centroid; rows of the memory that are still empty are 0, and so add nothing."""
        first = _nearest(self.seen, self.certainty.T @ self.seen)
        weights = one_hot(first, self.certainty.shape[1]).to(features.dtype)
        return _nearest(features, weights.T @ self.seen)


def _nearest(rows: Tensor, centroids: Tensor) -> Tensor:
    """Return the class of the highest cosine; a centroid's length, and so the sum of its weights, does not matter."""
    return (normalize(rows) @ normalize(centroids).T).argmax(1)
