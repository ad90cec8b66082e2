"""Unified JMMD and LMMD: one discrepancy, its label kernel to choose."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from jointadapt.discrepancy import FIVE_SCALES, SOFTMAX_BANDWIDTH, BandwidthRule, GaussianKernel, joint_gram, mmd_biased
from jointadapt.discrepancy.distances import squared_distances
from jointadapt.methods.base import Method
from jointadapt.networks.network import Activations


def conditional(Y: Tensor, n: int) -> Tensor:
    """Return Σ_c y_c y'_c / (π_c π'_c) / C over the C classes of the source batch; π: the domain's own class shares."""
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


class UnifiedJMMD(Method):
    """MMD² (biased) of features and labels y with the kernel k(f, f') · k_Y(y, y').

    Labels are the source's own, one-hot, and the target's predicted probabilities, without gradient.

    Args:
        label_kernel: k_Y. "marginal": 1, MMD of the features. "conditional": the mean over classes of each class's
            MMD². "weighted": ⟨y, y'⟩, their sum, a class weighed by its share in each domain. "gaussian": JAN's.
        bandwidth, scales: of the sum of Gaussians on every hidden layer.

    Source: Wang et al., arXiv 2101.09979: marginal, class-conditional and weighted class-conditional MMD as one. The
    paper's second half is not here: the MMD matrix that promotes the dependence of features and labels (HSIC), and the
    label kernel that withstands a shift of label proportions.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        label_kernel: str = "weighted",
        bandwidth: float | BandwidthRule = "mean",
        scales: tuple[float, ...] = FIVE_SCALES,
    ) -> None:
        super().__init__()
        self.kernels = (GaussianKernel(bandwidth, scales),) * (len(widths) - 1)
        self.label_kernel = LABEL_KERNELS[label_kernel]

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the discrepancy, ≥ 0."""
        assert source.labels is not None
        K = joint_gram(source.layers[:-1], target.layers[:-1], self.kernels)
        predicted = target.layers[-1].detach().to(K.dtype)
        Y = torch.cat([one_hot(source.labels, predicted.shape[1]).to(K.dtype), predicted])
        return mmd_biased(K * self.label_kernel(Y, len(source.labels)), len(source.labels))


class LMMD(UnifiedJMMD):
    """LMMD, of DSAN: unified JMMD with the conditional label kernel, 1/C Σ_c ‖Σ_i w_ic φ(f_i) − Σ_j w_jc φ(f_j)‖².

    w is a row's share of its class. Source: Zhu et al., IEEE TNNLS 2021, Eq. (6)-(8).
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        bandwidth: float | BandwidthRule = "mean",
        scales: tuple[float, ...] = FIVE_SCALES,
    ) -> None:
        super().__init__(widths, label_kernel="conditional", bandwidth=bandwidth, scales=scales)
