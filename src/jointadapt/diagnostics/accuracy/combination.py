"""Several estimates of the target accuracy → one with a 90 % interval, or the words that it cannot be told.

    value = w · agreement · accuracy_s + (1 − w) · COT,      w = 1 where other models are known, else 0

Adapted models are confident everywhere, so that whatever is read off one model's confidence is too high, on hard
targets by tens of points. What other models make of the same examples is the better witness: they err apart. Where two
models agree both may still be wrong, as often as models are on the source: hence the factor accuracy_s, the better of
the model's own and source-only's, as some adapted models leave the source behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from jointadapt.diagnostics.accuracy.estimators import (
    accuracy_of,
    agreement,
    average_thresholded_confidence,
    confidence_optimal_transport,
    difference_of_confidences,
    mean_confidence,
    scaled,
)
from jointadapt.errors import UserError
from jointadapt.runs.summary import AccuracyEstimate
from jointadapt.selection.guard import class_proportions
from jointadapt.selection.models import class_geometry

ASSUMES = "It assumes that examples that look alike have one label in both domains; without labels nothing shows it."
FEWEST = 10


@dataclass(frozen=True)
class Fitted:
    """What `benchmarks/accuracy_estimates.py` fitted.

    Args:
        weight: w, of agreement · accuracy_s.
        below, above: of the interval, v − below · s(v) to v + above · s(v), where s(v) = `floor` + 1 − v.
    """

    weight: float
    below: float
    above: float
    floor: float = 0.1

    def value(self, parts: "Parts") -> float:
        """Return the estimate, a fraction."""
        told = 0.0 if parts.agreement is None else self.weight * parts.agreement * parts.source_accuracy
        return told + (1 - self.weight) * parts.transport

    def interval(self, value: float) -> tuple[float, float]:
        """Return the ends of the 90 % interval around a value."""
        scale = self.floor + 1 - value
        return max(value - self.below * scale, 0.0), min(value + self.above * scale, 1.0)


# The constants of this file, fitted on nine families of data by `python benchmarks/accuracy_estimates.py --pool DIR`,
# which also prints how well those that are fitted without a family do on it (docs/results/accuracy-estimates.md).
# With others w was fitted between 0 and 1, and came out as 1. The last constant was set by eye on all of them: from 0.6
# to 0.85 the error moves by 0.2 points.
WITH_OTHERS = Fitted(weight=1.0, below=0.45, above=0.53)
ALONE = Fitted(weight=0.0, below=1.61, above=0.58)
MOST_ABOVE_GEOMETRY = 0.75


class Parts(NamedTuple):
    """What an estimate is made of, each a fraction: of one model by itself, and beside others (None without any).

    `transport`, `difference` and `thresholded` are COT, DoC and ATC, at the temperature that is best on the held-out
    source examples; `geometry` is `class_geometry` of the predicted classes (None without rows).
    """

    source_accuracy: float
    confidence: float
    thresholded: float
    difference: float
    transport: float
    agreement: float | None = None
    geometry: float | None = None


class Rows(NamedTuple):
    """Rows from before any training: of the source (n, d), their labels (n,), and of the target (k, d).

    The target's are those that the probabilities are of, in their order, or those of them that `chosen` (k,) names.
    """

    source: Tensor
    labels: Tensor
    target: Tensor
    chosen: Tensor | None = None

    def geometry(self, predicted: Int[Tensor, " m"]) -> float:
        """Return the `class_geometry` of the classes that were predicted."""
        own = predicted if self.chosen is None else predicted[self.chosen]
        return class_geometry(self.source, self.labels, self.target, own)


def measure(
    held_probabilities: Float[Tensor, "h c"],
    held_labels: Int[Tensor, " h"],
    target_probabilities: Float[Tensor, "m c"],
    others: Sequence[Int[Tensor, " m"]] = (),
    rows: Rows | None = None,
    source_accuracy: float = 0.0,
) -> Parts:
    """Return the parts of an estimate; arguments as in `estimate_accuracy`."""
    p_s, p_t = scaled(held_probabilities, held_labels, target_probabilities)
    predicted = target_probabilities.argmax(1)
    return Parts(
        source_accuracy=max(accuracy_of(held_probabilities, held_labels), source_accuracy),
        confidence=mean_confidence(p_t),
        thresholded=average_thresholded_confidence(p_s, held_labels, p_t),
        difference=difference_of_confidences(p_s, held_labels, p_t),
        transport=confidence_optimal_transport(p_t, class_proportions(held_labels, p_s.shape[1])),
        agreement=agreement(predicted, *others) if others else None,
        geometry=None if rows is None else rows.geometry(predicted),
    )


def estimate_accuracy(
    held_probabilities: Float[Tensor, "h c"],
    held_labels: Int[Tensor, " h"],
    target_probabilities: Float[Tensor, "m c"],
    others: Sequence[Int[Tensor, " m"]] = (),
    rows: Rows | None = None,
    source_accuracy: float = 0.0,
) -> AccuracyEstimate:
    """Return the target accuracy that is expected of a model without target labels, with a 90 % interval.

    Args:
        held_probabilities, held_labels: of source examples that the model was not trained on; at least ten.
        target_probabilities: of the target's examples; at least ten.
        others: the classes that other models, trained otherwise, give to the same target examples: the more these
            differ from the model, the more they tell.
        rows: input rows; with them it is noticed where the predicted classes lie otherwise than the source's.
        source_accuracy: of source-only on the held-out examples, a fraction, if known: the better of both counts.

    It cannot be told where few examples are known, where the geometry of the predicted classes is another than that of
    the source's classes, or where the interval would hold nearly everything. A swap of labels on equal examples is seen
    by nothing. Raises a `UserError` for tensors that do not fit each other. Exact and deterministic; O(min(m, 1000)³).

    >>> import torch
    >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(10, 1)
    >>> y = torch.tensor([0, 1]).repeat(10)
    >>> found = estimate_accuracy(p, y, p, others=[p.argmax(1)])
    >>> found.told, found.value, found.low < found.value <= found.high
    (True, 100.0, True)
    """
    _check(held_probabilities, held_labels, target_probabilities, others)
    parts = measure(held_probabilities, held_labels, target_probabilities, others, rows, source_accuracy)
    return combine(parts, len(held_labels), len(target_probabilities))


def combine(parts: Parts, held: int, target: int) -> AccuracyEstimate:
    """Return the estimate that parts give, of so many held-out source examples and target examples."""
    fitted = ALONE if parts.agreement is None else WITH_OTHERS
    value = fitted.value(parts)
    low, high = fitted.interval(value)
    shown = {name: 100 * part for name, part in parts._asdict().items() if part is not None}
    why = why_not(value, parts.geometry, held, target)
    if why:
        return untold(why, value, shown)
    words = f"Expected target accuracy: {100 * value:.0f} % (90 % interval {100 * low:.0f} to {100 * high:.0f} %)."
    told, lowest, highest = (round(100 * x, 1) for x in (value, low, high))
    return AccuracyEstimate(True, told, lowest, highest, 100 * value, shown, f"{words} {ASSUMES}")


def untold(why: str, assumed: float = 1.0, parts: dict[str, float] | None = None) -> AccuracyEstimate:
    """Return the answer that the accuracy cannot be told, for this reason; `assumed` is a fraction."""
    words = f"The target accuracy cannot be told: {why}. {ASSUMES}"
    return AccuracyEstimate(False, None, None, None, 100 * assumed, parts or {}, words)


def why_not(value: float, geometry: float | None, held: int, target: int) -> str:
    """Return why an estimate is not to be trusted; nothing where it may be.

    Models that agree, and agree on classes that lie otherwise in the target than in the source, have the wrong ones.

    >>> why_not(0.9, 0.8, 50, 50)
    ''
    """
    if min(held, target) < FEWEST:
        return f"{held} held-out source examples and {target} target examples are too few"
    if geometry is not None and value - geometry > MOST_ABOVE_GEOMETRY:
        return (
            f"the models agree, by which it would be {100 * value:.0f} %, but the predicted target classes have "
            f"another geometry than the source classes (correlation {geometry:.2f}), as when classes are matched to "
            "wrong ones"
        )
    return ""


def _check(p_s: Tensor, y_s: Tensor, p_t: Tensor, others: Sequence[Tensor]) -> None:
    """Refuse tensors that do not fit each other."""
    if len(p_s) != len(y_s) or p_s.shape[1] != p_t.shape[1] or any(len(other) != len(p_t) for other in others):
        shapes = ", ".join(str(tuple(part.shape)) for part in (p_s, y_s, p_t, *others))
        raise UserError(
            f"probabilities (h, c), labels (h,), target probabilities (m, c) and others (m,) do not fit: {shapes}."
        )
    if not len(p_s) or not len(p_t) or bool((y_s < 0).any()):
        raise UserError("an estimate needs held-out source examples, each with a label, and target examples.")
