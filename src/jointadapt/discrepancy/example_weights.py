"""Weights of examples: a mean over pairs becomes Σ w_i w_j K_ij / Σ w_i w_j, and only the proportions of w count.

Source examples weighed by a ratio of class shares, target examples by how certain they are: what a discrepancy is asked
then is whether the reweighted distributions agree. Only one vector is added to what the estimators hold.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Weights = tuple[Tensor | None, Tensor | None]
"""Weights (n,) of the source examples and (m,) of the target examples; None: all are equal."""


class PairWeights(NamedTuple):
    """What a weighted mean over pairs takes.

    Args:
        examples: weights a (n + m,) of the pooled sample in float64, of mean 1 within each domain.
        squares: Σ a_i² of the source, and of the target: n and m where the weights are equal.

    >>> PairWeights.of((None, torch.tensor([1.0, 3.0])), 2, 2)
    PairWeights(examples=tensor([1.0000, 1.0000, 0.5000, 1.5000], dtype=torch.float64), squares=(2.0, 2.5))
    """

    examples: Tensor
    squares: tuple[float, float]

    @classmethod
    def of(cls, weights: Weights, n: int, m: int) -> "PairWeights":
        """Return the weights of n and m examples; equal ones become exactly 1.

        Raises a ValueError as `check_weights` does.
        """
        check_weights(weights, n, m)
        known = next((w for w in weights if w is not None), None)
        device = None if known is None else known.device
        sides = [_mean_one(w, rows, device) for w, rows in zip(weights, (n, m), strict=True)]
        squares = [a.square().sum().item() for a in sides]
        return cls(torch.cat(sides), (squares[0], squares[1]))


SIDES = ("source", "target")


def _mean_one(weights: Tensor | None, rows: int, device: torch.device | None) -> Tensor:
    """Return weights of mean 1, in float64, without gradient; divided by the largest first, so that 1 is exact."""
    if weights is None:
        return torch.ones(rows, dtype=torch.float64, device=device)
    w = weights.detach().double()
    w = w / w.max()
    return w / w.mean()


def check_weights(weights: Weights, n: int, m: int) -> None:
    """Raise a ValueError for weights that are not n and m in number, negative, infinite, or all 0 but for one.

    >>> check_weights((torch.ones(3), None), 3, 2)
    """
    for w, rows, side in zip(weights, (n, m), SIDES, strict=True):
        if w is not None:
            _check(w, rows, side)


def _check(w: Tensor, rows: int, side: str) -> None:
    if w.shape != (rows,):
        raise ValueError(
            f"the {side} has {rows} examples and weights of shape {tuple(w.shape)}; give one each: ({rows},)."
        )
    if not bool((w.isfinite() & (w >= 0)).all()):
        raise ValueError(f"weights of examples are finite and not negative; those of the {side} are not.")
    if int((w > 0).sum()) < min(2, rows):
        raise ValueError(f"fewer than two {side} examples weigh anything, and pairs are what is counted.")


def paired(weights: Sequence[Tensor]) -> Tensor:
    """Return weights of pairs, of mean 1 over all of them, from the products of their examples' weights.

    >>> paired([torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])])
    tensor([[1., 2.],
            [0., 1.]])
    """
    products = torch.stack([*weights])
    return products / products.mean()
