"""Several trained models → what to use on the target, without target labels; source-only where none is to be trusted.

What is used is the mean of all, unless one of them is clearly better, or it bears a sign that adapting went wrong.
Both are seen by criteria that training does not move, computed from the input features and the predicted classes alone:

* neighbours: examples that lie close together should get one class. A model that scatters a class loses here; one that
  gives all examples one class gains, so the agreement is also taken beyond what chance gives (Cohen's kappa).
* geometry: the target's predicted classes should have the geometry of the source's classes. Where classes were
  matched to the wrong ones, the domains may be matched perfectly, and this is what shows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from jointadapt.discrepancy.distances import squared_distances
from jointadapt.discrepancy.domain_classifier import fit_linear
from jointadapt.methods.names import method_title
from jointadapt.methods.registry import BASELINE

COMBINATION = "combination"  # of all models: the mean of their probabilities
CAUTIOUS = "cautious combination"  # of those models alone that do not ask for balanced classes
UNBALANCED = (BASELINE, "mcc")  # they are these
NEIGHBOURS = 10
FEWEST_MEMBERS = 3


@dataclass(frozen=True)
class Rule:
    """The constants of the choice: found on families of data, judged on the one left out (docs/results/choosing.md).

    Args:
        geometry_weight: of the geometry beside the neighbours.
        clearly: by how much one model alone has to be better than the combination.
        matched: the geometry that one model alone needs at least.
        mismatched: the geometry under which classes were matched to wrong ones.
        parted: how much of the neighbours' agreement adapting may cost, where less than `agreement` beyond chance is
            left of it.
        lost: how much of the agreement beyond chance adapting may cost.
        moved: how far the combination may move the class shares from MCC's, if MCC does not move source-only's as far.
        alone: the share of the target's examples that have to be in one class for it to seem the only one.
    """

    geometry_weight: float = 0.2
    clearly: float = 0.1
    matched: float = 0.6
    mismatched: float = -0.6
    parted: float = 0.05
    agreement: float = 0.5
    lost: float = 0.1
    moved: float = 0.1
    alone: float = 0.9


RULE = Rule()


@dataclass(frozen=True)
class Score:
    """A model's scores.

    Args:
        neighbours: how often an example's neighbours have its class; in [0, 1].
        beyond_chance: the same beyond chance, (a − c) / (1 − c), c = Σ shares² of the predicted classes; up to 1.
        geometry: `class_geometry`; in [−1, 1].
    """

    neighbours: float
    beyond_chance: float
    geometry: float

    def total(self, rule: Rule = RULE) -> float:
        """Return the sum by which models are compared."""
        return self.neighbours + rule.geometry_weight * self.geometry

    def fault(self, plain: "Score", rule: Rule = RULE) -> str:
        """Return the sign that adapting went wrong, in a clause, by the scores of the model that was not adapted."""
        if self.geometry < rule.mismatched:
            return (
                f"its target classes have another geometry than the source's ({self.geometry:.2f}, under "
                f"{rule.mismatched:g}), as when classes are matched to wrong ones"
            )
        parts = self.neighbours < plain.neighbours - rule.parted and self.beyond_chance < rule.agreement
        if parts or self.beyond_chance < plain.beyond_chance - rule.lost:
            return (
                f"it parts neighbours that source-only leaves together (neighbours {self.neighbours:.2f} against "
                f"{plain.neighbours:.2f}, beyond chance {self.beyond_chance:.2f} against {plain.beyond_chance:.2f}), "
                "as when classes are missing in the target"
            )
        return ""


@dataclass(frozen=True)
class Choice:
    """The name of the chosen model, the reason, and the scores of each."""

    chosen: str
    reason: str
    scores: dict[str, Score]


def choose_model(
    source: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    target: Float[Tensor, "m d"],
    predicted: Mapping[str, Int[Tensor, " m"]],
    groups: Int[Tensor, " m"] | None = None,
    rule: Rule = RULE,
) -> Choice:
    """Return which model to use: the combination, one candidate that is clearly better, or the first, source-only.

    A candidate is clearly better if its geometry is at least 0.6 and its neighbours + 0.2 · geometry exceed the
    combination's by more than 0.1. What bears the sign of a fault (`Score.fault`) is passed over; if the combination
    does, too, source-only is kept. Cost O(m² d).

    Args:
        source, labels: input features (a frozen backbone's, or arrays) and classes of the source.
        predicted: model → the class of each target example; the first one is source-only. Of the combinations the
            `CAUTIOUS` one, where there is one, stands in the other's place; without any the best candidate does.
        groups: of the target's examples; windows of one recording are no neighbours, since they are alike anyway.
    """
    scores = score_models(source, labels, target, predicted, groups)
    plain, *candidates = scores
    chosen, reason = choose_by_scores(plain, candidates, scores, rule)
    return Choice(chosen, reason, scores)


def asks_for_caution(predicted: Mapping[str, Int[Tensor, " m"]], rule: Rule = RULE) -> bool:
    """Return whether the target's class shares seem to be others than methods assume that want balanced classes.

    MCC does not want them. Where it leaves source-only's shares nearly as they are, and the combination of all models
    moves them, it was the wish for balance that moved them. Shares are compared by their total variation, ½ Σ |p − q|.

    Args:
        predicted: the class of each target example by source-only, "mcc", and the `COMBINATION`.

    >>> rare, even = torch.tensor([0] * 9 + [1]), torch.tensor([0, 1] * 5)
    >>> asks_for_caution({"source-only": rare, "mcc": rare, "combination": even})
    True
    >>> asks_for_caution({"source-only": rare, "mcc": even, "combination": even})
    False
    """
    classes = 1 + max(int(found.max()) for found in predicted.values())
    plain, mcc, mean = (
        torch.bincount(predicted[name], minlength=classes).double() / len(predicted[name])
        for name in (*UNBALANCED, COMBINATION)
    )
    far, near = ((mcc - other).abs().sum().item() / 2 for other in (mean, plain))
    return far > rule.moved > near


def seems_one_class(
    source: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    target: Float[Tensor, "m d"],
    predicted: Int[Tensor, " m"],
    rule: Rule = RULE,
) -> bool:
    """Return whether the target seems to hold one class alone, whose examples adapting would spread over the others.

    Source-only gives nearly all examples one class, and a logistic regression on the input rows, which errs otherwise
    than a network does, agrees on as many. With a network that a shift has made collapse it does not.

    Args:
        source, labels, target: as of `choose_model`.
        predicted: the class of each target example by source-only.

    >>> x = torch.tensor([[0.0], [1.0], [4.0], [5.0]])
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> seems_one_class(x, y, x[:2], y[:2]), seems_one_class(x, y, x, y), seems_one_class(x, y, x[:2], y[2:])
    (True, False, False)
    """
    share = torch.bincount(predicted).max().item() / len(predicted)
    if share < rule.alone or len(labels.unique()) < 2:
        return False
    other = torch.from_numpy(fit_linear(source, labels, strength=0.1, iterations=200).predict(target.double().numpy()))
    return (other == predicted).double().mean().item() >= rule.alone


def score_models(
    source: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    target: Float[Tensor, "m d"],
    predicted: Mapping[str, Int[Tensor, " m"]],
    groups: Int[Tensor, " m"] | None = None,
) -> dict[str, Score]:
    """Return the scores of each model; arguments as of `choose_model`."""
    near = nearest(target, groups=groups)
    found = {}
    for name, classes in predicted.items():
        agreeing = (classes[near] == classes[:, None]).double().mean().item()
        chance = (torch.bincount(classes).double() / max(1, len(classes))).square().sum().item()
        beyond = (agreeing - chance) / (1 - chance) if chance < 1 else 0.0
        found[name] = Score(agreeing, beyond, class_geometry(source, labels, target, classes))
    return found


def choose_by_scores(
    plain: str, candidates: Sequence[str], scores: Mapping[str, Score], rule: Rule = RULE
) -> tuple[str, str]:
    """Return the chosen model and the reason, by the scores of source-only (`plain`) and of the candidates."""
    if not candidates:
        return plain, f"Kept {plain}: there was no candidate."
    singles = [name for name in candidates if name not in (COMBINATION, CAUTIOUS)]
    sound = [name for name in singles if not scores[name].fault(scores[plain], rule)]
    best = max(sound, key=lambda name: scores[name].total(rule), default=singles[0])
    default = next((name for name in (CAUTIOUS, COMBINATION) if name in candidates), best)
    clear = scores[best].total(rule) > scores[default].total(rule) + rule.clearly
    if best in sound and best != default and clear and scores[best].geometry >= rule.matched:
        return best, f"Chose {method_title(best)} without target labels: {_compared(default, best, scores)}."
    if fault := scores[default].fault(scores[plain], rule):
        return plain, f"Kept {plain}: {fault}."
    return default, f"{_taken(default, (plain, *singles))} ({_compared(plain, default, scores)})."


def _taken(default: str, models: Sequence[str]) -> str:
    """Return what is said of the model that is taken where none is clearly better."""
    sound = "it shows no sign that adapting went wrong"
    if default == COMBINATION:
        members = ", ".join(map(method_title, models))
        return f"Took the mean of {members}: none alone is clearly better without target labels, and {sound}"
    if default == CAUTIOUS:
        members = " and ".join(map(method_title, UNBALANCED))
        return (
            f"Took the mean of {members}: the others move the class shares of the target, as methods do that want "
            f"balanced classes where there are none, and {sound}"
        )
    return f"Chose {method_title(default)} without target labels: {sound}"


def _compared(other: str, name: str, scores: Mapping[str, Score]) -> str:
    mine, yours = scores[name], scores[other]
    return (
        f"neighbours {mine.neighbours:.2f} against {yours.neighbours:.2f} of {method_title(other)}, geometry "
        f"{mine.geometry:.2f} against {yours.geometry:.2f}"
    )


def nearest(
    rows: Float[Tensor, "m d"], count: int = NEIGHBOURS, groups: Int[Tensor, " m"] | None = None
) -> Int[Tensor, "m k"]:
    """Return the indices of each row's nearest other rows; fewer where there are fewer. O(m² d).

    Rows of its own group come after all others.

    >>> nearest(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    tensor([[1],
            [0],
            [1]])
    """
    distances = squared_distances(rows.double())
    if groups is not None:
        distances += (groups[:, None] == groups) * distances.max() * 2
    distances.fill_diagonal_(torch.inf)
    return distances.topk(min(count, len(rows) - 1), largest=False).indices


def class_geometry(
    source: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    target: Float[Tensor, "m d"],
    predicted: Int[Tensor, " m"],
) -> float:
    """Return the correlation of the distances between class means in the source and in the target. In [−1, 1].

    A pair of classes weighs as much as the product of their predicted counts. Translating, rotating, reflecting or
    scaling a domain changes nothing; permuting its classes does. 0 where fewer than three classes have three
    predictions.

    Two classes have one distance only. Of them it is the cosine between the lines from the one's mean to the other's,
    in the source and in the target: 1 where the domain is translated or scaled, less where it is rotated.

    >>> corners = torch.tensor([[0.0, 0], [4, 0], [0, 1]]).repeat(3, 1)
    >>> y = torch.tensor([0, 1, 2]).repeat(3)
    >>> round(class_geometry(corners, y, 5 - 2 * corners, y), 4)
    1.0
    >>> class_geometry(corners, y, corners, (y + 1) % 3) < 0
    True
    """
    classes, counts = labels.unique().tolist(), torch.bincount(predicted, minlength=int(labels.max()) + 1)
    present = [c for c in classes if counts[c] >= FEWEST_MEMBERS]
    if len(present) < min(3, len(classes)):
        return 0.0
    means_s, means_t = (
        torch.stack([rows[own == c].double().mean(0) for c in present])
        for rows, own in ((source, labels), (target, predicted))
    )
    if len(present) == 2:
        return cosine_similarity(means_s[0] - means_s[1], means_t[0] - means_t[1], dim=0).item()
    upper = torch.triu_indices(len(present), len(present), 1)
    sizes = counts[present].double()
    weights = sizes[upper[0]] * sizes[upper[1]]
    weights = weights / weights.sum()
    a, b = (torch.cdist(means, means)[upper[0], upper[1]] for means in (means_s, means_t))
    a, b = (d - (weights * d).sum() for d in (a, b))
    scale = ((weights * a * a).sum() * (weights * b * b).sum()).sqrt()
    return ((weights * a * b).sum() / scale).item() if scale > 0 else 0.0
