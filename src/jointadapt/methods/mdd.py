"""MDD: margin disparity discrepancy."""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method
from jointadapt.methods.parts import SecondClassifierWidth, second_classifier, weighted_mean
from jointadapt.networks.network import Activations
from jointadapt.networks.reversal import reverse
from jointadapt.runtime.options import Positive

Margin = Annotated[Positive, "Margin factor γ = exp(ρ), the weight of the source term."]


class MDD(Method):
    """The loss of a second classifier f' that agrees with the first, f, on the source and disagrees on the target:

        γ · mean −log σ_{ŷ}(f'(f_s)) + mean −log(1 − σ_{ŷ}(f'(f_t))),   ŷ: the class that f predicts

    f' minimises it, the network's features maximise it, behind a reversal; f only gives the labels ŷ.

    Source: Zhang, Liu, Long, Jordan, ICML 2019, Eq. (29), (30).
    """

    trade_off = 0.1

    def __init__(
        self,
        widths: Sequence[int],
        *,
        margin: Margin = 4.0,
        second_classifier_width: SecondClassifierWidth = 1024,
    ) -> None:
        super().__init__(widths)
        self.margin = margin
        self.other = second_classifier(widths, second_classifier_width)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the loss of f', ≥ 0."""
        logits_s, logits_t = (wide(self.other(reverse(sample.features))) for sample in (source, target))
        predicted = one_hot(target.logits.argmax(1), logits_t.shape[1]).bool()
        others = logits_t.masked_fill(predicted, -float("inf")).logsumexp(1)  # log(1 − σ_ŷ), but for the norm
        disagreement = (logits_t.logsumexp(1) - others).mean()
        losses = cross_entropy(logits_s, source.logits.argmax(1), reduction="none")
        return self.margin * weighted_mean(losses, source.weights) + disagreement
