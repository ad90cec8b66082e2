"""Gradient reversal."""

from typing import Any

import torch
from torch import Tensor


def reverse(x: Tensor) -> Tensor:
    """Return x; its gradient is turned round on the way back. What stands behind it maximises what the rest minimises.

    Source: gradient reversal, Ganin and Lempitsky, ICML 2015.

    >>> x = torch.ones(2, requires_grad=True)
    >>> reverse(x).sum().backward()
    >>> x.grad
    tensor([-1., -1.])
    """
    return _Reverse.apply(x)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:  # noqa: ARG004
        return -grad[0]
