"""CDAN and CDAN+E: conditional domain-adversarial network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method
from jointadapt.methods.parts import DiscriminatorWidth, entropies, perceptron
from jointadapt.networks.network import Activations
from jointadapt.networks.reversal import reverse

MOST_INPUTS = 4096
RANDOM_INPUTS = 1024


class CDAN(Method):
    """The loss of a discriminator D that tells domains by features and predictions jointly, by their products f ⊗ p:

        −½ [mean w_i log σ(D(f_s ⊗ p_s)) + mean w_i log(1 − σ(D(f_t ⊗ p_t)))],   w_i = 1

    Of more than 4096 products, D sees 1024 random multilinear ones, (R_f f) ⊙ (R_p p) / √1024. The network maximises
    the loss through the features alone, as in the authors' code: p carries no gradient. Weights of source examples
    multiply w_i.

    Source: Long, Cao, Wang, Jordan, NeurIPS 2018, Eq. (4), (6), (8).
    """

    weighted = False
    R_f: Tensor | None
    R_p: Tensor | None

    def __init__(self, widths: Sequence[int], *, discriminator_width: DiscriminatorWidth = 1024) -> None:
        super().__init__(widths)
        features, classes = widths[-2], widths[-1]
        randomised = features * classes > MOST_INPUTS
        self.register_buffer("R_f", torch.randn(features, RANDOM_INPUTS) if randomised else None)
        self.register_buffer("R_p", torch.randn(classes, RANDOM_INPUTS) if randomised else None)
        self.discriminator = perceptron(RANDOM_INPUTS if randomised else features * classes, discriminator_width)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the discriminator's cross-entropy; log 2 when it cannot tell the domains."""
        features = reverse(torch.cat([source.features, target.features]))
        logits = wide(torch.cat([source.logits, target.logits]).detach())
        scores = self.discriminator(self._multilinear(features, logits.softmax(1)))[:, 0]
        weights = 1 + torch.exp(-entropies(logits)) if self.weighted else torch.ones_like(logits[:, 0])
        n = len(source.logits)
        of_source = weights[:n] if source.weights is None else weights[:n] * source.weights
        return (_mean(softplus(-scores[:n]), of_source) + _mean(softplus(scores[n:]), weights[n:])) / 2

    def _multilinear(self, features: Tensor, probabilities: Tensor) -> Tensor:
        if self.R_f is None or self.R_p is None:
            return (features[:, :, None] * probabilities[:, None, :]).flatten(1)
        return (features @ self.R_f) * (probabilities @ self.R_p) / math.sqrt(RANDOM_INPUTS)


class CDANE(CDAN):
    """CDAN+E: CDAN with entropy conditioning: rows count by their certainty, w_i ∝ 1 + exp(−H(p_i)), mean 1 a domain.

    Source: Long, Cao, Wang, Jordan, NeurIPS 2018, Eq. (9); normalised as in the authors' code.
    """

    weighted = True


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum()
