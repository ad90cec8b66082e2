"""RTN: residual transfer network."""

from collections.abc import Sequence

from torch import Tensor, nn

from jointadapt.discrepancy.constants import FIVE_SCALES, BandwidthRule
from jointadapt.discrepancy.distances import wide
from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.methods.base import ESTIMATORS, Method, entropy
from jointadapt.networks.network import Activations


class RTN(Method):
    """Tensor MMD² of fused features plus target entropy; the source classifier differs from the target's by a residual:

        MMD²(f_s ⊗ p_s, f_t ⊗ p_t) + mean H(p_t),   logits for the risk: z_s + Δ(z_s)

    p and z are the target classifier's, the one that predicts. Δ, two small layers, starts as 0.

    Args:
        estimator: "unbiased", "biased" or "linear".
        bandwidth, scales: of the Gaussians on the fused features.

    Source: Long, Zhu, Wang, Jordan, NIPS 2016, Eq. (4), (6), (8), (9).
    """

    trade_off = 0.3

    def __init__(
        self,
        widths: Sequence[int],
        *,
        estimator: str = "unbiased",
        bandwidth: float | BandwidthRule = "mean",
        scales: tuple[float, ...] = FIVE_SCALES,
    ) -> None:
        super().__init__()
        self.mmd = ESTIMATORS[estimator]
        self.kernel = GaussianKernel(bandwidth, scales)
        classes = widths[-1]
        last = nn.Linear(classes, classes)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(nn.Linear(classes, classes), nn.ReLU(), last)

    def source_logits(self, source: Activations) -> Tensor:
        """Return the source classifier's logits."""
        return source.logits + self.residual(source.logits)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return discrepancy and entropy."""
        discrepancy = self.mmd([_fused(source)], [_fused(target)], [self.kernel])
        return discrepancy + entropy(wide(target.logits)).mean()


def _fused(sample: Activations) -> Tensor:
    return (sample.features[:, :, None] * sample.layers[-1][:, None, :]).flatten(1)
