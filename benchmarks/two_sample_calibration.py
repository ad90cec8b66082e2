"""Print, as Markdown, how often each two-sample test rejects: when it should not (level), and when it should (power).

    python benchmarks/two_sample_calibration.py

alibi-detect and hyppo take part in the power table where they can be imported.
"""

import argparse
import warnings

import torch
from scipy.stats import binom
from two_sample import header, peers

from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.two_sample import optimal_weights, two_sample_test
from jointadapt.two_sample.normal import cross_test, fourier_test, linear_test
from jointadapt.two_sample.samples import pool
from jointadapt.two_sample.test import FEWEST

METHODS = ("permutation", "aggregated", "cross", "linear")
PERMUTATIONS = 199
LEVEL = 0.05
PEER_ROWS = 100


def gaussian(n, d, generator):
    return torch.randn(n, d, generator=generator)


def heavy(n, d, generator):
    """Student's t with 3 degrees of freedom."""
    chi_square = torch.randn(n, d, 3, generator=generator).square().mean(-1)
    return torch.randn(n, d, generator=generator) / chi_square.sqrt()


def two_layers(n, d, generator):
    """Features and the softmax of a linear map of them: dependent layers."""
    features = torch.randn(n, d, generator=generator)
    return [features, (2 * features[:, :3]).softmax(1)]


LEVEL_CASES = [
    *((name, draw, d) for name, draw in (("normal", gaussian),) for d in (1, 10, 100)),
    ("Student t₃", heavy, 10),
    ("two layers", two_layers, 10),
]
SIZES = ((20, 20), (50, 50), (200, 200), (20, 80), (50, 200))


def level(draws):
    low, high = (int(edge) for edge in binom.interval(0.95, draws, LEVEL))
    print(f"### Level: rejections at 5 %, both samples from one distribution, {draws:,} draws\n")
    edges = f"{100 * low / draws:.1f} … {100 * high / draws:.1f} %"
    print(f"The 95 % binomial interval is {edges}; * marks what is outside.\n")
    print(f"| distribution | columns | rows | {' | '.join(METHODS)} |\n|---|---|---|{'---|' * len(METHODS)}")
    outside = dict.fromkeys(METHODS, 0)
    for name, draw, d in LEVEL_CASES:
        for n, m in SIZES:
            generator = torch.Generator().manual_seed(100 * n + m + 10_000 * d)
            counts = dict.fromkeys(METHODS, 0)
            for _ in range(draws):
                x, y = draw(n, d, generator), draw(m, d, generator)
                for method in METHODS:
                    result = two_sample_test(x, y, method=method, permutations=PERMUTATIONS, generator=generator)
                    counts[method] += result.rejected
            cells = []
            for method, count in counts.items():
                bad = not low <= count <= high
                outside[method] += bad
                cells.append(f"{100 * count / draws:.1f}{'*' if bad else ''}")
            print(f"| {name} | {d} | {n} + {m} | {' | '.join(cells)} |", flush=True)
    cells = len(LEVEL_CASES) * len(SIZES)
    found = ", ".join(f"{method} {count}" for method, count in outside.items())
    print(f"\nOutside, of {cells} cells each (about {cells * 0.05:.0f} by chance): {found}.\n")


FEW = (4, 10, 20, 30, 60)
THRESHOLDS = {"cross": cross_test, "linear": linear_test, "fourier": None}


