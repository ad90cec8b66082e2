"""The one way in: which test, of which samples, with which options.

H₀ says that both samples are drawn from one distribution. The MMD of a characteristic kernel is 0 exactly then, so a
large estimate of it rejects; what "large" is, permutations or a normal limit say.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any, Literal, get_args

import torch

from jointadapt.discrepancy.estimators import check_layers
from jointadapt.discrepancy.kernels import Kernel
from jointadapt.runtime.torch_defaults import torch_defaults
from jointadapt.two_sample.given import as_samples
from jointadapt.two_sample.normal import cross_test, fourier_test, linear_test
from jointadapt.two_sample.permutation import MULTIPLES, aggregated_test, permutation_test
from jointadapt.two_sample.result import TwoSampleTest
from jointadapt.two_sample.samples import Pooled, Standardize, pool, slices_in_one_unit, unread

TwoSampleMethod = Literal["permutation", "aggregated", "cross", "fourier", "linear"]

# Rows of each sample from which a normal threshold keeps its level (docs/results/two-sample-tests.md). "linear" makes a
# term of two of them. Rows in all up to which permutations take its place.
FEWEST = {"cross": 30, "fourier": 30, "linear": 60}
MOST_PERMUTED = 20_000


@torch_defaults()
def two_sample_test(
    source: Any,
    target: Any,
    *,
    kernels: Kernel | Sequence[Kernel] | None = None,
    permutations: int = 1000,
    level: float = 0.05,
    method: TwoSampleMethod = "permutation",
    multiples: Sequence[float] = MULTIPLES,
    features: int = 1024,
    tile: int = 512,
    standardize: Standardize = "auto",
    generator: torch.Generator | int | None = None,
) -> TwoSampleTest:
    """Return whether source and target come from one distribution: statistic, p-value, the examples that say most.

    Args:
        source, target: a matrix with one row an example (array, tensor, sparse matrix, or a frame of pandas, polars or
            pyarrow; columns of two frames are matched by name), or a list of layers, one matrix each, row i of every
            layer being example i. Layers are tested jointly: kernels are multiplied, rows move together.
        kernels: one `Kernel` for each layer. None gives `GaussianKernel()` for each (five scales around the mean
            squared distance), and γ = 1.68 for the last of several layers where its rows are probabilities
            (`jan_kernels`). A rule finds its bandwidth in the pooled sample, so permutation methods stay exact;
            "median" reads at most 4,096 rows, drawn without a look at the labels.
        permutations: B, for the methods "permutation" and "aggregated".
        level: the significance level, the probability of rejecting where H₀ holds; `rejected` is p ≤ level.
        method: "permutation": unbiased (J)MMD², p = (1 + k)/(1 + B), exact at any size (Gretton et al., JMLR 2012).
            "aggregated": MMD-FUSE over `multiples` of the bandwidth, exact (Biggs, Schrab, Gretton, NeurIPS 2023).
            "cross": studentised cross MMD, normal threshold, from about 100 rows (Shekhar, Kim, Ramdas, NeurIPS 2022).
            "fourier": "cross" in linear time and bounded memory, by random features; a layer may then also be a file
            whose slices are tensors (`MappedRows`), or a memory-mapped array.
            "linear": linear-time MMD, normal threshold (Gretton et al., JMLR 2012, Sec. 6); very many examples.
            Normal thresholds keep their level from 30 rows of each sample on ("linear": 60): below, permutations take
            their place, and the outcome says so.
        multiples: for "aggregated", the factors by which every layer's bandwidth is multiplied.
        features: for "fourier", how many.
        tile: rows and columns of K held at a time.
        standardize: "auto": where columns have several units (a large one over 12 times the size of a small one), they
            are brought into one, their standard deviations; outliers are held 20 typical deviations from the median at
            most (`describe_columns`), so that a fill value of 10⁶ hides nothing. "pooled": always; "no": rows are left
            as they are. The pooled sample decides, without a look at the labels, so the level holds as it did. "auto"
            leaves a layer as it is whose kernel does not find its bandwidth by a rule.
        generator: of all random draws, a seed, or None for a fixed one, so that a repeated call repeats its answer.
            The global generators are neither read nor moved.

    Sign: the (J)MMD² estimates are unbiased, so about half of them are negative when the distributions agree; tests are
    one-sided, large values reject. With equal sizes the biased estimate would give the same p-value.
    Complexity, for N rows in all: "permutation" O(N² (d + B)) time, O(N (d + B) + tile B) memory (one byte for each of
    the N B labels); "aggregated" the same for every multiple; "cross" O(N² d) time; "fourier" O(N D d) time, O(D + N)
    memory beyond the layers; "linear" O(N d) time. Half precision is computed in float32, float64 in float64 (several
    times slower on a CPU). Raises a ValueError for options that no test can be made with and for samples that are
    empty, not finite or do not match; a TypeError for what is no matrix. Columns that seem to hold a fill value, as
    −999, are told by a warning.

    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(60, 2, generator=generator)
    >>> two_sample_test(x[:30], x[30:]).rejected
    False
    >>> two_sample_test(x[:30], x[30:] + 2).p_value < 0.002
    True
    """
    check_options(method, level, permutations, standardize)
    if not isinstance(generator, torch.Generator):
        generator = torch.Generator().manual_seed(generator or 0)
    source, target = as_samples(source, target)
    if method in FEWEST and 0 < min(sizes := [_size(sample) for sample in (source, target)]) < FEWEST[method]:
        _check_permutable(method, sizes)
        few = [[rows[:] for rows in _listed(sample)] for sample in (source, target)]
        enough = max(permutations, _least_permutations(level))
        options = {"kernels": kernels, "permutations": enough, "level": level, "tile": tile, "standardize": standardize}
        found = two_sample_test(*few, **options, generator=generator)
        return replace(found, asked=method, rows_needed=FEWEST[method])
    if method == "fourier":
        layers = unread("source", source), unread("target", target)
        kernels = [kernels] if isinstance(kernels, Kernel) else kernels
        with torch.no_grad():
            completed = check_layers(*layers, kernels)
            sources, targets, fills = slices_in_one_unit(*layers, completed, standardize)
            found = fourier_test(sources, targets, completed, level, features, generator)
    else:
        rows = pool(source, target, kernels, generator, standardize=standardize)
        fills = rows.fill_values
        with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
            found = _test_pooled(rows, method, permutations, level, tile, generator, multiples)
    found = replace(found, fill_values=fills)
    if fills:
        warnings.warn(found.fill_note(), UserWarning, stacklevel=2)
    return found


def _test_pooled(
    rows: Pooled,
    method: TwoSampleMethod,
    permutations: int,
    level: float,
    tile: int,
    generator: torch.Generator,
    multiples: Sequence[float],
) -> TwoSampleTest:
    """Return the outcome of a test that reads tiles of the Gram matrix of a pooled sample."""
    match method:
        case "permutation":
            return permutation_test(rows, permutations, level, tile, generator)
        case "aggregated":
            return aggregated_test(rows, permutations, level, tile, generator, multiples)
        case "cross":
            return cross_test(rows, level, tile, generator)
        case _:
            return linear_test(rows, level, tile, generator)


def _listed(sample: Any) -> list[Any]:
    """Return a sample's layers as a list."""
    return list(sample) if isinstance(sample, list | tuple) else [sample]


