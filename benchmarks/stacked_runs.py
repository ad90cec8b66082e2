"""What training runs as one gives: steps of K runs, whole runs of K seeds, `auto`, a table of all methods.

    python benchmarks/stacked_runs.py [--parts steps runs auto table] [--rounds 5]

Synthetic features: 720 rows a domain, 10 classes. CPU time of one thread, together and one by one in turns in one
process, medians over rounds; a table once each. Steps are those of the trainer, 36 + 36 rows, bottleneck 256.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch
from lightning_fabric import Fabric

import jointadapt
from jointadapt.comparison.plan import Outcome, plan
from jointadapt.comparison.run import compare
from jointadapt.data import Batches, Domain, from_arrays
from jointadapt.experiment import together
from jointadapt.methods import METHODS, build_method
from jointadapt.networks.features import PrecomputedFeatures
from jointadapt.networks.network import Head, Network
from jointadapt.training.stack import Stack
from jointadapt.training.trainer import Trainer

ROWS, CLASSES, BATCH = 720, 10, 36
TIMES = 32  # steps a round
BENCHMARK = """
title = "Made"
[domains.source]
path = "source.npz"
[domains.target]
path = "target.npz"
"""


def domains(width: int) -> tuple[Domain, Domain]:
    """Return source and target: classes around random centres, the target's moved."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(ROWS) % CLASSES
    centres, shift = torch.randn(CLASSES, width, generator=generator), torch.randn(width, generator=generator)
    x_s, x_t = (centres[y] + 3 * torch.randn(ROWS, width, generator=generator) for _ in range(2))
    return from_arrays(x_s.numpy(), y.numpy(), "source"), from_arrays((x_t + shift).numpy(), y.numpy(), "target")


def trainer(method: str, seed: int, width: int) -> Trainer:
    """Return a trainer of a head on features."""
    torch.manual_seed(seed)
    network = Network(PrecomputedFeatures((width,)), Head((width,), CLASSES), frozen=True)
    built = build_method(method, network.widths, {})
    made = Trainer(Fabric(accelerator="cpu", devices=1), network, built, steps=10**6, ceiling=built.trade_off)
    made.draw_apart()
    return made


def stepper(method: str, runs: int, width: int) -> Callable[[], None]:
    """Return what makes some steps of so many runs: one by the trainer, several by a stack."""
    source, target = domains(width)
    batches = [Batches(source, target, BATCH, seed) for seed in range(runs)]
    trainers = [trainer(method, seed, width) for seed in range(runs)]
    stack = Stack(trainers) if runs > 1 else None

    def step() -> None:
        first = trainers[0].step
        given = [own.iterate(first, first + TIMES) for own in batches]
        for _ in trainers[0].train(given[0]) if stack is None else stack.train(zip(*given, strict=True)):
            pass
        assert not any(each.fault() for each in trainers)

    if stack is None:
        trainers[0].draw_as_ever()
    return step


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of some work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def steps(rounds: int) -> None:
    """Print the table of steps."""
    print(
        "| method | d | one run: ms | 3 runs: × one | 8 runs: × one | of a run alone |\n|:---|---:|---:|---:|---:|---:|"
    )
    for method in ("jan", "mcc", "source-only"):
        for width in (32, 512, 2048):
            taken: dict[int, list[float]] = {}
            works = {runs: stepper(method, runs, width) for runs in (1, 3, 8)}
            for number in range(rounds + 1):
                for runs, work in works.items():
                    seconds = cpu(work)
                    if number:  # the first round warms up
                        taken.setdefault(runs, []).append(seconds / TIMES)
            ratios = {r: median(a / b for a, b in zip(taken[r], taken[1], strict=True)) for r in (3, 8)}
            cells = f"{1000 * median(taken[1]):.2f} | {ratios[3]:.2f} | {ratios[8]:.2f} | {ratios[8] / 8:.2f}"
            print(f"| {method} | {width} | {cells} |", flush=True)


@contextmanager
def one_by_one() -> Iterator[None]:
    """Let runs train alone."""
    before, together.MOST_TOGETHER = together.MOST_TOGETHER, 1
    try:
        yield
    finally:
        together.MOST_TOGETHER = before


def in_turns(work: Callable[[], object], rounds: int) -> str:
    """Return the cells of a table: CPU seconds alone and together, and the ratio."""
    alone, as_one = [], []
    for _ in range(rounds):
        with one_by_one():
            alone.append(cpu(work))
        as_one.append(cpu(work))
    ratio = median(b / a for a, b in zip(alone, as_one, strict=True))
    return f"{median(alone):.1f} | {median(as_one):.1f} | {ratio:.2f} |"


def compared(methods: Sequence[str], seeds: int, width: int) -> list[Outcome]:
    """Make the table of one task, every method with every seed, and return its runs."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for domain in domains(width):
            np.savez(root / f"{domain.name}.npz", x=domain.rows(range(len(domain))).numpy(), y=domain.labels.numpy())
        (root / "made.toml").write_text(BENCHMARK)
        table = str(root / "made.toml"), root, ["source → target"], methods, seeds
        comparison, _ = plan(*table, out=root / "out", backbone="none", cache=str(root))
        outcomes, failures = compare(comparison)
    assert not failures
    return outcomes


def table(seeds: int, width: int) -> None:
    """Print what a table of all methods takes, and the part of each method."""
    last: list[Outcome] = []

    def work() -> None:
        last[:] = compared([*METHODS], seeds, width)

    print(f"| {len(METHODS)} methods × {seeds} seeds, d = {width} | {in_turns(work, 1)}")
    total = sum(run.seconds for run in last)
    parts = {name: sum(run.seconds for run in last if run.method == name) / total for name in METHODS}
    largest = sorted(parts.items(), key=lambda part: -part[1])
    print("\nOf the time together: " + ", ".join(f"{name} {100 * part:.0f} %" for name, part in largest))


def auto(width: int) -> None:
    """Let auto train its candidates and choose."""
    jointadapt.train(*domains(width), method="auto", report=False)


def main() -> None:
    """Print the tables."""
    parts = ("steps", "runs", "auto", "table")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if "steps" in arguments.parts:
        steps(arguments.rounds)
    head = "\n| runs of 600 steps | one by one: s | together: s | ratio |\n|:---|---:|---:|---:|"
    print(head if {*arguments.parts} - {"steps"} else "")
    if "runs" in arguments.parts:
        for width in (32, 512, 2048):
            print(
                f"| 8 seeds of jan, d = {width} | {in_turns(lambda w=width: compared(['jan'], 8, w), arguments.rounds)}"
            )
    if "auto" in arguments.parts:
        print(f"| auto, d = 1024 | {in_turns(lambda: auto(1024), arguments.rounds)}", flush=True)
    if "table" in arguments.parts:
        table(3, 512)
    print(f"\n{platform.machine()}, one thread, CPU time, torch {torch.__version__}")


if __name__ == "__main__":
    main()
