"""Print, as Markdown, the speed, memory and float32 accuracy of the two-sample tests beside other implementations.

    python benchmarks/two_sample.py

Contenders run interleaved on one thread; medians. alibi-detect and hyppo take part where they can be imported.
"""

import argparse
import importlib.metadata
import importlib.util
import platform
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from unittest.mock import patch

import torch

from jointadapt.discrepancy.distances import squared_distances
from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.two_sample import two_sample_test
from jointadapt.two_sample.samples import Pooled

COLUMNS = 32
SLOW = 10
TOO_SLOW = 100


def ours(x, y, permutations):
    return two_sample_test(x, y, kernels=GaussianKernel(scales=(1.0,)), permutations=permutations).p_value


def naive(x, y, permutations):
    """The loop one would write: K once, then a row and column permutation of it for each p-value term."""
    n, rows = len(x), torch.cat([x, y])
    kernel = GaussianKernel(scales=(1.0,))
    K = kernel(squared_distances(rows), kernel.find_bandwidth(rows)).fill_diagonal_(0)

    def statistic(K):
        within = K[:n, :n].sum() / (n * (n - 1)) + K[n:, n:].sum() / ((len(K) - n) * (len(K) - n - 1))
        return within - 2 * K[:n, n:].mean()

    observed, count = statistic(K), 1
    for _ in range(permutations):
        order = torch.randperm(len(K))
        count += int(statistic(K[order][:, order]) >= observed)
    return count / (1 + permutations)


def alibi_detect(x, y, permutations):
    from alibi_detect.cd import MMDDrift

    detector = MMDDrift(x.numpy(), backend="pytorch", n_permutations=permutations, device="cpu")
    return float(detector.predict(y.numpy())["data"]["p_val"])


def hyppo(x, y, permutations):
    from hyppo.ksample import MMD

    return float(MMD().test(x.numpy(), y.numpy(), reps=permutations, workers=1, auto=False)[1])


PEERS = {"alibi-detect": ("alibi_detect", alibi_detect), "hyppo": ("hyppo", hyppo)}


def peers():
    """Return the importable peers by name."""
    return {name: test for name, (module, test) in PEERS.items() if importlib.util.find_spec(module)}


def header():
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    names = ["torch", "numpy", "scipy", *(name for name in PEERS if name in peers())]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    missing = "".join(f" {name} is not installed and left out." for name in PEERS if name not in peers())
    print(f"CPU: {cpu}; threads: {torch.get_num_threads()}; Python {platform.python_version()}, {versions}.{missing}\n")


def samples(n, columns=COLUMNS):
    rows = torch.randn(2 * n, columns, generator=torch.Generator().manual_seed(n))
    return rows[:n], rows[n:]


def timed(test, *arguments):
    start = time.perf_counter()
    test(*arguments)
    return time.perf_counter() - start


def peak():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def growth(name, n, permutations, method="permutation"):
    """Return by how many MiB the peak resident memory of a fresh process grows over a small warm-up call."""
    command = [sys.executable, __file__, "--one", name, str(n), str(permutations), method]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def one(name, n, permutations, method):
    def test(x, y, count):
        return (
            two_sample_test(x, y, permutations=count, method=method) if name == "method" else tests[name](x, y, count)
        )

    tests = {"ours": ours, "naive": naive, **peers()}
    test(*samples(50), permutations)
    before = peak()
    test(*samples(n), permutations)
    print(f"{peak() - before:.0f}")


def speed(sizes, permutations, rounds):
    tests = {"jointadapt": ours, "naive loop": naive, **peers()}
    print(f"### Speed and memory, {permutations} permutations, {COLUMNS} columns, float32\n")
    print(
        f"Interleaved, medians of {rounds} rounds; a test expected to take more than {SLOW} s runs once, and not at all"
    )
    print(f"if that is more than {TOO_SLOW} s. MiB: growth of the peak over a small call, in a fresh process.\n")
    print("| rows | test | seconds | times ours | MiB |\n|---|---|---|---|---|")
    expected = dict.fromkeys(tests, 0.0)
    for test in tests.values():
        test(*samples(50), permutations)
    for previous, n in zip([sizes[0], *sizes], sizes, strict=False):
        x, y = samples(n)
        expected = {name: seconds * (n / previous) ** 2 for name, seconds in expected.items()}
        seconds = {name: [] for name in tests}
        for index in range(rounds):
            for name, test in tests.items():
                if expected[name] < (TOO_SLOW if index == 0 else SLOW):
                    seconds[name].append(timed(test, x, y, permutations))
                    expected[name] = seconds[name][0]
        for name in tests:
            if not seconds[name]:
                print(f"| {n:,} + {n:,} | {name} | not run | | |", flush=True)
                continue
            median = statistics.median(seconds[name])
            ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds["jointadapt"], strict=False))
            key = {"jointadapt": "ours", "naive loop": "naive"}.get(name, name)
            memory = growth(key, n, permutations if key == "ours" else 5)
            print(f"| {n:,} + {n:,} | {name} | {median:.3f} | {ratio:.1f} | {memory:.0f} |", flush=True)
    print()


def large(n, permutations, columns=64):
    print(f"### {n:,} + {n:,} rows, {columns} columns, float32, default kernel\n")
    print("| method | permutations | seconds | MiB beyond the data and the imports |\n|---|---|---|---|")
    x, y = samples(n, columns)
    for method in ("permutation", "aggregated", "cross", "linear"):
        count = permutations if method in ("permutation", "aggregated") else 0
        seconds = timed(lambda method=method: two_sample_test(x, y, permutations=permutations, method=method))
        memory = growth("method", n, permutations, method)
        print(f"| {method} | {count:,} | {seconds:.2f} | {memory:.0f} |", flush=True)
    print()


def accuracy(n, permutations=200):
    """Compare float32, with and without the constant taken off the kernel, with float64 over the same permutations."""
    print(f"### Float32 against float64, {n:,} + {n:,} rows, {permutations} permutations\n")
    print("The error is that of the observed statistic, in standard deviations of its null distribution.\n")
    print("| kernel | float32, constant off | p moves by | float32, plain | p moves by |\n|---|---|---|---|---|")
    x, y = samples(n, 8)
    for name, kernel in {
        "five scales, mean": GaussianKernel(),
        "one wide Gaussian, γ = 100 × mean": GaussianKernel(16.0 * 100, scales=(1.0,)),
    }.items():
        run = {"kernels": kernel, "permutations": permutations}
        double = two_sample_test(x.double(), y.double(), **run)
        spread = (double.null_quantiles[0.95] - double.null_quantiles[0.5]) / 1.645
        single = two_sample_test(x, y, **run)
        with patch.object(Pooled, "shifts", lambda _, multiples=(1.0,): [0.0] * len(multiples)):
            plain = two_sample_test(x, y, **run)
        cells = [
            f"{abs(result.statistic - double.statistic) / spread:.1e} | {abs(result.p_value - double.p_value):.3f}"
            for result in (single, plain)
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="*", type=int, default=[200, 1000, 2000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.one:
        name, n, permutations, method = options.one
        one(name, int(n), int(permutations), method)
        return
    header()
    if options.sizes:
        speed(options.sizes, 200, options.rounds)
    large(options.large, 1000)
    accuracy(2000)


if __name__ == "__main__":
    main()
