"""IM: information maximisation."""

import torch
from torch import Tensor

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method, entropies
from jointadapt.networks.network import Activations


class IM(Method):
    """Minus the mutual information of target rows and their predicted classes: mean H(p_i) − H(mean p_i).

    Each row certain, the classes balanced over the batch. The source is not used.

    Source: Gomes, Krause, Perona, NIPS 2010, Eq. (2); as a transfer term: Liang, Hu, Feng (SHOT), ICML 2020, Eq. (3).
    """

    trade_off = 1.0

    def forward(self, source: Activations, target: Activations) -> Tensor:  # noqa: ARG002
        """Return the negative information, from −log(classes) to 0."""
        logits = wide(target.logits)
        mean = logits.softmax(1).mean(0).clamp_min(torch.finfo(logits.dtype).tiny)
        return entropies(logits).mean() - torch.special.entr(mean).sum()
