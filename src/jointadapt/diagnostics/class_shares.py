"""Which shares the classes have in the target, from its examples alone: an estimate with an interval."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize, nnls
from scipy.special import logsumexp
from torch import Tensor
from torch.nn.functional import one_hot

from jointadapt.diagnostics.shift_kind import estimated_priors, linear_probabilities
from jointadapt.selection.guard import class_proportions

MOST_EXAMPLES = 2_000  # of each domain
FOLDS = 3
RESAMPLES = 100
LEVELS = (0.05, 0.95)  # of the interval
LEAST_SHARE = 1e-3  # a share below it is taken for it where it divides, or its logarithm is taken
PENALTY = 1e-2  # on the calibration's parameters: few held-out examples are no proof of large ones
LEAST_PROBABILITY = 1e-8


class ClassShares(NamedTuple):
    """The shares (classes,) of the classes, each adding up to 1: in the source, and in the target by an estimate.

    `low` and `high` bound the target's with 90 % probability as far as the choice of its examples goes. They say
    nothing of a p(x | y) that differs between the domains, which misleads the estimate.
    """

    source: Tensor
    target: Tensor
    low: Tensor
    high: Tensor

    @property
    def ratio(self) -> Tensor:
        """The target's share of each class over the source's: what a source example of the class should weigh."""
        return floored(self.target) / floored(self.source)


def floored(shares: Tensor) -> Tensor:
    """Return shares of which none is less than `LEAST_SHARE`, in sum 1 again.

    >>> floored(torch.tensor([0.0, 1.0]))
    tensor([0.0010, 0.9990])
    """
    raised = shares.clamp_min(LEAST_SHARE)
    return raised / raised.sum()


def estimate_class_shares(
    source: Tensor, labels: Tensor, target: Tensor, classes: int, seed: int = 0, groups: Tensor | None = None
) -> ClassShares:
    """Return the class shares that make the target most likely, by expectation maximisation (`estimated_priors`).

    The probabilities are those of logistic regressions on two thirds of the source, of examples they have not seen,
    calibrated on these. Right for label shift, where p(y) differs and p(x | y) does not.

    Args:
        source, labels, target: source examples (n, d), their classes (n,), and target examples (m, d); 2,000 of each,
            drawn at random, are looked at.
        groups: (n,) of source examples: those of one group are in one third.

    Source: Saerens, Latinne, Decaestecker, Neural Computation 2002; calibrated, as Alexandari, Kundaje, Shrikumar
    (ICML 2020) say it has to be.

    >>> x = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> found = estimate_class_shares(x[:200], y[:200], x[200:][(y[200:] == 1) | (torch.arange(200) % 9 == 0)], 2)
    >>> bool(found.low[1] < 0.9 < found.high[1])
    True
    """
    _, found, _ = held_out_probabilities(source, labels, target, classes, seed, groups)
    priors, generator = class_proportions(labels, classes), torch.Generator().manual_seed(seed)
    shares = estimated_priors(found, priors)
    rows = torch.randint(len(found), (RESAMPLES, len(found)), generator=generator)
    drawn = [estimated_priors(found[again], priors, start=shares) for again in rows]
    low, high = torch.stack(drawn).quantile(torch.tensor(LEVELS, dtype=shares.dtype), dim=0)
    return ClassShares(priors, shares, low, high)


def mean_predictions(
    source: Tensor, labels: Tensor, target: Tensor, classes: int, seed: int = 0, groups: Tensor | None = None
) -> ClassShares:
    """Return the mean of the target's calibrated class probabilities: pulled towards the source's shares, and so sober.

    That makes them the safer where p(x | y) differs, too. Arguments as `estimate_class_shares`. Source: the class
    weights of PADA, Cao et al., ECCV 2018, Eq. (4).
    """
    _, found, _ = held_out_probabilities(source, labels, target, classes, seed, groups)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(found), (RESAMPLES, len(found)), generator=generator)
    low, high = found[rows].mean(1).quantile(torch.tensor(LEVELS, dtype=found.dtype), dim=0)
    return ClassShares(class_proportions(labels, classes), found.mean(0), low, high)


def shares_by_confusion(held: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Return the shares π (classes,) ≥ 0 for which the mean source predictions of each class add up to the target's:

        Σ_c π_c · mean(p_i | y_i = c) = mean p_j

    Args:
        held, labels: probabilities (n, classes) of source examples that were not trained on, and their classes.
        target: probabilities (m, classes) of target examples.

    Least squares. Source: BBSE, Lipton, Wang, Smola, ICML 2018, Eq. (3), with probabilities in place of classes.

    >>> shares_by_confusion(torch.eye(2), torch.arange(2), torch.tensor([[0.2, 0.8]]))
    tensor([0.2000, 0.8000], dtype=torch.float64)
    """
    of_class = one_hot(labels, held.shape[1]).double()
    means = held.double().T @ of_class / of_class.sum(0).clamp_min(1)
    shares = torch.from_numpy(nnls(means.numpy(), target.double().mean(0).numpy())[0])
    return shares / shares.sum() if shares.sum() > 0 else class_proportions(labels, held.shape[1])


