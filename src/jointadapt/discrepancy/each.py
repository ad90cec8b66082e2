"""JMMD² of K pairs of samples at once: every operation one on K matrices, value and gradient in one pass.

For many small networks that are trained side by side. Each number is that of the estimator of the same name on the pair
alone, up to rounding.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from jointadapt.discrepancy.engine import CPU_TILE, weighted_sums
from jointadapt.discrepancy.estimators import jmmd_biased, jmmd_unbiased
from jointadapt.discrepancy.kernels import GaussianKernel, Kernel

Layers = Sequence[Tensor]
Estimator = Callable[[Layers, Layers, Sequence[Kernel]], Tensor]


def can_be_batched(discrepancy: Callable[..., Tensor], kernels: Sequence[Kernel]) -> bool:
    """Return whether an estimator with these kernels has a form for K pairs of samples at once.

    >>> can_be_batched(jmmd_unbiased, [GaussianKernel()]), can_be_batched(jmmd_unbiased, [lambda D, bandwidth: 1 - D])
    (True, False)
    """
    return discrepancy in BATCHED and all(type(kernel) is GaussianKernel for kernel in kernels)


def jmmd_biased_each(
    source_layers: Sequence[Float[Tensor, "K n _"]],
    target_layers: Sequence[Float[Tensor, "K m _"]],
    kernels: Sequence[GaussianKernel],
) -> Float[Tensor, " K"]:
    """Return `jmmd_biased` of K pairs of samples of one size, (K,).

    Args:
        source_layers, target_layers: for each layer (K, n, d) and (K, m, d).
        kernels: one for each layer; γ by a rule is found in each pair of samples.

    Sign, bias, gradient as `jmmd_biased`. O(K N² d) time and O(K N²) memory: for batches, up to `CPU_TILE` rows; more
    go one pair after the other. Source: Long et al., ICML 2017, Eq. (7).

    >>> x = torch.zeros(2, 3, 1)
    >>> jmmd_biased_each([x], [x + 1], [GaussianKernel(1.0, scales=(1.0,))])  # 1 + 1 − 2/e
    tensor([1.2642, 1.2642])
    """
    n, m = source_layers[0].shape[1], target_layers[0].shape[1]
    diagonal = (1 / n + 1 / m) * math.prod(kernel.at_zero for kernel in kernels)
    blocks = (1 / n**2, 1 / m**2, -1 / (n * m))
    return _each(jmmd_biased, source_layers, target_layers, kernels, blocks, diagonal)


def jmmd_unbiased_each(
    source_layers: Sequence[Float[Tensor, "K n _"]],
    target_layers: Sequence[Float[Tensor, "K m _"]],
    kernels: Sequence[GaussianKernel],
) -> Float[Tensor, " K"]:
    """Return `jmmd_unbiased` of K pairs of samples of one size, (K,); arguments, cost as `jmmd_biased_each`.

    >>> x, y = torch.zeros(2, 3, 1), torch.ones(2, 2, 1)
    >>> jmmd_unbiased_each([x], [y], [GaussianKernel(1.0, scales=(1.0,))])  # 1 + 1 − 2/e
    tensor([1.2642, 1.2642])
    """
    n, m = source_layers[0].shape[1], target_layers[0].shape[1]
    blocks = (1 / (n * (n - 1)), 1 / (m * (m - 1)), -1 / (n * m))
    return _each(jmmd_unbiased, source_layers, target_layers, kernels, blocks, 0.0)


def _each(
    alone: Estimator,
    source_layers: Layers,
    target_layers: Layers,
    kernels: Sequence[GaussianKernel],
    blocks: tuple[float, float, float],
    diagonal: float,
) -> Tensor:
    """Return the K sums as one batch; of samples that are large, or of half precision, each by the estimator alone."""
    rows = (*source_layers, *target_layers)
    small = source_layers[0].shape[1] + target_layers[0].shape[1] < CPU_TILE
    if small and {x.dtype for x in rows} in ({torch.float32}, {torch.float64}):
        return weighted_sums(source_layers, target_layers, kernels, blocks, diagonal)
    pairs = zip(zip(*source_layers, strict=True), zip(*target_layers, strict=True), strict=True)
    return torch.stack([alone(source, target, kernels) for source, target in pairs])


BATCHED = {jmmd_biased: jmmd_biased_each, jmmd_unbiased: jmmd_unbiased_each}
"""An estimator → its form for K pairs of samples at once."""
