"""What the methods of MMD² and JMMD² share: their options, declared once, and their kernels."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, cast

from torch import Tensor

from jointadapt.discrepancy import jmmd_biased, jmmd_fourier, jmmd_linear, jmmd_unbiased
from jointadapt.discrepancy.constants import FIVE_SCALES, BandwidthRule
from jointadapt.discrepancy.distances import wide
from jointadapt.discrepancy.each import BATCHED, can_be_batched
from jointadapt.discrepancy.example_weights import PairWeights, Weights
from jointadapt.discrepancy.kernels import GaussianKernel, Kernel
from jointadapt.errors import UserError
from jointadapt.methods.base import Method, entropies
from jointadapt.networks.network import Activations
from jointadapt.runtime.options import PYTHON_ONLY, Positive, Positives
from jointadapt.two_sample import optimal_weights

Kernels = Sequence[Kernel]
Layers = Sequence[Tensor]

Estimator = Annotated[
    Literal["unbiased", "biased", "linear", "fourier"], "Estimator of (J)MMD²; linear and fourier take linear time."
]
Bandwidth = Annotated[Positive | BandwidthRule, "Bandwidth γ of hidden layers: mean or median distance², or a number."]
Scales = Annotated[Positives, "Multiples of γ whose Gaussians are summed."]
KernelWeights = Annotated[
    Literal["equal", "optimal"], "Weights of the Gaussians; optimal: those of highest test power (MK-MMD)."
]
TargetWeights = Annotated[
    Literal["equal", "certainty"], "Weights of target examples in (J)MMD²; certainty: 1 − H(p)/log C, held."
]
OwnKernels = Annotated[Any, "Kernels of your own: one a layer, or one for all hidden layers.", PYTHON_ONLY]

ESTIMATORS = {"unbiased": jmmd_unbiased, "biased": jmmd_biased, "linear": jmmd_linear, "fourier": jmmd_fourier}
FEWEST_WEIGHED = 4
LEAST_CERTAINTY = 1e-6


class KernelMethod(Method):
    """An estimator of MMD² or JMMD², and a kernel a layer: a sum of Gaussians.

    Args:
        widths: of the hidden layers that are matched.
        output: the kernel of the layer behind them, if that is matched, too.
        kernels: one a layer; one alone is for all hidden layers.
    """

    def __init__(
        self,
        widths: Sequence[int],
        output: Kernel | None = None,
        *,
        estimator: Estimator = "unbiased",
        bandwidth: Bandwidth = "mean",
        scales: Scales = FIVE_SCALES,
        kernels: OwnKernels = None,
        target_weights: TargetWeights = "equal",
    ) -> None:
        super().__init__(widths)
        self.estimator = ESTIMATORS[estimator]
        self.kernels = choose_kernels(kernels, GaussianKernel(bandwidth, tuple(scales)), len(widths), output)
        self.certain = target_weights == "certainty"

    def discrepancy(self, source: Layers, target: Layers, kernels: Kernels, weights: Weights | None = None) -> Tensor:
        """Return the estimate; of layers with a leading axis of runs, that of each."""
        if source[0].ndim == 2:
            return self.estimator(source, target, kernels, weights=weights)
        return BATCHED[self.estimator](source, target, cast("Sequence[GaussianKernel]", kernels))

    def stacking_key(self) -> Hashable | None:
        """Return that of the base; None where the estimator has no form for several runs, or examples are weighed."""
        plain = not self.certain and can_be_batched(self.estimator, self.kernels)
        return super().stacking_key() if plain else None

    def weights(self, source: Activations, target: Activations) -> Weights | None:
        """Return the weights of both samples' examples, None where all are equal; the source's are its own."""
        if source.weights is None and not self.certain:
            return None
        return source.weights, certainty(target.logits) if self.certain else None


class WeighedKernelMethod(KernelMethod):
    """The same, its Gaussians weighed in each batch (MK-MMD)."""

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


def certainty(logits: Tensor) -> Tensor:
    """Return 1 − H(p)/log C of each row's probabilities, from 0 to 1, without gradient; never quite 0.

    >>> import torch
    >>> certainty(torch.tensor([[0.0, 0], [99, 0]]))
    tensor([1.0000e-06, 1.0000e+00])
    """
    logits = wide(logits.detach())
    return (1 - entropies(logits) / math.log(logits.shape[1])).clamp_min(LEAST_CERTAINTY)


def weigh_pairs(K: Tensor, n: int, weights: Tensor | None) -> Tensor:
    """Return a pooled Gram matrix whose first n rows and columns are multiplied by the source's weights, of mean 1."""
    if weights is None:
        return K
    a = PairWeights.of((weights, None), n, len(K) - n).examples.to(K)
    return K * a[:, None] * a


def choose_kernels(given: Any, kernel: Kernel, hidden: int, output: Kernel | None = None) -> Kernels:
    """Return a kernel for each layer: those given, one a layer; or one for all hidden layers, given or the method's."""
    last = () if output is None else (output,)
    if not isinstance(given, Sequence):
        return (kernel if given is None else given,) * hidden + last
    if len(given) != hidden + len(last):
        raise UserError(
            f"{len(given)} kernels are given for {hidden + len(last)} layers; give one a layer, or one alone."
        )
    return tuple(given)


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