def held_out_probabilities(
    source: Tensor, labels: Tensor, target: Tensor, classes: int, seed: int = 0, groups: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return calibrated probabilities of source examples not trained on, of target examples, and the former's classes.

    Arguments as `estimate_class_shares`.
    """
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(source), generator=generator)[:MOST_EXAMPLES]
    x_s, y_s, x_t = source.flatten(1)[some].double(), labels[some], target.flatten(1).double()
    x_t = x_t[torch.randperm(len(x_t), generator=generator)[:MOST_EXAMPLES]]
    names = torch.arange(len(x_s)) if groups is None else groups[some].unique(return_inverse=True)[1]
    fold = names % FOLDS if len(names.unique()) >= FOLDS else torch.arange(len(x_s)) % FOLDS
    held, found = x_s.new_zeros(len(x_s), classes), x_s.new_zeros(len(x_t), classes)
    for number in range(FOLDS):
        out = fold == number
        seen = linear_probabilities(x_s[~out], y_s[~out], torch.cat([x_s[out], x_t]), classes)
        held[out] = seen[: int(out.sum())]
        found += seen[int(out.sum()) :] / FOLDS
    calibrated = calibration(held, y_s)
    return calibrated(held), calibrated(found), y_s


def calibration(held: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Return p → softmax(a log p + b), a temperature and a bias a class that make held-out examples most likely.

    Args:
        held, labels: probabilities (n, classes) of examples that were not trained on, and their classes.

    Source: bias-corrected temperature scaling, Alexandari, Kundaje, Shrikumar, ICML 2020, Sec. 2.3.

    >>> calibrated = calibration(torch.tensor([[0.6, 0.4], [0.4, 0.6]]), torch.tensor([0, 1]))
    >>> bool(calibrated(torch.tensor([[0.6, 0.4]]))[0, 0] > 0.9)
    True
    """
    classes = held.shape[1]
    logs, truth = _logs(held).numpy(), one_hot(labels, classes).double().numpy()

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = np.exp(parameters[0]), parameters[1:]
        z = a * logs + b
        log_p = z - logsumexp(z, axis=1, keepdims=True)
        wrong = (np.exp(log_p) - truth) / len(truth)
        value = -(truth * log_p).sum() / len(truth) + PENALTY * (parameters**2).mean()
        slope = np.append(a * (wrong * logs).sum(), wrong.sum(0)) + 2 * PENALTY * parameters / len(parameters)
        return value, slope

    found = torch.from_numpy(minimize(loss, np.zeros(classes + 1), jac=True, method="L-BFGS-B").x)
    return lambda p: (found[0].exp() * _logs(p) + found[1:]).softmax(1)


def _logs(p: Tensor) -> Tensor:
    return p.double().clamp_min(LEAST_PROBABILITY).log()
