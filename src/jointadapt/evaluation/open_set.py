"""Known classes and unknown ones: how well a score tells them apart, and what is right once a threshold has spoken.

Of a target with classes that the source lacks (an *open set*) two things are wanted: the class of the examples whose
class is known, and "unknown" for all others.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jointadapt.data import UNLABELLED
from jointadapt.runtime.json_text import Number


@dataclass(frozen=True)
class OpenSetEvaluation:
    """Rates in percent over the rows whose label is known; None where there is no row to take them over.

    Args:
        auroc: the chance that an unknown example has a higher score than a known one, ties counting half; 50 is blind.
        known_accuracy: the mean over the known classes of the share of their examples that get their class; to be
            called unknown is an error (OS*).
        unknown_recall: the share of the unknown examples that are called unknown.
        h_score: the harmonic mean of the two.
        false_unknown: the share of the known examples that are called unknown.
        known_rows, unknown_rows: how many examples there were of each.
    """

    auroc: Number | None
    known_accuracy: Number | None
    unknown_recall: Number | None
    h_score: Number | None
    false_unknown: Number | None
    known_rows: int
    unknown_rows: int


def evaluate_open_set(
    predicted: Int[Tensor, " n"],
    scores: Float[Tensor, " n"],
    threshold: float,
    labels: Int[Tensor, " n"],
    unknown: Bool[Tensor, " n"],
) -> OpenSetEvaluation | None:
    """Return how well known classes and unknown ones are told; None when no row has a label.

    H = 2 · OS* · UNK / (OS* + UNK). Source: Bucci, Loghmani, Tommasi, ECCV 2020, Eq. (7) (there HOS); H-score of
    Fu, Cao, Long, Wang, ECCV 2020.

    Args:
        predicted: the most probable known class of each example.
        scores: higher the less an example is of a known class; above the threshold it is called unknown.
        labels: the known classes, `UNLABELLED` for all other examples.
        unknown: whether an example is of a class that is not known.

    >>> found = evaluate_open_set(
    ...     torch.tensor([0, 1, 1, 0]), torch.tensor([0.1, 0.2, 0.6, 0.9]), 0.5,
    ...     torch.tensor([0, 1, 1, -1]), torch.tensor([False, False, False, True]),
    ... )
    >>> found.auroc, found.known_accuracy, found.unknown_recall, round(found.h_score, 1)
    (100.0, 75.0, 100.0, 85.7)
    """
    from sklearn.metrics import roc_auc_score  # not for who only predicts

    known = labels != UNLABELLED
    if not (known | unknown).any():
        return None
    called = scores > threshold
    right = (predicted == labels) & ~called
    of_classes = [right[labels == label].double().mean() for label in labels[known].unique()]
    known_accuracy = 100 * torch.stack(of_classes).mean().item() if of_classes else None
    recall = _percentage(called[unknown])
    told = known | unknown
    auroc = h_score = None
    if known_accuracy is not None and recall is not None:
        auroc = 100 * float(roc_auc_score(unknown[told].numpy(), scores[told].numpy()))
        h_score = harmonic_mean(known_accuracy, recall)
    return OpenSetEvaluation(
        auroc=auroc,
        known_accuracy=known_accuracy,
        unknown_recall=recall,
        h_score=h_score,
        false_unknown=_percentage(called[known]),
        known_rows=int(known.sum()),
        unknown_rows=int(unknown.sum()),
    )


def harmonic_mean(a: float, b: float) -> float:
    """Return 2ab / (a + b), and 0 where both are 0.

    >>> harmonic_mean(60.0, 30.0)
    40.0
    """
    return 2 * a * b / (a + b) if a + b else 0.0


def _percentage(flags: Tensor) -> float | None:
    return 100 * flags.double().mean().item() if len(flags) else None
