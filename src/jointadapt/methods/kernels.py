"""The kernels of methods: the options that name them, and which layer gets which."""

from collections.abc import Sequence
from typing import Annotated, Any

from torch import Tensor

from jointadapt.discrepancy.constants import BandwidthRule
from jointadapt.discrepancy.example_weights import PairWeights
from jointadapt.discrepancy.kernels import Kernel
from jointadapt.errors import UserError
from jointadapt.runtime.options import PYTHON_ONLY, Positive, Positives

Kernels = Sequence[Kernel]
Layers = Sequence[Tensor]

Bandwidth = Annotated[Positive | BandwidthRule, "Bandwidth γ of hidden layers: mean or median distance², or a number."]
Scales = Annotated[Positives, "Multiples of γ whose Gaussians are summed."]
OwnKernels = Annotated[Any, "Kernels of your own: one a layer, or one for all hidden layers.", PYTHON_ONLY]


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


def weigh_pairs(K: Tensor, n: int, weights: Tensor | None) -> Tensor:
    """Return a pooled Gram matrix whose first n rows and columns are multiplied by the source's weights, of mean 1."""
    if weights is None:
        return K
    a = PairWeights.of((weights, None), n, len(K) - n).examples.to(K)
    return K * a[:, None] * a
