"""Exact tests by permutation: all relabellings of the rows in one pass over the tiles of the joint Gram matrix.

With Z a matrix of 0/1 labels, one row a relabelling, the sums over the source blocks are (Z K ∘ Z) 1: all
relabellings in one matrix product. K is symmetric: only the tiles on and above its diagonal are computed, none is kept.

Under H₀ the labels are exchangeable: the observed statistic is one draw among the relabelled ones, so its rank gives a
p-value that is valid at every sample size, whatever the kernel, as long as the kernel does not know the labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jointadapt.two_sample.result import TwoSampleTest, null_levels
from jointadapt.two_sample.samples import Pooled, shuffled

MULTIPLES = (1 / 16, 1 / 4, 1.0, 4.0)

# Statistics nearer than TIE, in standard deviations of the permuted ones, count as equal: a relabelling that repeats
# the observed labels must tie with them in spite of rounding. NOISE is the floor where all permuted values are one.
TIE = 1e-5
NOISE = 1e-12


@dataclass(frozen=True)
class Sums:
    """Sums over K off its diagonal, for one multiple of the bandwidths; all but `squares` are of K less a constant.

    Args:
        source: over pairs of source rows, for each relabelling.
        rows: of each row.
        rows_source: of each row, over the source columns as observed.
        squares: of squares.

    >>> nothing = torch.zeros(4)
    >>> Sums(torch.zeros(1), nothing, nothing, torch.tensor(0.0)).source.shape  # the observed labels alone
    torch.Size([1])
    """

    source: Float[Tensor, " B"]
    rows: Float[Tensor, " N"]
    rows_source: Float[Tensor, " N"]
    squares: Float[Tensor, ""]


def permutation_test(
    pooled: Pooled, permutations: int, level: float, tile: int, generator: torch.Generator
) -> TwoSampleTest:
    """Return the permutation test of the unbiased (J)MMD²: p = (1 + k)/(1 + B), k permuted values ≥ the observed one.

    Args:
        pooled: the checked sample.
        permutations: B. p is a multiple of 1/(1 + B), so B ≥ 1/level − 1.
        level: the significance level.
        tile: rows and columns of K held at a time.
        generator: draws the relabellings.

    Exact at every size: P(p ≤ level) ≤ level under H₀. Contributions are witness values (`TwoSampleTest`).
    Complexity: O(N² (d + B)) time, N B bytes of labels. For many examples `cross_test` costs less.
    Source: Gretton et al., JMLR 2012, Eq. (3); the 1 + of an exact p: Phipson and Smyth, SAGMB 2010.

    >>> from jointadapt.two_sample.samples import pool
    >>> x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    >>> rows = pool(x[:10], x[10:] + 3, None, torch.Generator())
    >>> permutation_test(rows, 99, 0.05, 512, torch.Generator().manual_seed(0)).p_value
    0.01
    """
    labels = relabellings(len(pooled), pooled.n, permutations, generator).to(pooled.device)
    (sums,) = tiled_sums(pooled, labels, (1.0,), tile)
    return _permuted("permutation", pooled, level, unbiased(sums, labels, pooled.n, tile), _witness(sums, pooled.n))


def aggregated_test(
    pooled: Pooled,
    permutations: int,
    level: float,
    tile: int,
    generator: torch.Generator,
    multiples: Sequence[float] = MULTIPLES,
) -> TwoSampleTest:
    """Return MMD-FUSE, the permutation test of a soft maximum over bandwidths; no split, no correction.

        1/λ log mean_u exp(λ MMD²_u / √(mean off-diagonal K_u²)),   λ = √(n (n − 1)), n the smaller size

    Kernel u multiplies every layer's bandwidth by the u-th multiple. The norm knows no labels, so the test is exact.
    Contributions are the kernels' normalised witness values in their soft-maximum proportions.

    Args:
        pooled, permutations, level, tile, generator: as `permutation_test`.
        multiples: one or more positive numbers, else a ValueError.

    Take it where the scale of the difference is unknown; where the default bandwidths fit, `permutation_test` has a
    little more power. Complexity: as that test, for every multiple, from one computation of the distances.
    Source: Biggs, Schrab, Gretton, NeurIPS 2023, FUSE_N.

    >>> from jointadapt.two_sample.samples import pool
    >>> x = torch.randn(40, 1, generator=torch.Generator().manual_seed(0))
    >>> rows = pool(x[:20], x[20:] + 3, None, torch.Generator())
    >>> aggregated_test(rows, 99, 0.05, 512, torch.Generator().manual_seed(0)).statistic_name
    'MMD-FUSE'
    """
    if not multiples or not all(multiple > 0 for multiple in multiples):
        raise ValueError(f"multiples must be one or more positive numbers; got {tuple(multiples)}.")
    n, N = pooled.n, len(pooled)
    smaller = min(n, N - n)
    labels = relabellings(N, n, permutations, generator).to(pooled.device)
    sums = tiled_sums(pooled, labels, multiples, tile)
    norms = torch.stack([s.squares / (N * (N - 1)) for s in sums]).sqrt().clamp_min(NOISE)[:, None]
    power = (smaller * (smaller - 1)) ** 0.5
    scaled = power * torch.stack([unbiased(s, labels, n, tile) for s in sums]) / norms
    fused = (scaled.logsumexp(0) - log(len(multiples))) / power
    witness = (scaled[:, :1].softmax(0) * torch.stack([_witness(s, n) for s in sums]) / norms).sum(0)
    return _permuted("aggregated", pooled, level, fused, witness)


def relabellings(N: int, n: int, permutations: int, generator: torch.Generator) -> Bool[Tensor, "B N"]:
    """Return who is source: row 0 as observed (the first n of N), then so many random choices of n of the N.

    Drawn with replacement among all choices, the observed one included. One byte for each label.

    >>> relabellings(4, 2, 3, torch.Generator().manual_seed(0)).sum(1)
    tensor([2, 2, 2, 2])
    """
    labels = torch.zeros(1 + permutations, N, dtype=torch.bool, device=generator.device)
    labels[0, :n] = True
    for row in labels[1:]:
        row[shuffled(N, generator)[:n]] = True
    return labels


def tiled_sums(pooled: Pooled, labels: Bool[Tensor, "B N"], multiples: Sequence[float], tile: int) -> list[Sums]:
    """Return the sums of K that every unbiased estimate and witness is made of, for each multiple of the bandwidths.

    A tile above the diagonal stands for its mirror image too: its rows' sums are added to both, its products count
    twice. Sums are float64, products in the precision of the sample less `Pooled.shifts`.
    Complexity: N²/2 kernel values and N² B multiplications a multiple; memory O(tile (tile + B)) beyond the labels.

    >>> from jointadapt.discrepancy import GaussianKernel
    >>> from jointadapt.two_sample.samples import pool
    >>> rows = pool(torch.zeros(2, 1), torch.zeros(2, 1), GaussianKernel(1.0, (1.0,)), torch.Generator())
    >>> (sums,) = tiled_sums(rows, relabellings(4, 2, 0, torch.Generator()), (1.0,), 512)
    >>> sums.squares  # twelve values of 1 off the diagonal
    tensor(12., dtype=torch.float64)
    """
    B, N = labels.shape
    exact = {"dtype": torch.float64, "device": pooled.device}
    source, rows = torch.zeros(len(multiples), B, **exact), torch.zeros(len(multiples), N, 2, **exact)
    squares = torch.zeros(len(multiples), **exact)
    shifts = pooled.shifts(multiples)
    probes = torch.stack([torch.ones_like(labels[0]), labels[0]], 1).to(pooled.dtype)
    tiles = [slice(start, min(start + tile, N)) for start in range(0, N, tile)]
    for index, here in enumerate(tiles):
        Z = labels[:, here].to(pooled.dtype)
        products = [torch.zeros_like(Z) for _ in multiples]
        for there in tiles[index:]:
            same = there == here
            Z_there = Z if same else labels[:, there].to(pooled.dtype)
            for u, K in enumerate(pooled.grams(here, None if same else there, multiples)):
                if same:
                    K.fill_diagonal_(0)
                squares[u] += K.square().sum(dtype=torch.float64) * (1 if same else 2)
                K -= shifts[u]
                if same:
                    K.fill_diagonal_(0)
                else:
                    rows[u, there] += K.T @ probes[here]
                rows[u, here] += K @ probes[there]
                products[u].addmm_(Z_there, K.T, alpha=1 if same else 2)
        for u, product in enumerate(products):
            source[u] += product.mul_(Z).sum(1, dtype=torch.float64)
    return [Sums(source[u], rows[u, :, 0], rows[u, :, 1], squares[u]) for u in range(len(multiples))]


def unbiased(sums: Sums, labels: Bool[Tensor, "B N"], n: int, tile: int) -> Float[Tensor, " B"]:
    """Return the unbiased MMD² for each relabelling, from the sums over its source block and over the rows.

        A/(n(n−1)) + (S − 2R + A)/(m(m−1)) − 2(R − A)/(nm),   A source block, R source rows, S all, off the diagonal

    S − 2R + A is the target block by inclusion and exclusion. The weights of K's off-diagonal sum to 0, so that a
    constant taken off K changes nothing. `tile` columns of the labels are made floating-point numbers at a time.
    Source: Gretton et al., JMLR 2012, Eq. (3).

    >>> labels = torch.tensor([[True, True, False, False]])
    >>> one = Sums(*(torch.full(size, value) for size, value in (((1,), 2.0), ((4,), 3.0), ((4,), 0.0), ((), 0.0))))
    >>> unbiased(one, labels, 2, 512)  # of a K of ones: 1 + 1 − 2
    tensor([0.])
    """
    m = labels.shape[1] - n
    parts = zip(labels.split(tile, 1), sums.rows.split(tile), strict=True)
    R = torch.stack([part.to(row.dtype) @ row for part, row in parts]).sum(0)
    A, S = sums.source, sums.rows.sum()
    return A / (n * (n - 1)) + (S - 2 * R + A) / (m * (m - 1)) - 2 * (R - A) / (n * m)


def _witness(sums: Sums, n: int) -> Float[Tensor, " N"]:
    """Return each row's mean kernel value with its own sample's other rows, less that with the other sample.

    The empirical witness function, signed so that large values are typical of the own sample; the means over source
    and target add up to the unbiased MMD².
    """
    m = len(sums.rows) - n
    source, target = sums.rows_source, sums.rows - sums.rows_source
    return torch.cat([source[:n] / (n - 1) - target[:n] / m, target[n:] / (m - 1) - source[n:] / n])


def _permuted(method: str, pooled: Pooled, level: float, statistics: Tensor, witness: Tensor) -> TwoSampleTest:
    """Return the outcome; statistics are the observed one, then the permuted ones, and ties count against rejecting."""
    observed, null = statistics[0], statistics[1:]
    slack = TIE * null.std(correction=0) + NOISE
    p_value = (1 + int((null >= observed - slack).sum())) / (1 + len(null))
    levels = null_levels(level)
    quantiles = torch.quantile(null, torch.tensor(levels, dtype=null.dtype, device=null.device)).tolist()
    return TwoSampleTest(
        statistic=float(observed),
        p_value=p_value,
        rejected=p_value <= level,
        level=level,
        null_quantiles=dict(zip(levels, quantiles, strict=True)),
        source_contributions=witness[: pooled.n],
        target_contributions=witness[pooled.n :],
        sizes=(pooled.n, len(pooled) - pooled.n),
        layers=len(pooled.layers),
        method=method,
        permutations=len(null),
        null=null,
    )
