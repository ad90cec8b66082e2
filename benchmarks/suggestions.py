"""What a few target labels bring: examples named by `jointadapt suggest-labels` against as many random ones.

    python benchmarks/suggestions.py --data DIR [--budget 20] [--method jan] [--seeds 3]

Half of each target is the pool that is trained on and chosen from, the other half is evaluated on: the same rows for
both ways. DIR holds office_caltech/ and weights/. Prints a Markdown table: percent, mean over the seeds.
"""

import argparse
import csv
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from hard_cases import Case, digits, photographs

from jointadapt import Model, train
from jointadapt.data import Domain
from jointadapt.diagnostics.label_suggestion import suggest_labels


def main() -> None:
    """Train without target labels, with suggested ones and with random ones, on every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", type=int, default=20)
    parser.add_argument("--method", default="jan")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    started = time.monotonic()
    weights = arguments.data / "weights" / "squeezenet1_0.safetensors"
    cases = [*photographs(arguments.data / "office_caltech", "squeezenet1_0", weights), *digits()]
    print(f"{arguments.method}, {arguments.budget} labels, {arguments.seeds} seeds\n")
    print("| task | no label | random | suggested |\n|:---|---:|---:|---:|")
    rows = []
    for case in cases:
        if case.kind == "covariate shift" and ("digits" not in case.name or "tilted" in case.name):
            seeds = [measure(case, arguments.method, arguments.budget, seed) for seed in range(arguments.seeds)]
            rows.append([mean(column) for column in zip(*seeds, strict=True)])
            print(f"| {case.name} | {' | '.join(f'{value:.1f}' for value in rows[-1])} |", flush=True)
    print(f"| mean | {' | '.join(f'{mean(column):.1f}' for column in zip(*rows, strict=True))} |")
    print(f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} threads, torch {torch.__version__}")


def measure(case: Case, method: str, budget: int, seed: int) -> list[float]:
    """Return the accuracies on the evaluated half: no label, random rows, suggested rows."""
    order = np.random.default_rng(seed).permutation(len(case.target)).tolist()
    pool, evaluated = case.target.select(order[::2]), case.target.select(order[1::2])
    options: dict[str, Any] = {"method": method, "seed": seed, "baseline": False, "report": False, **case.options}
    with tempfile.TemporaryDirectory() as folder:
        plain = train(case.source, pool, out=f"{folder}/plain", **options)
        suggested = [row.item for row in suggest_labels(f"{folder}/plain", budget, pool)]
        found = [accuracy(plain.model, evaluated)]
        for name, items in (("random", pool.items[:budget]), ("suggested", suggested)):
            labels = write_labels(Path(folder, f"{name}.csv"), pool, items)
            found.append(accuracy(train(case.source, pool, target_labels=str(labels), **options).model, evaluated))
    return found


def write_labels(path: Path, pool: Domain, items: Sequence[str]) -> Path:
    """Return the path of a CSV with the true labels of some rows: what a person would fill in."""
    truth = dict(zip(pool.items, pool.labels.tolist(), strict=True))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "label"])
        writer.writerows([item, pool.classes[truth[item]]] for item in items)
    return path


def accuracy(model: Model, rows: Domain) -> float:
    """Return the percentage of rows that a model gets right."""
    labels = rows.in_classes(model.classes)[0].labels
    return 100 * (model.predict_proba(rows).argmax(1) == labels).double().mean().item()


if __name__ == "__main__":
    main()
