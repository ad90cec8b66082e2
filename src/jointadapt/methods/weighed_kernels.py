"""Methods whose Gaussians are weighed in each batch by the power of their test (MK-MMD)."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from torch import Tensor

from jointadapt.discrepancy.kernels import GaussianKernel, Kernel
from jointadapt.methods.kernel_methods import KernelMethod
from jointadapt.methods.kernels import Kernels, Layers
from jointadapt.two_sample import optimal_weights

KernelWeights = Annotated[
    Literal["equal", "optimal"], "Weights of the Gaussians; optimal: those of highest test power (MK-MMD)."
]

FEWEST_WEIGHED = 4


class WeighedKernelMethod(KernelMethod):
    """A kernel method, its Gaussians weighed in each batch (MK-MMD)."""

    def __init__(
        self,
        widths: Sequence[int],
        output: Kernel | None = None,
        *,
        kernel_weights: KernelWeights = "equal",
        **options: Any,
    ) -> None:
        super().__init__(widths, output, **options)
        self.weigh = optimal_kernels if kernel_weights == "optimal" else equal_kernels

    def stacking_key(self) -> Hashable | None:
        """Return that of the base; None where the Gaussians are weighed in each batch."""
        return super().stacking_key() if self.weigh is equal_kernels else None


def equal_kernels(kernels: Kernels, source: Layers, target: Layers) -> Kernels:  # noqa: ARG001
    """Return the kernels as they are."""
    return kernels


def optimal_kernels(kernels: Kernels, source: Layers, target: Layers) -> Kernels:
    """Return the kernels with the non-negative weights β ≥ 0 of highest test power on these layers, without gradient.

    A kernel of one scale stays as it is, as one of your own does, and so do all of them for fewer than 4 rows or rows
    that are not finite. Source: Gretton et al., NIPS 2012; DAN's multi-kernel (Long et al., ICML 2015, Sec. 3.2).
    """
    return tuple(_weighed(k, s.detach(), t.detach()) for k, s, t in zip(kernels, source, target, strict=True))


def _weighed(kernel: Kernel, source: Tensor, target: Tensor) -> Kernel:
    if not isinstance(kernel, GaussianKernel) or len(kernel.scales) == 1:
        return kernel
    finite = bool(source.isfinite().all() & target.isfinite().all())
    if min(len(source), len(target)) < FEWEST_WEIGHED or not finite:
        return kernel
    return replace(kernel, weights=optimal_weights(source, target, kernel))
