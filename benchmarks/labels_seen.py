"""May models be judged by labels that they were trained on, and is the chosen one better trained on them again?

    python benchmarks/labels_seen.py POOL/gas*.pt POOL/hearts*.pt

Each file is a case as `few_labels.py` reads it. Four methods are trained (300 steps, bottleneck of 64) without 20
labels of examples under dispute, and with them; printed are target accuracies on all other examples: of the choice by
models that have not seen the labels, as it is and trained again with them, and of the choice by models that have.
"""

import argparse
import warnings
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from jointadapt import from_arrays, train
from jointadapt.selection.few_labels import judge, rows_to_tell_apart

METHODS = ("source-only", "mcc", "jan+mcc", "shot")
LABELS = 20
COLUMNS = ("unseen", "unseen, trained again", "seen", "best unseen", "best trained again")


def measure(path: Path) -> tuple[float, ...]:
    """Return the accuracies of a case, in the order of `COLUMNS`."""
    case = torch.load(path, weights_only=False)
    source, target, truth = (case["source"], case["source_labels"]), case["target"], case["target_labels"]
    votes = [case["probabilities"][method]["target"].argmax(1) for method in METHODS]
    rows = torch.tensor(rows_to_tell_apart(votes, LABELS, generator=torch.Generator().manual_seed(0)))
    rows = rows[truth[rows] >= 0]
    given = [int(truth[row]) if row in {*rows.tolist()} else None for row in range(len(truth))]
    rest = truth >= 0
    rest[rows] = False

    def of(labels: list[int | None] | str) -> dict[str, Tensor]:
        options = {"steps": 300, "report": False, "baseline": False, "bottleneck": 64, "target_labels": labels}
        models = {method: train(source, target, method=method, **options).model for method in METHODS}
        return {method: model.predict_proba(from_arrays(target, None, "target")) for method, model in models.items()}

    def chosen(found: dict[str, Tensor]) -> str:
        few = {method: each[rows] for method, each in found.items()}
        return judge(truth[rows], few, {method: each.argmax(1) for method, each in found.items()}, rows).chosen

    def accuracy(found: Tensor) -> float:
        return 100 * (found.argmax(1)[rest] == truth[rest]).double().mean().item()

    unseen, seen = of(""), of(given)
    best = (max(map(accuracy, each.values())) for each in (unseen, seen))
    choice = chosen(unseen)
    return accuracy(unseen[choice]), accuracy(seen[choice]), accuracy(seen[chosen(seen)]), *best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+", help="Files of cases.")
    warnings.simplefilter("ignore", UserWarning)
    found = []
    print("| case | " + " | ".join(COLUMNS) + " |\n|:---|" + "---:|" * len(COLUMNS))
    for path in parser.parse_args().cases:
        found.append(measure(path))
        print(f"| {path.stem} | " + " | ".join(f"{value:.1f}" for value in found[-1]) + " |", flush=True)
    print("| mean | " + " | ".join(f"{mean(column):.1f}" for column in zip(*found, strict=True)) + " |")


if __name__ == "__main__":
    main()
