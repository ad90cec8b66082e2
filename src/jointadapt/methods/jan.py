"""JAN: joint adaptation network."""

from collections.abc import Sequence

from torch import Tensor

from jointadapt.discrepancy.constants import FIVE_SCALES, SOFTMAX_BANDWIDTH, BandwidthRule
from jointadapt.discrepancy.kernels import jan_kernels
from jointadapt.methods.base import ESTIMATORS, KERNEL_WEIGHTS, Method
from jointadapt.networks.network import Activations


class JAN(Method):
    """JMMD² of all layers jointly: D̂_L(P, Q), Eq. (7).

    Args:
        estimator: "unbiased", "biased" (Eq. 7), "linear" (Eq. 11) or "fourier".
        bandwidth, scales: of the sum of Gaussians on every layer but the last.
        kernel_weights: "equal", or "optimal": of those Gaussians, as DAN's, from the batch's own features.
        output_bandwidth: γ of the one Gaussian on the softmax layer.

    Source: Long et al., ICML 2017, Eq. (7), (9), (11).
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        estimator: str = "unbiased",
        bandwidth: float | BandwidthRule = "mean",
        scales: tuple[float, ...] = FIVE_SCALES,
        kernel_weights: str = "equal",
        output_bandwidth: float | BandwidthRule = SOFTMAX_BANDWIDTH,
    ) -> None:
        super().__init__()
        self.jmmd = ESTIMATORS[estimator]
        self.kernels = jan_kernels(len(widths), bandwidth, scales, output_bandwidth)
        self.weigh = KERNEL_WEIGHTS[kernel_weights]

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return JMMD² of the two batches."""
        kernels = self.weigh(self.kernels, source.layers, target.layers)
        return self.jmmd(source.layers, target.layers, kernels)
