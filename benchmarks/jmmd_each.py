"""JMMD², forward and backward, of K pairs of batches at once beside one pair after the other.

    python benchmarks/jmmd_each.py [--pairs 1 3 8 32] [--rounds 7]

36 + 36 rows, layers of 256 and 31 columns, float32, one thread; CPU time, in turns in one process, medians over rounds.
"""

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from jointadapt.discrepancy import jan_kernels, jmmd_unbiased
from jointadapt.discrepancy.each import jmmd_unbiased_each

ROWS, WIDTHS, TIMES = 36, (256, 31), 100


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 3, 8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kernels = jan_kernels(len(WIDTHS))
    print("| K | one by one: ms | at once: ms | ratio | µs a pair |\n|---:|---:|---:|---:|---:|")
    for pairs in arguments.pairs:
        layers = [torch.randn(pairs, 2 * ROWS, width).softmax(-1).requires_grad_() for width in WIDTHS]

        def together(layers: list[Tensor] = layers) -> Tensor:
            source, target = zip(*(x.split(ROWS, 1) for x in layers), strict=True)
            return jmmd_unbiased_each(source, target, kernels).sum()

        def alone(layers: list[Tensor] = layers, pairs: int = pairs) -> Tensor:
            halves = [[part.unbind() for part in x.split(ROWS, 1)] for x in layers]
            own = [jmmd_unbiased(*([h[side][k] for h in halves] for side in (0, 1)), kernels) for k in range(pairs)]
            return torch.stack(own).sum()

        times = [(_taken(alone, layers), _taken(together, layers)) for _ in range(arguments.rounds + 1)][1:]
        before, after = (1000 * median(each) for each in zip(*times, strict=True))
        ratio = median(b / a for a, b in times)
        print(f"| {pairs} | {before:.2f} | {after:.2f} | {ratio:.2f} | {1000 * after / pairs:.0f} |")
    print(f"\n{platform.machine()}, one thread, CPU time, torch {torch.__version__}")


def _taken(value: Callable[[], Tensor], layers: list[Tensor]) -> float:
    started = time.process_time()
    for _ in range(TIMES):
        for layer in layers:
            layer.grad = None
        value().backward()
    return (time.process_time() - started) / TIMES


if __name__ == "__main__":
    main()
