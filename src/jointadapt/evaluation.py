"""Predictions, and what they are worth: the only place that sees target labels."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from torch import Tensor

from jointadapt.data import UNLABELLED, Domain
from jointadapt.data.domain import Transform
from jointadapt.errors import UserError
from jointadapt.networks import Activations, Network
from jointadapt.progress import Track, silent


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


@torch.inference_mode()
def activations(
    network: Network | Callable[[Tensor], Activations],
    domain: Domain,
    transform: Transform | None = None,
    batch_size: int = 256,
    track: Track = silent,
    description: str = "predicting",
    pictured: Collection[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return features (n, d) and class probabilities (n, classes) of a domain, in evaluation mode, on the CPU.

    Of `pictured` rows only, in their order in the domain, features are kept; None: of all.
    """
    if isinstance(network, torch.nn.Module):
        network.eval()
    device = next((p.device for p in network.parameters()), None) if isinstance(network, torch.nn.Module) else None
    starts = range(0, len(domain), batch_size)
    features, probabilities, finite = [], [], []
    for start in track(starts, len(starts), description):
        rows = domain.rows(range(start, min(start + batch_size, len(domain))), transform)
        seen = network(rows.to(device))
        kept = [row for row in range(len(rows)) if pictured is None or start + row in pictured]
        features.append(seen.features[kept].float().cpu())
        probabilities.append(seen.logits.float().softmax(1).cpu())
        finite.append(seen.features.isfinite().all(1).cpu() & probabilities[-1].isfinite().all(1))
    bad = (~torch.cat(finite)).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"{domain.name}: the network finds nothing finite for {len(bad)} of {len(domain)} rows, the first is "
            f"{domain.items[bad[0]]}; remove such rows, or bring the features to one scale."
        )
    return torch.cat(features), torch.cat(probabilities)


def evaluate(predicted: Tensor, labels: Tensor, classes: int) -> Evaluation | None:
    """Return how well predictions meet the labels; None when there is no label. Classes without rows do not count.

    >>> evaluate(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), 2).accuracy
    75.0
    """
    known = labels != UNLABELLED
    if not known.any():
        return None
    truth, guess = labels[known].numpy(), predicted[known].numpy()
    recalls = recall_score(truth, guess, labels=np.unique(truth), average="macro")
    return Evaluation(
        accuracy=100 * float(accuracy_score(truth, guess)),
        mean_per_class_accuracy=100 * float(recalls),
        confusion=confusion_matrix(truth, guess, labels=np.arange(classes)).tolist(),
        rows=len(truth),
    )


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 10) -> float | None:
    """Return the expected calibration error in percent: Σ_b n_b/n |accuracy_b − confidence_b|; None without labels.

    Rows fall into bins of equal width by the probability of their predicted class.
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


def oracle(accuracies: Sequence[float | None]) -> int | None:
    """Return the position of the highest target accuracy, the first of equal ones: no rule without labels can know it.

    None when no accuracy is known.

    >>> oracle([70.0, 90.0, 90.0])
    1
    """
    known = [(accuracy, -position) for position, accuracy in enumerate(accuracies) if accuracy is not None]
    return -max(known)[1] if known else None


def verdict(predicted: Tensor, plain: Tensor, labels: Tensor, method: str, level: float = 0.05) -> str:
    """Return, in a sentence, whether adapting helped: predictions of the method against those of the source-only model.

    The two models are compared on the same rows by McNemar's exact test; without labels nothing is claimed.
    """
    known = labels != UNLABELLED
    if not known.any():
        agreement = 100 * (predicted == plain).double().mean().item()
        return (
            f"Whether {method} helped cannot be measured without target labels; it gives {100 - agreement:.1f} % "
            "of the target rows another class than source-only does."
        )
    right, plain_right = predicted[known] == labels[known], plain[known] == labels[known]
    won, lost = int((right & ~plain_right).sum()), int((plain_right & ~right).sum())
    before, after = 100 * plain_right.double().mean().item(), 100 * right.double().mean().item()
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    change = f"from {before:.1f} % to {after:.1f} % target accuracy ({won} rows won, {lost} lost; {chance})"
    if p > level:
        return f"{method} made no clear difference: {change}."
    return f"{method} {'helped' if won > lost else 'hurt'}: {change}."
