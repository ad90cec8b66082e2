"""BNM: batch nuclear-norm maximisation."""

import torch
from torch import Tensor

from jointadapt.methods.base import Method
from jointadapt.networks.network import Activations


class BNM(Method):
    """Minus the nuclear norm of the target's class probabilities: −‖P_t‖_* / n.

    A large nuclear norm means predictions that are certain (a large Frobenius norm) and of many classes (a high rank).
    The source is not used.

    Source: Cui et al., CVPR 2020, Eq. (10).
    """

    trade_off = 1.0
    stacks_by = ()

    def forward(self, source: Activations, target: Activations) -> Tensor:  # noqa: ARG002
        """Return the negative norm, from −√(min(n, classes) / n) to −1/√(n · classes)."""
        probabilities = target.layers[-1]
        return -torch.linalg.matrix_norm(probabilities, "nuc") / probabilities.shape[-2]
