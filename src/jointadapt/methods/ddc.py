"""DDC: deep domain confusion."""

from collections.abc import Sequence

from torch import Tensor

from jointadapt.discrepancy.constants import BandwidthRule
from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.methods.base import ESTIMATORS, Method
from jointadapt.networks.network import Activations


class DDC(Method):
    """MMD² with one kernel on one layer, the features: MMD²(f_s, f_t).

    Args:
        estimator: "unbiased", "biased", "linear" or "fourier".
        bandwidth: of the one Gaussian.

    The original has a linear kernel, ‖mean f_s − mean f_t‖², whose size follows the number and size of the features, so
    that no one λ serves; a Gaussian at the mean distance has no scale of its own.

    Source: Tzeng et al., arXiv 1412.3474, Eq. (1).
    """

    def __init__(
        self,
        widths: Sequence[int],  # noqa: ARG002
        *,
        estimator: str = "unbiased",
        bandwidth: float | BandwidthRule = "mean",
    ) -> None:
        super().__init__()
        self.mmd = ESTIMATORS[estimator]
        self.kernel = GaussianKernel(bandwidth, scales=(1.0,))

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return MMD² of the features."""
        return self.mmd([source.features], [target.features], [self.kernel])
