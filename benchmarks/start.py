"""How long an answer takes: `jointadapt predict` on one picture, `import jointadapt`, the `--help` of each verb.

Each answer is a process of its own; the CPU time is that of the process (user and system), the wall time is from its
start to its end. Of several trees they take turns, so that a busy machine is as busy for each.

    OMP_NUM_THREADS=1 python benchmarks/start.py RUN IMAGE [--tree before=PATH/src --tree after=src] [--rounds 7]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

VERBS = (
    *("train", "compare", "predict", "evaluate", "estimate", "export", "card", "suggest-labels", "shift", "analyze"),
    *("data", "ls", "demo"),
)


def timed(command: list[str], tree: str | None) -> tuple[float, float, str]:
    """Return CPU and wall time of a process, in seconds, and what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": tree} if tree else {})
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, done.stdout


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("image")
    parser.add_argument("--tree", action="append", default=[], help="NAME=PATH of a source tree; repeated")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    trees = dict(tree.split("=", 1) for tree in given.tree) or {"installed": None}
    of_ours = ["-m", "jointadapt"]
    answers = {
        "python -c pass": ["-c", "pass"],
        "import torch": ["-c", "import torch"],
        "predict, one picture": [*of_ours, "predict", given.run, given.image],
        "import jointadapt": ["-c", "import jointadapt"],
        "--version": [*of_ours, "--version"],
        "--help": [*of_ours, "--help"],
        **{f"{verb} --help": [*of_ours, verb, "--help"] for verb in VERBS},
    }
    print(f"{'answer':22}" + "".join(f"{name + ': CPU s':>20}{'wall s':>10}" for name in trees))
    for answer, command in answers.items():
        seen: dict[str, list[tuple[float, float, str]]] = {name: [] for name in trees}
        for _ in range(given.rounds):
            for name, tree in trees.items():
                seen[name].append(timed(command, tree))
        if answer.startswith("predict"):
            assert len({text for times in seen.values() for _, _, text in times}) == 1, "the predictions differ"
        medians = [[statistics.median(time[k] for time in times) for k in (0, 1)] for times in seen.values()]
        print(f"{answer:22}" + "".join(f"{cpu:20.3f}{wall:10.3f}" for cpu, wall in medians), flush=True)


if __name__ == "__main__":
    main()
