"""RTN: residual transfer network."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.kernel_methods import KernelMethod
from jointadapt.methods.parts import entropies
from jointadapt.networks.network import Activations


class RTN(KernelMethod):
    """Tensor MMD² of fused features plus target entropy; the source classifier differs from the target's by a residual:

        MMD²(f_s ⊗ p_s, f_t ⊗ p_t) + mean H(p_t),   logits for the risk: z_s + Δ(z_s)

    p and z are the target classifier's, the one that predicts. Δ, two small layers, starts as 0.

    Source: Long, Zhu, Wang, Jordan, NIPS 2016, Eq. (4), (6), (8), (9).
    """

    trade_off = 0.3

    def __init__(self, widths: Sequence[int], **options: Any) -> None:
        super().__init__(widths[-2:-1], **options)
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
        weights = self.weights(source, target)
        discrepancy = self.discrepancy([_fused(source)], [_fused(target)], self.kernels, weights=weights)
        return discrepancy + entropies(wide(target.logits)).mean()


def _fused(sample: Activations) -> Tensor:
    return (sample.features[:, :, None] * sample.layers[-1][:, None, :]).flatten(1)
