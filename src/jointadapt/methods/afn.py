"""AFN: adaptive feature norm, the stepwise one (SAFN)."""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method
from jointadapt.networks.network import Activations
from jointadapt.runtime.options import Positive

NormStep = Annotated[Positive, "Δr, by which a step increases the features' norms."]


class AFN(Method):
    """The squared distance of each row's feature norm from a norm Δr larger than its present one, in both domains:

        1/n Σ_i (h(x_i) − (h⁰(x_i) + Δr))²,   h = ‖f‖,   h⁰: h without gradient

    Its value is Δr² for each domain at every step, so the curve is flat; its gradient makes all norms grow alike.

    Source: Xu, Li, Yang, Lin, ICCV 2019, Eq. (6).
    """

    trade_off = 0.05
    stacks_by = ("norm_step",)

    def __init__(
        self,
        widths: Sequence[int],
        *,
        norm_step: NormStep = 1.0,
    ) -> None:
        super().__init__(widths)
        self.norm_step = norm_step

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the sum of both domains' distances, 2 Δr²."""
        return self._distance(wide(source.features)) + self._distance(wide(target.features))

    def _distance(self, features: Tensor) -> Tensor:
        norms = features.norm(dim=-1)
        return (norms - (norms.detach() + self.norm_step)).square().mean(-1)
