"""Deep CORAL: correlation alignment."""

from torch import Tensor

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method
from jointadapt.methods.parts import weighted_mean
from jointadapt.networks.network import Activations


class CORAL(Method):
    """The squared Frobenius distance of the features' covariances: ‖C_s − C_t‖² / (4 d²).

    C_s is weighted where source examples have weights.

    Source: Sun and Saenko, ECCV 2016 workshops, Eq. (1)-(3).
    """

    trade_off = 1.0
    stacks_by = ()

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the distance, ≥ 0; it wants 2 rows of each domain."""
        difference = _covariance(wide(source.features), source.weights) - _covariance(wide(target.features))
        return difference.square().sum((-2, -1)) / (4 * difference.shape[-1] ** 2)


def _covariance(rows: Tensor, weights: Tensor | None = None) -> Tensor:
    if weights is None:
        centred = rows - rows.mean(-2, keepdim=True)
        return centred.mT @ centred / (rows.shape[-2] - 1)
    centred = rows - weighted_mean(rows, weights)
    w = (weights / weights.sum()).to(rows.dtype)
    return centred.T @ (w[:, None] * centred) / (1 - w.square().sum()).clamp_min(1 / len(rows))
