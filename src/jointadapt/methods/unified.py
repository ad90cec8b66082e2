"""Unified JMMD and LMMD: one discrepancy, its label kernel to choose."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from jointadapt.discrepancy import GaussianKernel, joint_gram, mmd_biased
from jointadapt.discrepancy.constants import FIVE_SCALES, SOFTMAX_BANDWIDTH
from jointadapt.discrepancy.distances import squared_distances
from jointadapt.methods.base import Method
from jointadapt.methods.kernels import Bandwidth, OwnKernels, Scales, choose_kernels, weigh_pairs
from jointadapt.networks.network import Activations

LabelKernel = Annotated[Literal["marginal", "conditional", "weighted", "gaussian"], "Kernel k_Y on the labels."]


def conditional(Y: Tensor, n: int) -> Tensor:
    """Return Σ_c y_c y'_c / (π_c π'_c) / C over the C classes of the source batch; π: the domain's own class priors."""
    there = Y[:n].sum(0) > 0
    tiny = torch.finfo(Y.dtype).tiny
    Z = torch.cat([part / part.mean(0).clamp_min(tiny) for part in (Y[:n, there], Y[n:, there])])
    return Z @ Z.T / Z.shape[1]


LABEL_KERNELS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "marginal": lambda Y, n: Y.new_ones(()),  # noqa: ARG005
    "conditional": conditional,
    "weighted": lambda Y, n: Y @ Y.T,  # noqa: ARG005
    "gaussian": lambda Y, n: torch.exp(-squared_distances(Y) / SOFTMAX_BANDWIDTH),  # noqa: ARG005
}


class LMMD(Method):
    """LMMD, of DSAN: MMD² class by class, 1/C Σ_c ‖Σ_i w_ic φ(f_i) − Σ_j w_jc φ(f_j)‖², w a row's weight in its class.

    Labels are the source's own, one-hot, and the target's predicted probabilities, without gradient. It is unified JMMD
    with the conditional label kernel.

    Source: Zhu et al., IEEE TNNLS 2021, Eq. (6)-(8).
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        bandwidth: Bandwidth = "mean",
        scales: Scales = FIVE_SCALES,
        kernels: OwnKernels = None,
    ) -> None:
        super().__init__(widths)
        self.kernels = choose_kernels(kernels, GaussianKernel(bandwidth, tuple(scales)), len(widths) - 1)
        self.label_kernel = conditional

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return MMD² (biased, ≥ 0) of features and labels y with the kernel k(f, f') · k_Y(y, y')."""
        assert source.labels is not None
        K = joint_gram(source.layers[:-1], target.layers[:-1], self.kernels)
        predicted = target.layers[-1].detach().to(K.dtype)
        Y = torch.cat([one_hot(source.labels, predicted.shape[1]).to(K.dtype), predicted])
        n = len(source.labels)
        return mmd_biased(weigh_pairs(K * self.label_kernel(Y, n), n, source.weights), n)


class UnifiedJMMD(LMMD):
    """Unified JMMD: MMD² of features and labels with the kernel k(f, f') · k_Y(y, y'), k_Y to be chosen.

    k_Y is 1 ("marginal": MMD of the features), the mean over classes of each class's MMD² ("conditional"), ⟨y, y'⟩
    ("weighted": their sum, a class weighed by its prior in each domain) or JAN's ("gaussian").

    Source: Wang et al., arXiv 2101.09979: marginal, class-conditional and weighted class-conditional MMD as one. The
    paper's second half is not here: the MMD matrix that promotes the dependence of features and labels (HSIC), and the
    label kernel that withstands label shift.
    """

    def __init__(self, widths: Sequence[int], *, label_kernel: LabelKernel = "weighted", **options: Any) -> None:
        super().__init__(widths, **options)
        self.label_kernel = LABEL_KERNELS[label_kernel]
