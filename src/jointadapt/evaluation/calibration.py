"""Probabilities → calibrated probabilities, by one temperature."""

import math

import torch
from torch import Tensor

from jointadapt.data import UNLABELLED

LARGEST_TEMPERATURE = 100.0
HALVINGS = 50


def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """Return softmax(log p / T): T > 1 lowers the confidence, and no predicted class changes.

    Source: Guo, Pleiss, Sun, Weinberger, ICML 2017, Eq. (9).

    >>> import torch
    >>> tempered(torch.tensor([[0.8, 0.2]]), 2.0)
    tensor([[0.6667, 0.3333]])
    """
    if temperature == 1:
        return probabilities
    tiny = 1e-30
    return (probabilities.clamp_min(tiny).log() / temperature).softmax(1)


def softening_temperature(probabilities: Tensor, believed: float) -> float:
    """Return the T ≥ 1 at which the mean confidence is `believed`, 1 where it is no higher than that already.

    It never raises the confidence. By bisection of log T.

    >>> import torch
    >>> round(softening_temperature(torch.tensor([[0.8, 0.2]]), 2 / 3), 3)
    2.0
    """

    def confidence(temperature: float) -> float:
        return tempered(probabilities.double(), temperature).max(1).values.mean().item()

    low, high = 0.0, math.log(LARGEST_TEMPERATURE)
    if confidence(1.0) <= believed:
        return 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if confidence(math.exp(middle)) > believed else (low, middle)
    return math.exp(high)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 10) -> float | None:
    """Return the expected calibration error in percent: Σ_b n_b/n |accuracy_b − confidence_b|; None without labels.

    Examples fall into bins of equal width by the probability of their predicted class.
    Source: Naeini, Cooper, Hauskrecht, AAAI 2015.

    >>> p = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    >>> calibration_error(p, torch.tensor([0, 0, 1, 0])), calibration_error(p, torch.tensor([0, 0, 1, 1]))
    (0.0, 25.0)
    """
    known = labels != UNLABELLED
    if not known.any():
        return None
    confidence, predicted = probabilities[known].double().max(1)
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64)
    gaps.index_add_(0, bin_of, (predicted == labels[known]).double() - confidence)
    return 100 * gaps.abs().sum().item() / len(confidence)
