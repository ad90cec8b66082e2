"""Exact tests by permutation: all relabellings of the rows in one pass over the tiles of the joint Gram matrix.

With Z a matrix of 0/1 labels, one row a relabelling, the sums over the source blocks are (Z K ∘ Z) 1: all
relabellings in one matrix product. K is symmetric: only the tiles on and above its diagonal are computed, none is kept.
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
    """Sums over K off its diagonal, for one multiple of the bandwidths; all but `squares` are of K less a constant."""

    source: Float[Tensor, " B"]  # over pairs of source rows, for each relabelling
    rows: Float[Tensor, " N"]  # of each row
    rows_source: Float[Tensor, " N"]  # of each row, over the source columns as observed
    squares: Float[Tensor, ""]  # of squares


def permutation_test(
    pooled: Pooled, permutations: int, level: float, tile: int, generator: torch.Generator
) -> TwoSampleTest:
    """Return the permutation test of the unbiased (J)MMD²: p = (1 + k)/(1 + B), k permuted values ≥ the observed one.

    Source: Gretton et al., JMLR 2012, Eq. (3); the 1 + of an exact p: Phipson and Smyth, SAGMB 2010.
    Complexity: O(N² (d + B)).
    """
    labels = relabellings(len(pooled), pooled.n, permutations, generator).to(pooled.device)
    (sums,) = tiled_sums(pooled, labels, (1.0,), tile)
    return _conclude("permutation", pooled, level, unbiased(sums, labels, pooled.n, tile), _witness(sums, pooled.n))


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
    Source: Biggs, Schrab, Gretton, NeurIPS 2023, FUSE_N. Complexity: as `permutation_test`, for every multiple.
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
    return _conclude("aggregated", pooled, level, fused, witness)


def relabellings(N: int, n: int, permutations: int, generator: torch.Generator) -> Bool[Tensor, "B N"]:
    """Return who is source: row 0 as observed (the first n of N), then so many random choices of n rows.

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

    Complexity: N²/2 kernel values and N² B multiplications a multiple; memory O(tile (tile + B)) beyond the labels.
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

    Source: Gretton et al., JMLR 2012, Eq. (3).
    """
    m = labels.shape[1] - n
    parts = zip(labels.split(tile, 1), sums.rows.split(tile), strict=True)
    R = torch.stack([part.to(row.dtype) @ row for part, row in parts]).sum(0)
    A, S = sums.source, sums.rows.sum()
    return A / (n * (n - 1)) + (S - 2 * R + A) / (m * (m - 1)) - 2 * (R - A) / (n * m)


def _witness(sums: Sums, n: int) -> Float[Tensor, " N"]:
    """Return each row's mean kernel value with its own sample's other rows, less that with the other sample."""
    m = len(sums.rows) - n
    source, target = sums.rows_source, sums.rows - sums.rows_source
    return torch.cat([source[:n] / (n - 1) - target[:n] / m, target[n:] / (m - 1) - source[n:] / n])


def _conclude(method: str, pooled: Pooled, level: float, statistics: Tensor, witness: Tensor) -> TwoSampleTest:
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
