"""DDC: deep domain confusion."""

from collections.abc import Sequence

from torch import Tensor

from jointadapt.methods.contract import Method
from jointadapt.networks import Activations


class DDC(Method):
    """MMD² with a linear kernel on one layer: ‖mean φ(x_s) − mean φ(x_t)‖².

    Source: Tzeng et al., arXiv 1412.3474, Eq. (1).
    """

    def __init__(self, widths: Sequence[int]) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the squared distance of the means of the features."""
        return (source.features.mean(0) - target.features.mean(0)).square().sum()
