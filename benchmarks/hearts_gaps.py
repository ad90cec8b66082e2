"""Heart disease in four hospitals, whose tables have gaps: filled as --missing fill does, or by medians over all four.

    python benchmarks/hearts_gaps.py ../shared/data/families/hearts [SEEDS]

The folder holds a domain as `NAME.npz`, its gaps filled by medians over all hospitals, and with its gaps as
`csv_with_missing/NAME.csv`. The mean target accuracy of the twelve tasks, in percent, is printed as Markdown.
"""

import itertools
import sys
import warnings
from pathlib import Path
from statistics import mean

import torch

from jointadapt import train

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")


def accuracies(files: dict[str, Path], seed: int, **options) -> tuple[list[float], list[float]]:
    """Return the target accuracies of source-only and of JAN, a number a task."""
    found = []
    for source, target in itertools.permutations(HOSPITALS, 2):
        summary = train(files[source], files[target], seed=seed, report=False, device="cpu", **options).summary
        assert summary.evaluation is not None
        assert summary.baseline is not None
        assert summary.baseline.evaluation is not None
        found.append((summary.baseline.evaluation.accuracy, summary.evaluation.accuracy))
    plain, adapted = zip(*found, strict=True)
    return [*plain], [*adapted]


def main(root: Path, seeds: int) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    filled = {name: root / f"{name}.npz" for name in HOSPITALS}
    gaps = {name: root / "csv_with_missing" / f"{name}.csv" for name in HOSPITALS}
    print("| gaps are filled by | source-only | jan |\n|:---|---:|---:|")
    ways = (("medians over all four hospitals", filled, {}), ("--missing fill", gaps, {"missing": "fill"}))
    for name, files, options in ways:
        runs = [accuracies(files, seed, **options) for seed in range(seeds)]
        plain, adapted = (mean(itertools.chain.from_iterable(column)) for column in zip(*runs, strict=True))
        print(f"| {name} | {plain:.1f} | {adapted:.1f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3)
