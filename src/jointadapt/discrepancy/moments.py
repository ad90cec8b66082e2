"""Rows of the source, moved onto the target's moments: column by column, or by the whole covariance (CORAL).

Only the source moves, so what is trained on it is used on target rows as they are. Where the domains differ in offset,
gain or mixture of their columns, that is all there is to adapt; where their classes have other shares, moments differ
for that reason too, and such a move misleads.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

RIDGE = 1.0  # times the mean variance, added to every variance before a covariance is inverted


class Moments(NamedTuple):
    """Mean (d,) and covariance (d, d) of rows, or the variance (d,) of each column alone; float64."""

    mean: Float[Tensor, " d"]
    spread: Float[Tensor, " d"] | Float[Tensor, "d d"]


class Move(NamedTuple):
    """The map x → (x − from) A + to of rows; A is diagonal, (d,), or whole, (d, d)."""

    origin: Float[Tensor, " d"]
    linear: Float[Tensor, " d"] | Float[Tensor, "d d"]
    to: Float[Tensor, " d"]

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return moved rows, computed in float64, in their own precision."""
        centred = rows.double() - self.origin
        turned = centred * self.linear if self.linear.ndim == 1 else centred @ self.linear
        return (turned + self.to).to(rows)


def find_moments(tiles: Iterable[Float[Tensor, "_ d"]], whole: bool = False) -> Moments:
    """Return the moments of rows that come tile by tile; `whole`: their covariance, else each column's variance.

    >>> x = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    >>> [m.tolist() for m in find_moments(x.split(1), whole=True)]
    [[2.0, 2.0], [[1.0, 2.0], [2.0, 4.0]]]
    """
    count, total, squares, origin = 0, torch.tensor(0.0), torch.tensor(0.0), None
    for tile in tiles:
        origin = tile[0].double() if origin is None else origin  # so that a large offset costs no digits
        rows = tile.double() - origin
        count, total = count + len(rows), total + rows.sum(0)
        squares = squares + (rows.T @ rows if whole else rows.square().sum(0))
    if origin is None:
        raise ValueError("no rows are given, and none have no moments.")
    mean = total / count
    spread = squares / count - (torch.outer(mean, mean) if whole else mean.square())
    return Moments(origin + mean, spread)


def match_columns(source: Moments, target: Moments) -> Move:
    """Return the move that gives each source column the target's mean and deviation; constant columns become its mean.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> match_columns(find_moments([x]), find_moments([10 * x + 1]))(x).tolist()
    [[1.0], [21.0]]
    """
    of_source, of_target = (moments.spread.clamp_min(0).sqrt() for moments in (source, target))
    gain = torch.where(of_source > 0, of_target / of_source, 0.0)
    return Move(source.mean, gain, target.mean)


def match_covariances(source: Moments, target: Moments) -> Move:
    """Return CORAL's move: the source's rows are whitened, and coloured as the target's, C_s^(−½) C_t^(½).

    To both covariances the same ridge is added, the mean variance of a column of both, where the paper, whose columns
    have variance 1, adds 1. O(d³). Source: Sun, Feng, Saenko, AAAI 2016, Algorithm 1.
    """
    variance = (source.spread.diagonal().mean() + target.spread.diagonal().mean()) / 2
    ridge = RIDGE * variance * torch.eye(len(source.mean), dtype=torch.float64)
    white = _power(source.spread + ridge, -0.5)
    return Move(source.mean, white @ _power(target.spread + ridge, 0.5), target.mean)


def _power(covariance: Float[Tensor, "d d"], exponent: float) -> Float[Tensor, "d d"]:
    """Return a power of a symmetric, positive definite matrix; of one that is 0, the identity."""
    values, vectors = torch.linalg.eigh(covariance)
    if values[-1] <= 0:
        return torch.eye(len(covariance), dtype=covariance.dtype)
    return (vectors * values**exponent) @ vectors.T