def _size(sample: Any) -> int:
    """Return how many rows a sample has; 0 for what is none, which is told later."""
    layers = _listed(sample)
    shape = getattr(layers[0], "shape", None) if layers else None
    return shape[0] if shape else 0


def _check_permutable(method: str, sizes: Sequence[int]) -> None:
    """Raise a ValueError for too few rows of one sample beside too many of the other to permute them."""
    if sum(sizes) > MOST_PERMUTED:
        raise ValueError(
            f"the {method} test keeps its level from {FEWEST[method]} rows of each sample on; got {sizes[0]:,} and "
            f"{sizes[1]:,}. Give it more of the one, or some thousand of the other: permutations then take its place."
        )


def _least_permutations(level: float) -> int:
    """Return the fewest permutations that can reject at a level, as p is at least 1/(1 + B)."""
    return ceil(1 / level) - 1


def check_options(method: str, level: float, permutations: int, standardize: str = "auto") -> None:
    """Raise a ValueError for options that no test can be made with: the check that `two_sample_test` begins with.

    p is at least 1/(1 + B), so a level below that could never reject.

    >>> check_options("permutation", 0.01, 50)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: 50 permutations cannot give p ≤ 0.01, as p is at least 1/(1 + permutations). Use 99 or more.
    """
    if method not in get_args(TwoSampleMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(TwoSampleMethod))}; got {method!r}.")
    if standardize not in get_args(Standardize):
        raise ValueError(f"standardize must be one of {', '.join(get_args(Standardize))}; got {standardize!r}.")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}.")
    least = _least_permutations(level)
    if method in ("permutation", "aggregated") and permutations < least:
        raise ValueError(
            f"{permutations} permutations cannot give p ≤ {level}, as p is at least 1/(1 + permutations). "
            f"Use {least} or more."
        )
