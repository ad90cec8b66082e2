"""What a training step costs as batch, classes and ranks grow: measured here, then calculated up to 1,000 GPUs.

    python benchmarks/scaling.py [--steps 20] [--calculate] [--images 1000] [--flops 2e13] [--network 2e10]

Measured, in one process on one thread: steps on features of 2048 columns, by rows of the global batch and by classes,
with JMMD of all pairs ("unbiased") and of 1024 random features ("fourier"). Then on 1 and 2 processes (gloo) with the
same global batch. Median of the steps after the first two.

Calculated, from the three rates given as options (assumptions, not measurements): a step of ResNet-50, fine-tuned, of
36 + 36 images a GPU. A rank's own work is the backbone, the all-reduce of its gradients, and gathering 2048 features of
each row; what every rank computes of all rows is the new layers, 6 N (2048 · 256 + 256 C) flops, and JMMD,
4 N² (256 + C) flops for all pairs or 2 N D (256 + C) for D random features. Nothing is taken to overlap.
"""

import argparse
import multiprocessing
import os
import socket
import time
from statistics import median
from typing import Any

import torch
from lightning_fabric import Fabric

from jointadapt.data.batches import Batch, shard
from jointadapt.methods.build import build_method
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.network import Head, Network
from jointadapt.training.trainer import Trainer

WIDTH, BOTTLENECK, FEATURES, PARAMETERS = 2048, 256, 1024, 23.5e6
ROWS, CLASSES, RANKS = (72, 288, 1152, 4608), (10, 100, 1000), (1, 8, 64, 256, 1000)


def step_time(fabric: Fabric, rows: int, classes: int, estimator: str, steps: int) -> float:
    """Return the median seconds of a step of JAN with so many rows of both domains, over all ranks."""
    torch.manual_seed(0)
    network = Network(build_backbone("none", shape=(WIDTH,)), Head((WIDTH,), classes))
    trainer = Trainer(fabric, network, build_method("jan", network.widths, {"estimator": estimator}), steps=10**6)
    own = list(shard(rows // 2, fabric.global_rank, fabric.world_size))
    x, labels = torch.randn(2, rows // 2, WIDTH), torch.arange(rows // 2) % classes
    batch = Batch(x[0][own], labels[own], x[1][own] + 0.1)
    seconds = []
    started = time.perf_counter()
    for _ in trainer.train([batch] * (steps + 2)):
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    return median(seconds[2:])


def _rank(rank: int, ranks: int, port: int, steps: int, pipe: Any) -> None:
    torch.set_num_threads(1)
    if ranks > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0")
    fabric = Fabric(accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto")
    fabric.launch()
    found = [step_time(fabric, rows, CLASSES[0], estimator, steps) for rows in ROWS[:3] for estimator in ESTIMATORS]
    if rank == 0:
        pipe.send(found)


ESTIMATORS = ("unbiased", "fourier")


def on_ranks(ranks: int, steps: int) -> list[float]:
    """Return the step times of the first of so many processes."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here, there = context.Pipe()
    processes = [context.Process(target=_rank, args=(rank, ranks, port, steps, there)) for rank in range(ranks)]
    for process in processes:
        process.start()
    there.close()  # or ranks that die would be waited for
    found = here.recv()
    for process in processes:
        process.join()
    return found


def calculated(ranks: int, classes: int, rate: argparse.Namespace) -> dict[str, float]:
    """Return the milliseconds of each part of a step on so many GPUs."""
    rows = 72 * ranks
    between = (ranks - 1) / ranks
    return {
        "backbone": 72 / rate.images,
        "all-reduce": 2 * 4 * PARAMETERS * between / rate.network,
        "gather": 4 * WIDTH * rows * between / rate.network,
        "new layers": 6 * rows * (WIDTH * BOTTLENECK + BOTTLENECK * classes) / rate.flops,
        "all pairs": 4 * rows**2 * (BOTTLENECK + classes) / rate.flops,
        "fourier": 2 * rows * FEATURES * (BOTTLENECK + classes) / rate.flops,
    }


def measure(steps: int) -> None:
    """Print what steps take here."""
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=1)
    print("Measured: ms a step, one process\n\n| rows | classes | all pairs | fourier |\n|---:|---:|---:|---:|")
    for rows, classes in [*((rows, CLASSES[0]) for rows in ROWS), *((ROWS[1], classes) for classes in CLASSES[1:])]:
        times = (step_time(fabric, rows, classes, estimator, steps) for estimator in ESTIMATORS)
        print(f"| {rows} | {classes} | " + " | ".join(f"{1000 * seconds:.1f}" for seconds in times) + " |", flush=True)
    print("\nMeasured: ms a step, gloo\n\n| rows | estimator | 1 process | 2 processes |\n|---:|:---|---:|---:|")
    names = [(rows, estimator) for rows in ROWS[:3] for estimator in ESTIMATORS]
    for (rows, estimator), *times in zip(names, *(on_ranks(ranks, steps) for ranks in (1, 2)), strict=True):
        print(f"| {rows} | {estimator} | " + " | ".join(f"{1000 * seconds:.1f}" for seconds in times) + " |")
    print(f"\ntorch {torch.__version__}, one thread a process")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--calculate", action="store_true", help="measure nothing")
    parser.add_argument("--images", type=float, default=1000, help="images a second a GPU trains ResNet-50 on")
    parser.add_argument("--flops", type=float, default=2e13, help="float32 operations a second of a GPU in products")
    parser.add_argument("--network", type=float, default=2e10, help="bytes a second between GPUs, each way")
    arguments = parser.parse_args()
    if not arguments.calculate:
        measure(arguments.steps)
    print(
        f"\nCalculated, not measured: ms of each part of a step, 345 classes, {arguments.images:,.0f} images/s, "
        f"{arguments.flops:.0e} flop/s, {arguments.network:.0e} bytes/s"
    )
    columns = [*calculated(1, 345, arguments)]
    print(f"\n| GPUs | rows | {' | '.join(columns)} | step, all pairs | step, fourier |")
    print("|" + "---:|" * (len(columns) + 4))
    for ranks in RANKS:
        parts = calculated(ranks, 345, arguments)
        shared = sum(parts.values()) - parts["all pairs"] - parts["fourier"]
        cells = [*parts.values(), shared + parts["all pairs"], shared + parts["fourier"]]
        print(f"| {ranks:,} | {72 * ranks:,} | " + " | ".join(f"{1000 * cell:.1f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
