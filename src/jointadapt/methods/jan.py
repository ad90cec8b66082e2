"""JAN and JAN-A: joint adaptation networks."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from jointadapt.discrepancy.constants import SOFTMAX_BANDWIDTH, BandwidthRule
from jointadapt.discrepancy.example_weights import Weights
from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.methods.weighed_kernels import WeighedKernelMethod
from jointadapt.networks.network import Activations
from jointadapt.networks.reversal import reverse
from jointadapt.runtime.options import Positive

OutputBandwidth = Annotated[Positive | BandwidthRule, "Bandwidth γ of the softmax layer."]


class JAN(WeighedKernelMethod):
    """JMMD² of all layers jointly: D̂_L(P, Q), Eq. (7).

    The paper's D̂_L is the estimator "biased", its linear form, Eq. (11), "linear".

    Source: Long et al., ICML 2017, Eq. (7), (9), (11).
    """

    stacks_by = ("estimator", "kernels")

    def __init__(
        self,
        widths: Sequence[int],
        *,
        output_bandwidth: OutputBandwidth = SOFTMAX_BANDWIDTH,
        **options: Any,
    ) -> None:
        super().__init__(widths[:-1], GaussianKernel(output_bandwidth, (1.0,)), **options)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return JMMD² of the two batches."""
        return self._jmmd(source.layers, target.layers, self.weights(source, target))

    def _jmmd(self, source: Sequence[Tensor], target: Sequence[Tensor], weights: Weights | None = None) -> Tensor:
        return self.discrepancy(source, target, self.weigh(self.kernels, source, target), weights=weights)


class JANA(JAN):
    """JAN-A: JMMD² of θ(layers), where θ, one fully connected layer on each, maximises what the network minimises.

    θ starts as the identity, so training starts as JAN.

    Source: Long et al., ICML 2017, Sec. 4.2, Eq. (10).
    """

    def __init__(self, widths: Sequence[int], **options: Any) -> None:
        super().__init__(widths, **options)
        self.theta = nn.ModuleList(_identity(width) for width in widths)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return JMMD² as θ sees it. θ lies between the two reversals and ascends; the network has both behind it."""
        return reverse(self._jmmd(self._seen(source), self._seen(target), self.weights(source, target)))

    def _seen(self, sample: Activations) -> list[Tensor]:
        return [theta(reverse(layer)) for theta, layer in zip(self.theta, sample.layers, strict=True)]


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    with torch.no_grad():
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer
