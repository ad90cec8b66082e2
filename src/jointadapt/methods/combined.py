"""Several methods as one."""

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import cast

from torch import Tensor, nn

from jointadapt.methods.base import Method
from jointadapt.networks.network import Activations


class Combined(Method):
    """The sum of several methods' terms, each times its own trade-off: Σ_k λ_k · transfer_k(source, target)."""

    trade_off = 1.0

    def __init__(self, parts: Sequence[Method]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.needs = reduce(or_, (part.needs for part in parts))

    def source_logits(self, source: Activations) -> Tensor:
        """Return the logits that the risk is taken of: each part's of those before it."""
        for part in cast(Iterable[Method], self.parts):
            source = source._replace(logits=part.source_logits(source))
        return source.logits

    def weighted_parts(self) -> list[tuple[float, Method]]:
        """Return the parts, and their trade-offs."""
        return [(part.trade_off, part) for part in cast(Iterable[Method], self.parts)]

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the weighted sum."""
        terms = (part.trade_off * part(source, target) for part in self.parts)
        return sum(terms, source.logits.new_zeros(()))
