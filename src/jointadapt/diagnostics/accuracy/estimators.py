"""Probabilities of held-out source examples and of target examples → the target accuracy, by the literature's formulas.

Each assumes in its own way that what confidence, or agreement, means on the source it also means on the target. An
adapted model is confident everywhere, and then each of them is too high: that is what `combination` corrects.

Here `p_s` (h, c) are a model's probabilities of source examples that its training did not see, `y_s` (h,) their labels,
and `p_t` (m, c) its probabilities of target examples. Every estimate is in [0, 1].
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.special import entr

MOST_ASSIGNED = 500  # target examples of an exact assignment, whose cost is their cube
SOFTEST, HARDEST = 20.0, 0.05  # temperatures between which the one of smallest loss is sought
STEPS = 60


def accuracy_of(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """Return how often the most probable class is the label.

    >>> accuracy_of(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]))
    0.5
    """
    return (probabilities.argmax(1) == labels).double().mean().item()


def mean_confidence(p_t: Float[Tensor, "m c"]) -> float:
    """Return 1/m Σ_j max_c p_t[j, c]: the accuracy of a model that is calibrated on the target.

    Source: Hendrycks and Gimpel, ICLR 2017, as a score of single examples.

    >>> round(mean_confidence(torch.tensor([[0.9, 0.1], [0.3, 0.7]])), 4)
    0.8
    """
    return p_t.double().max(1).values.mean().item()


def average_thresholded_confidence(
    p_s: Float[Tensor, "h c"], y_s: Int[Tensor, " h"], p_t: Float[Tensor, "m c"]
) -> float:
    """Return ATC: the fraction of target examples that are as certain as so many source examples as are right.

        s(p) = Σ_c p_c log p_c;   t such that mean_i 1[s(p_s[i]) < t] = 1 − accuracy;   ATC = mean_j 1[s(p_t[j]) ≥ t]

    Too high for a model that training has made certain of the target. Source: Garg, Balakrishnan, Lipton, Neyshabur,
    Sedghi, ICLR 2022, Eq. (1) and (2), with negative entropy as the score.

    >>> p_s = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    >>> average_thresholded_confidence(p_s, torch.tensor([0, 0, 1, 1]), p_s[:3])
    0.6666666666666666
    """
    certain_s, certain_t = (-entr(p.double()).sum(1) for p in (p_s, p_t))
    wrong = int((p_s.argmax(1) != y_s).sum())
    if wrong == len(certain_s):
        return 0.0
    threshold = certain_s.sort().values[wrong]
    return (certain_t >= threshold).double().mean().item()


def difference_of_confidences(p_s: Float[Tensor, "h c"], y_s: Int[Tensor, " h"], p_t: Float[Tensor, "m c"]) -> float:
    """Return DoC: the source accuracy less what the mean confidence loses from source to target.

        DoC = accuracy_s − (mean_i max_c p_s[i, c] − mean_j max_c p_t[j, c]), clipped to [0, 1]

    Source: Guillory, Shankar, Ebrahimi, Darrell, Schmidt, ICCV 2021, Eq. (2), with a slope of one.

    >>> p = torch.tensor([[0.9, 0.1], [0.7, 0.3]])
    >>> round(difference_of_confidences(p, torch.tensor([0, 0]), torch.tensor([[0.6, 0.4]])), 4)
    0.8
    """
    found = accuracy_of(p_s, y_s) - (mean_confidence(p_s) - mean_confidence(p_t))
    return min(max(found, 0.0), 1.0)


def confidence_optimal_transport(
    p_t: Float[Tensor, "m c"], shares: Float[Tensor, " c"], most: int = MOST_ASSIGNED
) -> float:
    """Return COT: one less the cost of transporting the target's probabilities to labels that occur as in the source.

        COT = 1 − min_π Σ_j,c π[j, c] · ½ ‖p_t[j] − e_c‖₁,   Σ_c π[j, c] = 1/m,   Σ_j π[j, c] = shares[c]

    The cost is 1 − p_t[j, c], so that this is max_π Σ π p_t: at most the mean confidence, and less where the
    model gives classes that are rarer in the source. Label shift is taken for error. Solved exactly, as an assignment
    to labels whose counts are the shares' (of at most `most` target examples, drawn at random but the same on every
    call).

    Source: Lu, Qin, Zhai, Shen, Chen, Wang, Kolouri, Stepputtis, Campbell, Sycara, NeurIPS 2023, Eq. (5).

    >>> even = torch.tensor([0.5, 0.5])
    >>> round(confidence_optimal_transport(torch.tensor([[0.9, 0.1], [0.7, 0.3]]), even), 4)
    0.6
    """
    rows = p_t.double()
    if len(rows) > most:
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:most]]
    labels = np.repeat(np.arange(len(shares)), counts_of(shares, len(rows)))
    gains = rows.numpy()[:, labels]
    return float(gains[linear_sum_assignment(gains, maximize=True)].mean())


def counts_of(shares: Float[Tensor, " c"], rows: int) -> list[int]:
    """Return how many of so many rows each class has, by its share: the largest remainders are rounded up.

    >>> counts_of(torch.tensor([0.5, 0.3, 0.2]), 4)
    [2, 1, 1]
    """
    wanted = shares.double() / shares.sum() * rows
    counts = wanted.floor().long()
    counts[(wanted - counts).argsort(descending=True, stable=True)[: rows - int(counts.sum())]] += 1
    return counts.tolist()


def agreement(predicted: Int[Tensor, " m"], *others: Int[Tensor, " m"]) -> float:
    """Return how often other models give a target example the same class, the mean over the models.

    For a second training of the same kind by other chance it is the accuracy that generalisation disagreement
    equality gives: E[accuracy] = E[agreement] where the ensemble of such trainings is calibrated. Models that are wrong
    alike agree, so that it is mostly too high. Source: Jiang, Nagarajan, Baek, Kolter, ICLR 2022, Theorem 4.1.

    >>> agreement(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]))
    0.75
    """
    return torch.stack([(predicted == other).double().mean() for other in others]).mean().item()


def scaled(p_s: Float[Tensor, "h c"], y_s: Int[Tensor, " h"], p_t: Float[Tensor, "m c"]) -> tuple[Tensor, Tensor]:
    """Return both probabilities at the temperature that is best on the held-out source examples.

        T = argmin_T − Σ_i log softmax(log p_s[i] / T)[y_i],   between 1/20 and 20

    By golden section of log T, along which the loss has one minimum in 1/T. Source: Guo, Pleiss, Sun, Weinberger,
    ICML 2017.

    >>> p = torch.tensor([[0.9, 0.1]] * 3)
    >>> scaled(p, torch.tensor([0, 0, 1]), p)[1][0]
    tensor([0.6667, 0.3333], dtype=torch.float64)
    """
    logits_s, logits_t = (p.double().clamp_min(1e-12).log() for p in (p_s, p_t))

    def loss(log_temperature: float) -> float:
        return torch.nn.functional.cross_entropy(logits_s / np.exp(log_temperature), y_s).item()

    low, high = float(np.log(HARDEST)), float(np.log(SOFTEST))
    ratio = (5**0.5 - 1) / 2
    for _ in range(STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    temperature = float(np.exp((low + high) / 2))
    return (logits_s / temperature).softmax(1), (logits_t / temperature).softmax(1)
