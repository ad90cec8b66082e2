"""MCD: maximum classifier discrepancy, as a reversal."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jointadapt.discrepancy.distances import wide
from jointadapt.methods.base import Method
from jointadapt.networks.network import Activations
from jointadapt.networks.reversal import reverse


class MCD(Method):
    """Two classifiers, right on the source, disagree on the target as far as they can; the features make them agree:

        mean −log p₂(y_s | f_s) − d,   d = mean_i 1/C Σ_c |p₁(c | f_t) − p₂(c | f_t)|

    The first is the network's own, the second the method's. Both ascend on d, the features, behind a reversal, descend:
    the paper's steps B and C in one.

    Args:
        head: width of the second classifier's hidden layer.

    Source: Saito, Watanabe, Ushiku, Harada, CVPR 2018, Eq. (2), (5), (8).
    """

    opposes_classifier = True
    trade_off = 1.0

    def __init__(self, widths: Sequence[int], *, head: int = 1024) -> None:
        super().__init__()
        self.second = nn.Sequential(nn.Linear(widths[-2], head), nn.ReLU(), nn.Linear(head, widths[-1]))

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the second classifier's risk, less the discrepancy d, which is from 0 to 2/C."""
        assert source.labels is not None
        assert target.opposed is not None
        risk = cross_entropy(wide(self.second(source.features)), source.labels)
        first, second = (wide(logits).softmax(1) for logits in (target.opposed, self.second(reverse(target.features))))
        return risk - (first - second).abs().mean()
