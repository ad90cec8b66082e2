"""DAN: deep adaptation network."""

from collections.abc import Sequence

from torch import Tensor

from jointadapt.kernels import FIVE_SCALES, BandwidthRule, GaussianKernel
from jointadapt.methods.contract import ESTIMATORS, Method
from jointadapt.networks import Activations


class DAN(Method):
    """Multi-kernel MMD² of each layer, summed over the layers: Σ_ℓ MMD²(X_s^ℓ, X_t^ℓ).

    Args:
        estimator: "unbiased", "biased" or "linear" (the paper's).
        bandwidth, scales: of the Gaussians, equally weighted, on every layer.

    Source: Long et al., ICML 2015, Eq. (4).
    """

    def __init__(
        self,
        widths: Sequence[int],  # noqa: ARG002
        *,
        estimator: str = "unbiased",
        bandwidth: float | BandwidthRule = "mean",
        scales: tuple[float, ...] = FIVE_SCALES,
    ) -> None:
        super().__init__()
        self.mmd = ESTIMATORS[estimator]
        self.kernel = GaussianKernel(bandwidth, scales)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the sum over layers; MMD is JMMD of one layer."""
        pairs = zip(source.layers, target.layers, strict=True)
        return sum((self.mmd([s], [t], [self.kernel]) for s, t in pairs), source.logits.new_zeros(()))
