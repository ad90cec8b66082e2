"""NWD: nuclear-norm 1-Wasserstein discrepancy, the method DALN."""

import torch
from torch import Tensor

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method, Needs
from jointadapt.networks.network import Activations


class NWD(Method):
    """The classifier as its own critic tells domains by the nuclear norm of predictions: −(‖P_s‖_* / n − ‖P_t‖_* / m).

    The classifier widens the gap, the features, behind a reversal, close it. No discriminator is needed.

    Source: Chen et al., CVPR 2022, Eq. (8), (9).
    """

    needs = Needs(reversed_logits=True)
    trade_off = 1.0
    stacks_by = ()

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return minus the discrepancy; either sign."""
        assert source.reversed_logits is not None
        assert target.reversed_logits is not None
        return _norm(target.reversed_logits) - _norm(source.reversed_logits)


def _norm(logits: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(wide(logits).softmax(-1), "nuc") / logits.shape[-2]
