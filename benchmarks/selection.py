"""What each rule without target labels makes of the checkpoints of many runs, against the last and the oracle.

    python benchmarks/selection.py --root DIR --backbone squeezenet1_0 --weights FILE [--methods ...] [--trade-offs ...]

Prints a Markdown table: target accuracy in percent of the checkpoint that each rule chooses, mean over methods and
trade-offs. All rules see the same runs, in which a fifth of the source is held out.
"""

import argparse
import itertools
import time
from pathlib import Path
from statistics import mean

from frozen import frozen_features

from jointadapt import train
from jointadapt.data.benchmarks import load_benchmark
from jointadapt.selection import CRITERIA


def main() -> None:
    """Extract features once, then train every method with every trade-off on every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="office-caltech10")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--methods", default="dan,jan")
    parser.add_argument("--trade-offs", default="0.5,3")
    arguments = parser.parse_args()
    benchmark = load_benchmark(arguments.benchmark)
    domains = frozen_features(benchmark, arguments.root, arguments.backbone, arguments.weights)
    settings = list(itertools.product(arguments.methods.split(","), map(float, arguments.trade_offs.split(","))))
    rules = ("last", *CRITERIA, "oracle")
    started, rows, refused, seen = time.monotonic(), [], 0, 0
    print("| task |", " | ".join(rules), "|\n|:---|" + "---:|" * len(rules))
    for source, target in itertools.permutations(sorted(domains), 2):
        runs = []
        for method, trade_off in settings:
            options = {"method": method, "trade_off": trade_off, "backbone": "none", "select": "transfer-cv"}
            run = train(domains[source], domains[target], baseline=False, report=False, **options)
            found = run.summary["selection"]
            runs.append({rule: choice["accuracy"] for rule, choice in found["choices"].items()})
            seen += len(found["candidates"])
            refused += sum(not candidate["eligible"] for candidate in found["candidates"])
        rows.append({rule: mean(run[rule] for run in runs) for rule in rules})
        print(f"| {source} → {target} |", " | ".join(f"{rows[-1][rule]:.1f}" for rule in rules), "|", flush=True)
    print("| mean |", " | ".join(f"{mean(row[rule] for row in rows):.2f}" for rule in rules), "|")
    print(f"\n{len(rows) * len(settings)} runs, {refused} of {seen} checkpoints not eligible", end="")
    print(f"; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
