"""JAN-A: adversarial joint adaptation network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointadapt.discrepancy.constants import FIVE_SCALES, SOFTMAX_BANDWIDTH, BandwidthRule
from jointadapt.discrepancy.kernels import jan_kernels
from jointadapt.methods.base import ESTIMATORS, KERNEL_WEIGHTS, Method
from jointadapt.networks.network import Activations
from jointadapt.networks.reversal import reverse


class JANA(Method):
    """JMMD² of θ(layers): θ, one fully connected layer on each, maximises what the network minimises, Eq. (10).

    θ starts as the identity, so training starts as JAN. Options as JAN's.

    Source: Long et al., ICML 2017, Sec. 4.2, Eq. (10).
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
        self.theta = nn.ModuleList(_identity(width) for width in widths)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return JMMD² as θ sees it. θ lies between the two reversals and ascends; the network has both behind it."""
        source_layers, target_layers = (
            [theta(reverse(layer)) for theta, layer in zip(self.theta, sample.layers, strict=True)]
            for sample in (source, target)
        )
        kernels = self.weigh(self.kernels, source_layers, target_layers)
        return reverse(self.jmmd(source_layers, target_layers, kernels))


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    with torch.no_grad():
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer
