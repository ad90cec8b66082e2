"""IM: information maximisation."""

from torch import Tensor

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method
from jointadapt.methods.parts import entropies, imbalance
from jointadapt.networks.network import Activations


class IM(Method):
    """Minus the mutual information of target rows and their predicted classes: mean H(p_i) − H(mean p_i).

    Each row certain, the classes balanced over the batch; with estimated class shares their mean is drawn to those. The
    source is not used.

    Source: Gomes, Krause, Perona, NIPS 2010, Eq. (2); as a transfer term: Liang, Hu, Feng (SHOT), ICML 2020, Eq. (3).
    """

    trade_off = 1.0
    stacks_by = ("class_shares",)

    def forward(self, source: Activations, target: Activations) -> Tensor:  # noqa: ARG002
        """Return the negative information, from −log(classes) to 0 where no shares are given."""
        logits = wide(target.logits)
        return entropies(logits).mean(-1) + imbalance(logits.softmax(-1).mean(-2), self.class_shares)
