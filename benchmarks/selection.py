"""What each criterion without target labels selects among the checkpoints of many runs, beside the last and the oracle.

    jointadapt compare … --select transfer-cv --out DIR   # or without --select: criteria that hold out nothing
    python benchmarks/selection.py DIR/results.jsonl ...

Prints a Markdown table of every criterion that all the runs have: the mean accuracy of the checkpoints it selects, in
percent of target rows; how far they are below each run's best, on average and at most; in how many runs they are
better or worse than the last checkpoint by more than half a point.
"""

import argparse
import json
from pathlib import Path
from statistics import mean

from jointadapt.selection.registry import CRITERIA

CLEAR = 0.5


def main() -> None:
    """Read finished comparisons and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    arguments = parser.parse_args()
    records = [json.loads(line) for file in arguments.results for line in file.read_text("utf-8").splitlines()]
    runs = list({record["key"]: record["choices"] for record in records}.values())
    rules = [rule for rule in ("last", *CRITERIA, "oracle") if all(rule in run for run in runs)]
    methods, seeds = ({record[name] for record in records} for name in ("method", "seed"))
    print(f"{len(runs)} runs, {len(methods)} methods, {len(seeds)} seeds\n")
    print("| criterion | mean accuracy | mean regret | largest | better than the last | worse |\n|:---|" + "---:|" * 5)
    for rule in rules:
        found = [{name: run[name]["accuracy"] for name in (rule, "last", "oracle")} for run in runs]
        regrets = [run["oracle"] - run[rule] for run in found]
        gains = [run[rule] - run["last"] for run in found]
        cells = [
            f"{mean(run[rule] for run in found):.2f}",
            f"{mean(regrets):.2f}",
            f"{max(regrets):.1f}",
            *(str(sum(sign * gain > CLEAR for gain in gains)) for sign in (1, -1)),
        ]
        print(f"| {rule} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
