"""A few labelled target examples → which of several models to use, how sure that is, and what it takes to be surer.

These are labels that the user has given (`--target-labels`), of examples that the models were not trained on; those
that serve the evaluation never come here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Chosen on families of data, and judged on the one left out: benchmarks/few_labels.py.
SHARPENING = 4.0  # of probabilities: the more, the less a model's confidence counts beside the class that it gives
CHANCE = 0.5  # of each label's likelihood: so that one confident mistake does not rule a model out
PRIOR_WEIGHT = 5.0  # of the scores found without labels
SIGNIFICANT, POWER = 1.645, 0.842  # quantiles of the normal distribution at 95 % and 80 %
LEAST_DISPUTE = 1e-6


@dataclass(frozen=True)
class Judgement:
    """What a few labels say of several models.

    Args:
        chosen: the model of largest posterior.
        rival: the one next to it; empty where there is none.
        posterior: model → probability that it is the best; they sum to 1.
        labels: the number of labelled examples.
        disputed: the fraction of the target's examples to which the two give different classes.
        further: how many more labels of examples under dispute would tell the two apart, as far as these labels can
            say; None where they cannot, or where there are not so many such examples.
    """

    chosen: str
    rival: str
    posterior: dict[str, float]
    labels: int
    disputed: float
    further: int | None

    @property
    def certainty(self) -> float:
        """The probability that the chosen model is the best."""
        return self.posterior[self.chosen]

    def to_dict(self) -> dict[str, Any]:
        """Return what the summary of a run says of it."""
        return {name: getattr(self, name) for name in ("labels", "posterior", "rival", "disputed", "further")}

    def __str__(self) -> str:
        sure = f"by {self.labels} labelled target examples it is the best with probability {self.certainty:.2f}"
        if not self.rival:
            return sure
        sure += f", {self.rival} with {self.posterior[self.rival]:.2f}"
        if not self.disputed:
            return f"{sure}; the two give every example the same class"
        share = f"{100 * self.disputed:.0f} % of the examples"
        if self.further is None:
            return (
                f"{sure}; they disagree on {share}, too evenly so far to say how many more labels would tell them apart"
            )
        if not self.further:
            return f"{sure}; they disagree on {share}, and the labels tell them apart"
        return (
            f"{sure}; about {self.further} more labels among the {share} on which they disagree would tell them apart"
        )


def judge(
    labels: Int[Tensor, " l"],
    probabilities: Mapping[str, Float[Tensor, "l c"]],
    predicted: Mapping[str, Int[Tensor, " m"]],
    rows: Int[Tensor, " l"],
    scores: Mapping[str, float] | None = None,
) -> Judgement:
    """Return the posterior of each model being the best, the chosen one, and the number of labels to be surer.

    The posterior of model k is ∝ exp(λ s_k) Π_i ((1 − ε) q_k(y_i | x_i) + ε / C) over the labelled examples i, with
    λ = 5, ε = ½ and q_k ∝ p_k⁴: a class that the model gives clearly counts as a vote, one of two near ones as half of
    it. One example tells two models apart by at most log(1 + C), however confident they are. All are judged by the same
    examples, drawn at random or among those under dispute (`rows_to_tell_apart`), which decide with fewer of them.

    Args:
        labels: classes of the labelled examples.
        probabilities: model → its probabilities of the labelled examples.
        predicted: model → its class of each target example.
        rows: which of the target's examples are labelled.
        scores: model → its score found without labels, in about [0, 1]; without them all are equal before.

    Source: Bayesian model averaging with a likelihood of bounded influence; model selection with few labels: Okanovic
    et al., AISTATS 2025; Kay et al. (CODA), ICCV 2025.

    >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    >>> found = judge(torch.tensor([0, 1]), {"a": p, "b": 1 - p}, {"a": p.argmax(1), "b": p.argmin(1)}, torch.arange(2))
    >>> found.chosen, round(found.certainty, 3)
    ('a', 0.899)
    """
    names = list(predicted)
    right = torch.stack([of_labels(probabilities[name], labels) for name in names])
    before = torch.tensor([(scores or {}).get(name, 0.0) for name in names], dtype=torch.float64)
    posterior = log_posterior(right, next(iter(probabilities.values())).shape[1], before).softmax(0)
    first, *others = posterior.argsort(descending=True, stable=True).tolist()
    found = dict(zip(names, posterior.tolist(), strict=True))
    if not others:
        return Judgement(names[first], "", found, len(labels), 0.0, None)
    mine, yours = (predicted[names[k]] for k in (first, others[0]))
    disputed = mine != yours
    asked = disputed[rows]
    wins, losses = (int((asked & (classes[rows] == labels)).sum()) for classes in (mine, yours))
    further = further_labels(wins, losses, int(asked.sum()) - wins - losses)
    if further is not None and further > disputed.sum() - asked.sum():  # there are not so many
        further = None
    return Judgement(names[first], names[others[0]], found, len(labels), disputed.double().mean().item(), further)


def of_labels(
    probabilities: Float[Tensor, "l c"], labels: Int[Tensor, " l"], sharpening: float = SHARPENING
) -> Float[Tensor, " l"]:
    """Return q(y_i | x_i) of each label, q ∝ p^sharpening, in float64.

    >>> of_labels(torch.tensor([[0.8, 0.2]]), torch.tensor([1]), 2.0).item() - 0.04 / 0.68 < 1e-6
    True
    """
    logits = sharpening * probabilities.double().clamp_min(torch.finfo(torch.float64).tiny).log()
    return logits.softmax(1)[torch.arange(len(labels)), labels]


def log_posterior(
    right: Float[Tensor, "*draws k l"],
    classes: int,
    scores: Float[Tensor, " k"],
    chance: float = CHANCE,
    prior_weight: float = PRIOR_WEIGHT,
) -> Float[Tensor, "*draws k"]:
    """Return λ s_k + Σ_i log((1 − ε) q_k(y_i | x_i) + ε / C) of each model k, up to a constant.

    Args:
        right: q_k(y_i | x_i) of the labelled examples, of several draws too.
        classes: C.
        scores: s_k, found without labels.
        chance, prior_weight: ε and λ.
    """
    return prior_weight * scores + ((1 - chance) * right + chance / classes).log().sum(-1)


def further_labels(wins: int, losses: int, neither: int = 0) -> int | None:
    """Return how many more labels would show that the first of two models is better; None if it does not look so.

    They are labels of examples to which the two give different classes: where they agree nothing is to be learnt, so of
    examples at random it takes as many more as disagreeing ones are rarer. The rates are the means of their posterior
    under a uniform prior on (win, loss, neither).

    Args:
        wins, losses, neither: on how many labelled examples under dispute the first, the second, no one was right.

    >>> further_labels(6, 1), further_labels(3, 2), further_labels(1, 2)
    (14, 340, None)
    """
    asked = wins + losses + neither
    needed = labels_needed((wins + losses + 2) / (asked + 3), (wins - losses) / (asked + 3))
    return None if needed is None else max(0, needed - asked)


def labels_needed(one: float, difference: float) -> int | None:
    """Return the number of pairs by which McNemar's test finds a difference, at the 5 % level (one side), power 0.8.

    n = (1.645 √ψ + 0.842 √(ψ − δ²))² / δ². Source: Connor, Biometrics 1987, Eq. (2).

    Args:
        one: ψ, the probability that just one of the two models is right.
        difference: δ, by how much more often it is the first; None is returned where it is not above 0.

    >>> labels_needed(1.0, 1.0), labels_needed(1.0, 0.5)
    (3, 23)
    """
    if difference <= 0:
        return None
    return ceil((SIGNIFICANT * sqrt(one) + POWER * sqrt(one - difference**2)) ** 2 / difference**2)


def dispute(predicted: Sequence[Int[Tensor, " m"]], weights: Sequence[float] | None = None) -> Float[Tensor, " m"]:
    """Return how much the models disagree on each example: 1 − Σ_c v_c², v_c the models' votes for class c. In [0, 1).

    It is the probability that two models, drawn by their weights (equal without any), give the example two classes.

    >>> dispute([torch.tensor([0, 1]), torch.tensor([0, 0])]).tolist()
    [0.0, 0.5]
    """
    classes = torch.stack([*predicted])
    shares = torch.tensor([*(weights or [1.0] * len(classes))], dtype=torch.float64)
    shares = shares / shares.sum()
    alike = (classes[:, None] == classes[None]).double()
    return (1 - torch.einsum("i,j,ijm->m", shares, shares, alike)).clamp_min(0)


def rows_to_tell_apart(
    predicted: Sequence[Int[Tensor, " m"]],
    budget: int,
    weights: Sequence[float] | None = None,
    generator: torch.Generator | None = None,
) -> list[int]:
    """Return the indices of examples whose labels tell the models apart best, drawn without replacement ∝ `dispute`.

    Drawn, and not the most disputed ones: those are of few kinds, and a model that fails on these alone would be
    judged by nothing else. Weights (a posterior) let the likely models dispute among themselves.

    Source: sampling in proportion to disagreement, Sawade et al., NeurIPS 2012; drawn by Gumbel noise, as Efraimidis
    and Spirakis, 2006.

    >>> rows_to_tell_apart([torch.tensor([0, 1, 2]), torch.tensor([0, 1, 0])], 1, generator=torch.Generator())
    [2]
    """
    chances = (dispute(predicted, weights) + LEAST_DISPUTE).log()
    uniform = torch.rand(len(chances), generator=generator, dtype=torch.float64)
    noise = -(-uniform.clamp_min(torch.finfo(torch.float64).tiny).log()).log()
    return (chances + noise).topk(budget).indices.tolist()
