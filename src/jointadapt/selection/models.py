"""Several trained models → the one to use on the target, without target labels; source-only where none is better.

Two criteria, both computed from the input features, which training does not change, and the predicted classes alone:

* neighbours: examples that lie close together should get one class. A method that scatters a class loses here.
* geometry: the target's predicted classes should have the geometry of the source's classes. Where classes were
  matched to the wrong ones, the domains may be matched perfectly, and this is what shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import mean

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from jointadapt.discrepancy.distances import squared_distances
from jointadapt.methods.registry import method_title

NEIGHBOURS = 10
GEOMETRY_WEIGHT = 0.2
LEAST_GEOMETRY = 0.6
CLEAR = 2.0  # standard errors that a candidate has to be better than source-only
FEWEST_MEMBERS = 3


@dataclass(frozen=True)
class Score:
    """A model's scores: `neighbours` in [0, 1], `geometry` in [−1, 1]."""

    neighbours: float
    geometry: float

    @property
    def matched(self) -> bool:
        """Whether the target's predicted classes have much the same geometry as the source's."""
        return self.geometry >= LEAST_GEOMETRY

    @property
    def total(self) -> float:
        """The sum by which models are compared."""
        return self.neighbours + GEOMETRY_WEIGHT * self.geometry


@dataclass(frozen=True)
class Choice:
    """The name of the chosen model, the reason, and the scores of each.

    `believed` is the estimated accuracy of the chosen model: how often the candidates agree with it on average,
    or its neighbours, whichever is more.
    """

    chosen: str
    reason: str
    scores: dict[str, Score]
    believed: float = 1.0


def choose_model(
    source: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    target: Float[Tensor, "m d"],
    predicted: Mapping[str, Int[Tensor, " m"]],
    groups: Int[Tensor, " m"] | None = None,
) -> Choice:
    """Return which model to use: the best candidate, or the first model (source-only) unless it is clearly beaten.

    Of the candidates whose geometry is at least 0.6 the best has the largest neighbours + 0.2 · geometry. It is refused
    if it beats source-only by less than 2 standard errors of the paired difference of neighbours over the target's
    examples. Cost O(m² d).

    Args:
        source, labels, target: input features (a frozen backbone's, or arrays), and the source's labels.
        predicted: model → the class of each target example; the first one is source-only.
        groups: of the target's examples; windows of one recording are no neighbours, since they are alike anyway.
    """
    near = nearest(target, groups=groups)
    agreeing = {name: (classes[near] == classes[:, None]).double().mean(1) for name, classes in predicted.items()}
    scores = {
        name: Score(agreeing[name].mean().item(), class_geometry(source, labels, target, classes))
        for name, classes in predicted.items()
    }
    plain, *candidates = scores
    chosen, reason = _compared(plain, candidates, scores, agreeing)
    others = [name for name in candidates if name != chosen]
    agreement = [(predicted[chosen] == predicted[name]).double().mean().item() for name in others]
    return Choice(chosen, reason, scores, max([scores[chosen].neighbours, mean(agreement)] if others else [1.0]))


def _compared(
    plain: str, candidates: list[str], scores: Mapping[str, Score], agreeing: Mapping[str, Tensor]
) -> tuple[str, str]:
    """Return the chosen model and the reason; `agreeing`: the fraction of each example's neighbours of its class."""
    if not candidates:
        return plain, f"Kept {plain}: there was no candidate."
    matched = [name for name in candidates if scores[name].matched]
    if not matched:
        most = max(scores[name].geometry for name in candidates)
        return plain, (
            f"Kept {plain}: under every candidate the predicted target classes have another geometry than the source "
            f"classes (geometry at most {most:.2f}, under {LEAST_GEOMETRY:g}), as when classes are matched "
            "to wrong ones."
        )
    best = max(matched, key=lambda name: scores[name].total)
    mine, yours = scores[best], scores[plain]
    difference = agreeing[best] - agreeing[plain]
    error = difference.std().item() / sqrt(len(difference))
    compared = (
        f"neighbours {mine.neighbours:.2f} against {yours.neighbours:.2f}, "
        f"geometry {mine.geometry:.2f} against {yours.geometry:.2f}"
    )
    if mine.total - yours.total <= CLEAR * error:
        return plain, f"Kept {plain}: the best candidate, {method_title(best)}, is not clearly better ({compared})."
    others = ", ".join([plain, *(method_title(name) for name in candidates if name != best)])
    return best, f"Chose {method_title(best)} over {others} without target labels: {compared}."


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
