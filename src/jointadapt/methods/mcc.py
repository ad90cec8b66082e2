"""MCC: minimum class confusion."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method
from jointadapt.methods.parts import entropies
from jointadapt.networks.network import Activations
from jointadapt.runtime.options import Positive


class MCC(Method):
    """How much the classes are confused on the target, from the pair-wise correlation C of class probabilities:

        C = Ŷᵀ W Ŷ,   1/|C| Σ_j Σ_{j'≠j} C_jj' / Σ_k C_jk,   Ŷ = softmax(Z_t / T),   W_ii ∝ 1 + exp(−H(ŷ_i))

    W, of mean 1, trusts certain rows more, and carries no gradient (the authors' code). T keeps confident rows from
    hiding how they are confused. The source is not used.

    Source: Jin, Wang, Long, Wang, ECCV 2020, Eq. (2)-(7).
    """

    trade_off = 1.0
    stacks_by = ("temperature",)

    def __init__(
        self,
        widths: Sequence[int],
        *,
        mcc_temperature: Annotated[Positive, "T of the softmax whose confusion is measured."] = 2.5,
    ) -> None:
        super().__init__(widths)
        self.temperature = mcc_temperature

    def forward(self, source: Activations, target: Activations) -> Tensor:  # noqa: ARG002
        """Return the confusion, from 0 (each class certain) to 1 − 1/classes (no class is told from another)."""
        logits = wide(target.logits) / self.temperature
        Y = logits.softmax(-1)
        weights = 1 + torch.exp(-entropies(logits.detach()))
        C = Y.mT @ (Y * (weights / weights.mean(-1, keepdim=True))[..., None])
        confusion = C / C.sum(-1, keepdim=True).clamp_min(torch.finfo(C.dtype).tiny)
        return 1 - confusion.diagonal(dim1=-2, dim2=-1).sum(-1) / C.shape[-1]
