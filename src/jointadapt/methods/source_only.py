"""No adaptation: the baseline that says whether adapting was worth it."""

from collections.abc import Sequence

from torch import Tensor

from jointadapt.methods.base import Method
from jointadapt.networks.network import Activations


class SourceOnly(Method):
    """The risk on the source alone; no target row is looked at."""

    uses_target = False

    def __init__(self, widths: Sequence[int]) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, source: Activations, target: Activations | None) -> Tensor:  # noqa: ARG002
        """Return 0."""
        return source.logits.new_zeros(())
