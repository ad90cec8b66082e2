"""Two domains of 1,000,000 × 256 features on disk: JMMD², the test and a training, and the memory each takes.

    python benchmarks/million_rows.py [--rows 1000000] [--width 256] [--folder FOLDER]

The files (1 GB each) are written tile by tile: standard normal rows, a tenth of the target's columns shifted by 0.01.
Every task runs in a process of its own; printed are its seconds, its largest resident set (Linux's VmHWM, mapped pages
counted) and what it found. "Import" only imports all that a training needs: torch and the networks' libraries count.
The memory bound of the statistic and the test is asserted: 1,000 MB.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHIFT, TILE, CLASSES, BOUND = 0.01, 10_000, 4, 1000
Task = Callable[[Path, int], str]


def write(file: Path, rows: int, width: int, shift: float, seed: int) -> None:
    """Write a matrix of normal rows, and labels that its first two columns decide."""
    generator, labels = np.random.default_rng(seed), np.empty(rows, np.int64)
    array = np.lib.format.open_memmap(file, "w+", np.float32, (rows, width))
    for start in range(0, rows, TILE):
        tile = generator.standard_normal((min(TILE, rows - start), width), np.float32)
        labels[start : start + TILE] = (tile[:, 0] > 0) * 2 + (tile[:, 1] > 0)
        tile[:, : width // 10 + 1] += shift
        array[start : start + TILE] = tile
    array.flush()
    np.save(file.with_suffix(".labels.npy"), labels)


def nothing(folder: Path, seed: int) -> str:  # noqa: ARG001
    """Import."""
    import jointadapt.experiment  # noqa: F401

    return ""


def statistic(folder: Path, seed: int) -> str:
    """JMMD² of 1024 random features."""
    import torch

    from jointadapt import GaussianKernel, jmmd_fourier, read_domain

    source, target = (read_domain(folder / f"{name}.npy").content for name in ("source", "target"))
    with torch.no_grad():
        value = jmmd_fourier([source], [target], [GaussianKernel()], generator=torch.Generator().manual_seed(seed))
    return f"MMD² = {value.item():.3g}"


def test(folder: Path, seed: int) -> str:
    """The test of 1024 random features."""
    import torch

    from jointadapt import read_domain, two_sample_test

    samples = (read_domain(folder / f"{name}.npy").content for name in ("source", "target"))
    found = two_sample_test(*samples, method="fourier", generator=torch.Generator().manual_seed(seed))
    return f"p = {found.p_value:.2g}"


def training(folder: Path, seed: int) -> str:
    """JAN, 200 steps of 36 + 36 rows, predictions of all rows."""
    from jointadapt import train

    options = {"seed": seed, "steps": 200, "baseline": False, "report": False, "device": "cpu"}
    run = train(folder / "source.npy", folder / "target.npy", folder / "run", **options)
    return f"accuracy {run.summary.accuracy:.1f} %"


def _measure(task: Task, folder: Path, pipe) -> None:
    started = time.perf_counter()
    found = task(folder, 0)
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(lines["VmHWM"].split()[0]) / 1000  # ru_maxrss would count what this process was forked from
    pipe.send((time.perf_counter() - started, peak, found))


def main() -> None:
    """Write the files, run the tasks, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="where the files go for a while; by default the system's")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        write(folder / "source.npy", arguments.rows, arguments.width, 0.0, 0)
        write(folder / "target.npy", arguments.rows, arguments.width, SHIFT, 1)
        print(
            f"2 × {arguments.rows:,} × {arguments.width}\n\n| task | seconds | peak MB | found |\n|:---|---:|---:|:---|"
        )
        peaks = {}
        for task in (nothing, statistic, test, training):
            here, there = context.Pipe()
            process = context.Process(target=_measure, args=(task, folder, there))
            process.start()
            there.close()  # or a task that dies would be waited for
            seconds, peak, found = here.recv()
            process.join()
            peaks[task.__name__] = peak
            print(f"| {(task.__doc__ or '').rstrip('.')} | {seconds:.1f} | {peak:.0f} | {found} |", flush=True)
    assert max(peaks["statistic"], peaks["test"]) < BOUND, f"more than {BOUND} MB: {peaks}"


if __name__ == "__main__":
    main()
