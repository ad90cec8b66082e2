"""Several methods as one."""

from collections.abc import Sequence

from torch import Tensor, nn

from jointadapt.methods.contract import Method
from jointadapt.networks import Activations


class Combined(Method):
    """The sum of several methods' terms, each times its own trade-off: Σ_k λ_k · transfer_k(source, target)."""

    trade_off = 1.0

    def __init__(self, parts: Sequence[Method]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.uses_target = any(part.uses_target for part in parts)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the weighted sum."""
        terms = (part.trade_off * part(source, target) for part in self.parts)
        return sum(terms, source.logits.new_zeros(()))
