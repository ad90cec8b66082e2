"""FixMatch-style self-training with an EMA teacher."""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor
from torch.nn.functional import cross_entropy

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method, Needs
from jointadapt.networks.network import Activations
from jointadapt.runtime.options import Fraction


class FixMatch(Method):
    """Cross-entropy of the network on target rows that its teacher is sure of, with the teacher's labels:

        1/n Σ_i [max q_i ≥ τ] · −log p_i(argmax q_i)

    The teacher is an exponential moving average (EMA) of the network's weights and sees each example without dropout,
    the weak view; the network sees it with dropout, the strong one. The source is not used.

    Source: Sohn et al., NeurIPS 2020, Eq. (4); the teacher: Tarvainen and Valpola, NIPS 2017.
    """

    needs = Needs(teacher=True)
    trade_off = 1.0

    def __init__(
        self,
        widths: Sequence[int],
        *,
        confidence_threshold: Annotated[
            Fraction, "τ, the least confidence of the teacher at which its label counts."
        ] = 0.9,
    ) -> None:
        super().__init__(widths)
        self.confidence_threshold = confidence_threshold

    def forward(self, source: Activations, target: Activations) -> Tensor:  # noqa: ARG002
        """Return the masked cross-entropy, ≥ 0."""
        assert target.teacher is not None
        certainty, labels = target.teacher.max(1)
        losses = cross_entropy(wide(target.logits), labels, reduction="none")
        return (losses * (certainty >= self.confidence_threshold)).mean()
