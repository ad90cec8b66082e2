"""DAN: deep adaptation network."""

from collections.abc import Sequence

from torch import Tensor

from jointadapt.discrepancy.constants import FIVE_SCALES, BandwidthRule
from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.methods.base import ESTIMATORS, KERNEL_WEIGHTS, Method
from jointadapt.networks.network import Activations


class DAN(Method):
    """Multi-kernel MMD² of each layer, summed over the layers: Σ_ℓ MMD²(X_s^ℓ, X_t^ℓ).

    Args:
        estimator: "unbiased", "biased", "linear" (the paper's) or "fourier".
        bandwidth, scales: of the Gaussians on every layer.
        kernel_weights: "equal", or "optimal" (the paper's): on every layer, those of highest test power in this batch.

    Source: Long et al., ICML 2015, Eq. (4); its weights: Eq. (8).
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        estimator: str = "unbiased",
        bandwidth: float | BandwidthRule = "mean",
        scales: tuple[float, ...] = FIVE_SCALES,
        kernel_weights: str = "equal",
    ) -> None:
        super().__init__()
        self.mmd = ESTIMATORS[estimator]
        self.kernels = (GaussianKernel(bandwidth, scales),) * len(widths)
        self.weigh = KERNEL_WEIGHTS[kernel_weights]

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the sum over layers; MMD is JMMD of one layer."""
        kernels = self.weigh(self.kernels, source.layers, target.layers)
        layers = zip(source.layers, target.layers, kernels, strict=True)
        return sum((self.mmd([s], [t], [kernel]) for s, t, kernel in layers), source.logits.new_zeros(()))
