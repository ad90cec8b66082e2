"""MCD: maximum classifier discrepancy, as a reversal."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import cross_entropy

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method, Needs
from jointadapt.methods.parts import SecondClassifierWidth, second_classifier, weighted_mean
from jointadapt.networks.network import Activations
from jointadapt.networks.reversal import reverse


class MCD(Method):
    """Two classifiers, right on the source, disagree on the target as far as they can; the features make them agree:

        mean −log p₂(y_s | f_s) − d,   d = mean_i 1/C Σ_c |p₁(c | f_t) − p₂(c | f_t)|

    The first is the network's own, the second the method's. Both ascend on d, the features, behind a reversal, descend:
    the paper's steps B and C in one.

    Source: Saito, Watanabe, Ushiku, Harada, CVPR 2018, Eq. (2), (5), (8).
    """

    needs = Needs(reversed_logits=True)
    trade_off = 1.0

    def __init__(self, widths: Sequence[int], *, second_classifier_width: SecondClassifierWidth = 1024) -> None:
        super().__init__(widths)
        self.second = second_classifier(widths, second_classifier_width)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the second classifier's risk, less the discrepancy d, which is from 0 to 2/C."""
        assert source.labels is not None
        assert target.reversed_logits is not None
        losses = cross_entropy(wide(self.second(source.features)), source.labels, reduction="none")
        risk = weighted_mean(losses, source.weights)
        pair = target.reversed_logits, self.second(reverse(target.features))
        first, second = (wide(logits).softmax(1) for logits in pair)
        return risk - (first - second).abs().mean()