def thresholds(draws):
    """Print how often the tests with a normal threshold reject on few rows: by the threshold, and as they are run."""
    low, high = (int(edge) for edge in binom.interval(0.95, draws, LEVEL))
    print(f"### Few rows: rejections at 5 %, standard normal rows, {draws:,} draws\n")
    print(
        f"The 95 % binomial interval is {100 * low / draws:.1f} … {100 * high / draws:.1f} %. The threshold alone, then"
    )
    print(f"`two_sample_test`, which falls back to {PERMUTATIONS} permutations below {FEWEST}.\n")
    columns = [f"{name}{run}" for name in THRESHOLDS for run in (", threshold", ", as run")]
    print(f"| columns | rows | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for d in (1, 10):
        for n in FEW:
            generator = torch.Generator().manual_seed(100 * n + 10_000 * d)
            counts = dict.fromkeys(columns, 0)
            for _ in range(draws):
                x, y = gaussian(n, d, generator), gaussian(n, d, generator)
                for name, alone in THRESHOLDS.items():
                    if alone is None:
                        found = fourier_test([x], [y], [GaussianKernel()], LEVEL, 256, generator)
                    else:
                        found = alone(pool(x, y, None, generator), LEVEL, 512, generator)
                    options = {"permutations": PERMUTATIONS, "features": 256, "generator": generator}
                    counts[f"{name}, threshold"] += found.rejected
                    counts[f"{name}, as run"] += two_sample_test(x, y, method=name, **options).rejected
            cells = (f"{100 * count / draws:.1f}{'' if low <= count <= high else '*'}" for count in counts.values())
            print(f"| {d} | {n} + {n} | {' | '.join(cells)} |", flush=True)
    print()


def shift(delta):
    return lambda n, d, g: (gaussian(n, d, g), gaussian(n, d, g) + delta)


def scale(factor):
    return lambda n, d, g: (gaussian(n, d, g), factor * gaussian(n, d, g))


def comb(n, d, g):
    return gaussian(n, d, g), gaussian(n, d, g).round()


def bimodal(n, d, g):
    """The first column has two peaks in the target, with the mean and variance of the source's one."""
    x, y = gaussian(n, d, g), gaussian(n, d, g)
    y[:, 0] = 0.5 * y[:, 0] + 0.75**0.5 * gaussian(n, 1, g)[:, 0].sign()
    return x, y


def swapped(n, d, g):
    """Equal marginals, different joints: two clusters, whose labels are swapped in the target."""

    def sample(swap):
        labels = torch.randint(2, (n,), generator=g)
        features = gaussian(n, d, g) + 2.0 * labels[:, None]
        flip = labels ^ swap
        flip = torch.where(torch.rand(n, generator=g) < 0.3, 1 - flip, flip)
        return [features, torch.nn.functional.one_hot(flip, 2).float()]

    return sample(0), sample(1)


POWER_CASES = {
    "mean + 0.5 in each of 2 columns": (shift(0.5), 50, 2),
    "mean + 0.15 in each of 20 columns": (shift(0.15), 50, 20),
    "scale 1.5, 2 columns": (scale(1.5), 50, 2),
    "scale 1.15, 20 columns": (scale(1.15), 50, 20),
    "rounded to integers, 1 column": (comb, 100, 1),
    "two peaks of equal variance, 2 columns": (bimodal, 100, 2),
    "labels swapped, 30 % noise, 2 layers": (swapped, 50, 2),
    "mean + 0.15 in each of 5 columns": (shift(0.15), 500, 5),
}


def split_weights(x, y, generator):
    """Learn the kernel's weights on one half of the rows and test the other half with them."""
    n, m = len(x) // 2, len(y) // 2
    kernel = GaussianKernel(scales=(1 / 16, 1 / 4, 1.0, 4.0))
    weights = optimal_weights(x[:n], y[:m], kernel, generator=generator)
    learned = GaussianKernel(kernel.bandwidth, kernel.scales, weights)
    return two_sample_test(x[n:], y[m:], kernels=learned, permutations=PERMUTATIONS, generator=generator).p_value


def power(draws):
    others = peers()
    columns = [*METHODS, "weights on half", *others]
    print(f"### Power: rejections at 5 %, in %, {draws} draws, {PERMUTATIONS} permutations\n")
    print(
        "Peers see several layers as one matrix, joined; they are left out above 100 rows, where they take minutes.\n"
    )
    print(f"| difference | rows | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for name, (draw, n, d) in POWER_CASES.items():
        generator = torch.Generator().manual_seed(n + 1000 * d)
        counts = dict.fromkeys(columns, 0)
        for _ in range(draws):
            x, y = draw(n, d, generator)
            joined = (torch.cat(x, 1), torch.cat(y, 1)) if isinstance(x, list) else (x, y)
            for column in columns:
                if column in others and n > PEER_ROWS:
                    continue
                if column in METHODS:
                    p = two_sample_test(x, y, method=column, permutations=PERMUTATIONS, generator=generator).p_value
                elif column in others:
                    p = others[column](*joined, PERMUTATIONS)
                else:
                    p = split_weights(*joined, generator)
                counts[column] += p <= LEVEL
        cells = " | ".join(
            "–" if column in others and n > PEER_ROWS else f"{100 * counts[column] / draws:.0f}" for column in columns
        )
        print(f"| {name} | {n} + {n} | {cells} |", flush=True)
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--power-draws", type=int, default=200)
    parser.add_argument("--few-draws", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    header()
    if options.draws:
        level(options.draws)
    if options.few_draws:
        thresholds(options.few_draws)
    if options.power_draws:
        power(options.power_draws)


if __name__ == "__main__":
    main()
