"""Predictions → accuracies, confusion matrix, verdict: the only module that sees target labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from jointadapt.data import UNLABELLED


@dataclass(frozen=True)
class Evaluation:
    """Accuracies in percent over the labelled rows; `confusion[i][j]` counts rows of class i predicted as j."""

    accuracy: float
    mean_per_class_accuracy: float
    confusion: list[list[int]]
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def evaluate(predicted: Tensor, labels: Tensor, classes: int) -> Evaluation | None:
    """Return how well predictions meet the labels; None when there is no label. Classes without rows do not count.

    >>> import torch
    >>> evaluate(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), 2).accuracy
    75.0
    """
    from sklearn.metrics import confusion_matrix  # not for who only predicts

    known = labels != UNLABELLED
    if not known.any():
        return None
    counts = confusion_matrix(labels[known].numpy(), predicted[known].numpy(), labels=np.arange(classes))
    rows, right = counts.sum(1), counts.diagonal()
    return Evaluation(
        accuracy=100 * float(right.sum() / rows.sum()),
        mean_per_class_accuracy=100 * float((right[rows > 0] / rows[rows > 0]).mean()),
        confusion=counts.tolist(),
        rows=int(rows.sum()),
    )


def oracle(accuracies: Sequence[float | None]) -> int | None:
    """Return the position of the highest target accuracy, the first of equal ones; it takes target labels.

    None when no accuracy is known.

    >>> oracle([70.0, 90.0, 90.0])
    1
    """
    known = [(accuracy, -position) for position, accuracy in enumerate(accuracies) if accuracy is not None]
    return -max(known)[1] if known else None


def verdict(predicted: Tensor, plain: Tensor, labels: Tensor, method: str, level: float = 0.05) -> str:
    """Return, in a sentence, whether adapting helped: predictions of the method against those of the source-only model.

    The two models are compared on the same examples by McNemar's exact test; without labels nothing is claimed.
    """
    from scipy.stats import binomtest

    known = labels != UNLABELLED
    if not known.any():
        agreement = 100 * (predicted == plain).double().mean().item()
        return (
            f"{method} predicts another class than source-only for {100 - agreement:.1f} % of the target examples; "
            "whether that helped cannot be measured without target labels."
        )
    right, plain_right = predicted[known] == labels[known], plain[known] == labels[known]
    won, lost = int((right & ~plain_right).sum()), int((plain_right & ~right).sum())
    before, after = 100 * plain_right.double().mean().item(), 100 * right.double().mean().item()
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    significance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    change = (
        f"from {before:.1f} % to {after:.1f} % target accuracy ({won} examples gained, {lost} lost; {significance})"
    )
    if p > level:
        return f"{method} made no clear difference: {change}."
    return f"{method} {'helped' if won > lost else 'hurt'}: {change}."
