"""The kernels of a call that names none: what the layers are decides, not where they stand.

A single layer, and every layer that holds features, gets five Gaussians around the mean squared distance. γ = 1.68 is
for probabilities, whose squared distances are at most 2: on features it would give kernel values, and gradients, of 0.
So the last of several layers is taken for JAN's softmax layer where it is one.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from jointadapt.discrepancy.constants import SOFTMAX_BANDWIDTH
from jointadapt.discrepancy.distances import mean_squared_distance
from jointadapt.discrepancy.kernels import Completed, CompletedKernel, GaussianKernel, jan_kernels

# What a row of two or more probabilities may sum to: bfloat16 rounds each to 8 bits, people to a few decimals. A single
# column near 1 is a measurement, no distribution.
LEAST, MOST = 0.99, 1.01
TILE = 2048  # rows of a file that are looked at at a time
HIDDEN, SOFTMAX = GaussianKernel(), GaussianKernel(SOFTMAX_BANDWIDTH, (1.0,))

_jan = cache(jan_kernels)
Reduce = Callable[[Tensor], Tensor]


@runtime_checkable
class Rows(Protocol):
    """A matrix whose slices of rows are tensors: a tensor, or a file that is larger than memory.

    >>> isinstance(torch.zeros(3, 2), Rows)
    True
    """

    @property
    def shape(self) -> Sequence[int]:
        """Return (rows, columns)."""
        ...

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Return a slice of rows as a tensor."""
        ...


def default_kernels(
    source_layers: Sequence[Rows], target_layers: Sequence[Rows], total: Reduce | None = None
) -> tuple[Completed, ...]:
    """Return JAN's kernels where the last of several layers holds probabilities, else `GaussianKernel()` a layer.

    Args:
        source_layers, target_layers: the layers, checked by `check_layers`.
        total: a sum over the processes, each of which has rows of its own; None: there is one.

    In compiled code and on a GPU nothing is waited for: there the last kernel carries the answer as a tensor. Raises a
    ValueError under `torch.func.vmap`, which lets nobody see the rows. O(N d) time for the last layer.

    >>> features, probabilities = torch.randn(4, 64), torch.eye(4)
    >>> [kernel.bandwidth for kernel in default_kernels([features, probabilities], [features, probabilities])]
    ['mean', 1.68]
    >>> [kernel.bandwidth for kernel in default_kernels([features, features], [features, features])]
    ['mean', 'mean']
    """
    layers, last = len(source_layers), (source_layers[-1], target_layers[-1])
    if layers == 1:
        return (HIDDEN,)
    if all(isinstance(rows, Tensor) and (torch.compiler.is_compiling() or not rows.is_cpu) for rows in last):
        others = torch.stack([~_are_probabilities(rows[:]) for rows in last]).sum().float()
        softmax = (total(others) if total else others) == 0
        return (*(HIDDEN,) * (layers - 1), CompletedKernel(_Either(softmax), None, _Either(softmax).at_zero))
    softmax = all(map(_hold_probabilities, last))
    if total:
        softmax = not total(source_layers[-1][:1].new_full((1,), not softmax, dtype=torch.float32)).item()
    return _jan(layers) if softmax else (HIDDEN,) * layers


def _hold_probabilities(rows: Rows) -> bool:
    """Return whether every row is a distribution, tile by tile up to the first that holds a row which is none."""
    tiles = [rows] if isinstance(rows, Tensor) else (rows[i : i + TILE] for i in range(0, rows.shape[0], TILE))
    try:
        return rows.shape[1] > 1 and all(
            low.item() > LEAST and high.item() < MOST and least.item() >= 0
            for low, high, least in map(_extremes, tiles)
        )
    except RuntimeError as error:
        raise ValueError(
            "rows cannot be looked at here (torch.func.vmap?), and whether the last layer holds probabilities is seen "
            "in them; name the kernels: jan_kernels(layers), or one GaussianKernel() a layer."
        ) from error


def _are_probabilities(rows: Tensor) -> Tensor:
    """Return the same as a tensor, without a look at it."""
    low, high, least = _extremes(rows)
    return (low > LEAST) & (high < MOST) & (least >= 0 if rows.shape[1] > 1 else least > math.inf)


def _extremes(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the least and the largest sum of a row, and the least number."""
    rows = rows.detach()
    if not rows.numel():
        nothing = rows.new_zeros(())
        return nothing, nothing, nothing
    low, high = rows.sum(1).aminmax()
    return low, high, rows.amin()


class _Either:
    """The softmax layer's Gaussian or a hidden layer's five, by a tensor that says which: for rows nobody waits for."""

    def __init__(self, softmax: Tensor) -> None:
        self.softmax = softmax
        self.at_zero = torch.where(softmax, SOFTMAX.at_zero, HIDDEN.at_zero).double()

    def __call__(self, squared_distances: Tensor, bandwidth: float | Tensor, /) -> Tensor:
        """Return k(D, γ)."""
        return torch.where(self.softmax, *(kernel(squared_distances, bandwidth) for kernel in (SOFTMAX, HIDDEN)))

    def with_slope(self, squared_distances: Tensor, bandwidth: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return k(D, γ) and −γ dk/dD."""
        (a, b), (c, d) = (kernel.with_slope(squared_distances, bandwidth) for kernel in (SOFTMAX, HIDDEN))
        return torch.where(self.softmax, a, c), torch.where(self.softmax, b, d)

    def find_bandwidth(self, *rows: Tensor) -> Tensor:
        """Return 1.68, or the mean squared distance."""
        return torch.where(self.softmax, SOFTMAX_BANDWIDTH, mean_squared_distance(*rows))

    def frequencies(self, width: int, count: int, bandwidth: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return ω of the one or the other."""
        drawn = (kernel.frequencies(width, count, bandwidth, generator) for kernel in (SOFTMAX, HIDDEN))
        return torch.where(self.softmax, *drawn)
