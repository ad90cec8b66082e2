"""Entropy: target entropy minimisation."""

from torch import Tensor

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method
from jointadapt.methods.parts import entropies
from jointadapt.networks.network import Activations


class Entropy(Method):
    """The mean entropy of the target's predictions: 1/n Σ_i H(p_i).

    It draws the class borders away from dense regions. Alone it may lead to one class for all; it is meant to go with a
    method that matches the domains, as in RTN. The source is not used.

    Source: Grandvalet and Bengio, NIPS 2004; for a target domain: Long et al. (RTN), NIPS 2016, Eq. (8).
    """

    trade_off = 0.3
    stacks_by = ()

    def forward(self, source: Activations, target: Activations) -> Tensor:  # noqa: ARG002
        """Return the mean entropy, from 0 to log(classes)."""
        return entropies(wide(target.logits)).mean(-1)
