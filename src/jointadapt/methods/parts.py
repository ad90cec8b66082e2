"""What several methods are made of: means, entropies, small networks."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from jointadapt.discrepancy.distances import wide
from jointadapt.runtime.options import Count

DiscriminatorWidth = Annotated[Count, "Width of the discriminator's two hidden layers."]
SecondClassifierWidth = Annotated[Count, "Width of the second classifier's hidden layer."]

LEAST_CERTAINTY = 1e-6


def weighted_mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return Σ w_i v_i / Σ w_i over the first dimension, the mean where there are no weights.

    >>> import torch
    >>> weighted_mean(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    tensor(1.7500)
    """
    if weights is None:
        return values.mean(0)
    w = weights.detach().to(values.dtype)
    return w @ values / w.sum().clamp_min(torch.finfo(w.dtype).tiny)


def imbalance(mean: Tensor, shares: Tensor | None = None) -> Tensor:
    """Return −H(mean), the lower the more balanced mean predictions (…, classes) are, from −log C to 0.

    With the class shares q of the target: Σ_c mean_c log(mean_c / (C q_c)), lowest where the mean is q.

    >>> imbalance(torch.tensor([0.5, 0.5])), imbalance(torch.tensor([0.9, 0.1]), torch.tensor([0.9, 0.1]))
    (tensor(-0.6931), tensor(-0.6931))
    """
    negative = -torch.special.entr(mean.clamp_min(torch.finfo(mean.dtype).tiny)).sum(-1)
    return negative if shares is None else negative - (mean * (shares * len(shares)).to(mean).log()).sum(-1)


def entropies(logits: Tensor) -> Tensor:
    """Return H(p_i) of each row's probabilities; from logits, so that a probability of 0 has a finite gradient."""
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def certainty(logits: Tensor) -> Tensor:
    """Return 1 − H(p)/log C of each row's probabilities, from 0 to 1, without gradient; never quite 0.

    >>> import torch
    >>> certainty(torch.tensor([[0.0, 0], [99, 0]]))
    tensor([1.0000e-06, 1.0000e+00])
    """
    logits = wide(logits.detach())
    return (1 - entropies(logits) / math.log(logits.shape[1])).clamp_min(LEAST_CERTAINTY)


def perceptron(inputs: int, width: int) -> nn.Sequential:
    """Return a discriminator: two hidden layers, one score."""
    widths = ((inputs, width), (width, width))
    return nn.Sequential(*(part for a, b in widths for part in (nn.Linear(a, b), nn.ReLU())), nn.Linear(width, 1))


def second_classifier(widths: Sequence[int], width: int) -> nn.Sequential:
    """Return a classifier of the features beside the network's own, with one hidden layer."""
    return nn.Sequential(nn.Linear(widths[-2], width), nn.ReLU(), nn.Linear(width, widths[-1]))
