"""Tests without permutations: a studentised statistic against a normal threshold, for many rows."""

from math import erfc, inf, prod, sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from jointadapt.two_sample.result import TwoSampleTest, null_levels
from jointadapt.two_sample.samples import Pooled, pair_distances, quadruple, shuffled


def cross_test(pooled: Pooled, level: float, tile: int, generator: torch.Generator) -> TwoSampleTest:
    """Return the studentised cross-(J)MMD test: one half's witness, averaged over the other half.

        U = mean_{s ∈ S₁} f₂(s) − mean_{t ∈ T₁} f₂(t),   f₂ = mean_{s ∈ S₂} k(s, ·) − mean_{t ∈ T₂} k(t, ·)
        U / √(var_{S₁} f₂ / |S₁| + var_{T₁} f₂ / |T₁|) → N(0, 1)

    Each sample is halved at random. A normal threshold without permutations costs power: about √2 in the statistic.
    Contributions are the witness of the other half, for the rows of both halves.
    Source: Shekhar, Kim, Ramdas, NeurIPS 2022. Complexity: N²/4 kernel values, memory O(N + tile²).
    """
    n, m = pooled.n, len(pooled) - pooled.n
    _check_rows("cross", n, m)
    source, target = shuffled(n, generator).to(pooled.device), shuffled(m, generator).to(pooled.device) + n
    first = torch.cat([source[: n // 2], target[: m // 2]])
    second = torch.cat([source[n // 2 :], target[m // 2 :]])
    weights_first, weights_second = _halves(n // 2, m // 2, pooled), _halves(n - n // 2, m - m // 2, pooled)
    (shift,) = pooled.shifts()
    witness = torch.zeros(len(pooled), dtype=torch.float64, device=pooled.device)
    for here, weight_here in zip(first.split(tile), weights_first.split(tile), strict=True):
        for there, weight_there in zip(second.split(tile), weights_second.split(tile), strict=True):
            (K,) = pooled.grams(here, there)
            K -= shift
            witness[here] += K @ weight_there
            witness[there] += K.T @ weight_here
    at_source, at_target = witness[first[: n // 2]], witness[first[n // 2 :]]
    statistic = float(at_source.mean() - at_target.mean())
    deviation = sqrt(at_source.var() / len(at_source) + at_target.var() / len(at_target))
    return _conclude("cross", pooled, level, statistic, deviation, torch.cat([witness[:n], -witness[n:]]))


def linear_test(pooled: Pooled, level: float, tile: int, generator: torch.Generator) -> TwoSampleTest:
    """Return the linear-time (J)MMD test: the mean of h over disjoint random quadruples, against its standard error.

        h = k(s, s') + k(t, t') − k(s, t') − k(s', t),   √p mean(h) / std(h) → N(0, 1),   p = ⌊min(n, m)/2⌋

    A row's contribution is half the h of its quadruple, and 0 for rows that no quadruple takes.
    Source: Gretton et al., JMLR 2012, Sec. 6. Complexity: O(N d) time.
    """
    _check_rows("linear", pooled.n, len(pooled) - pooled.n)
    first, second, distances = pair_distances(pooled, tile, generator)
    kernels = zip(pooled.kernels, distances, pooled.bandwidths, strict=True)
    h = quadruple(prod((kernel(D, bandwidth) for kernel, D, bandwidth in kernels), start=torch.ones(())).double())
    witness = torch.zeros(len(pooled), dtype=torch.float64, device=pooled.device)
    witness[first] = witness[second] = h / 2
    return _conclude("linear", pooled, level, float(h.mean()), sqrt(h.var() / len(h)), witness)


def _halves(n: int, m: int, pooled: Pooled) -> Tensor:
    """Return the weights of a half's witness: 1/n for its source rows, −1/m for its target rows."""
    weights = torch.full((n + m,), 1 / n, dtype=pooled.dtype, device=pooled.device)
    weights[n:] = -1 / m
    return weights


def _check_rows(method: str, n: int, m: int) -> None:
    if min(n, m) < 4:
        raise ValueError(
            f"the {method} test needs 4 or more rows of each sample; got {n} and {m}. "
            "Use the method 'permutation', which is exact at any size."
        )


def _conclude(
    method: str, pooled: Pooled, level: float, statistic: float, deviation: float, witness: Tensor
) -> TwoSampleTest:
    z = statistic / deviation if deviation > 0 else inf if statistic > 0 else -inf
    p_value = erfc(z / sqrt(2)) / 2
    return TwoSampleTest(
        statistic=statistic,
        p_value=p_value,
        rejected=p_value <= level,
        level=level,
        null_quantiles={q: deviation * NormalDist().inv_cdf(q) for q in null_levels(level)},
        source_contributions=witness[: pooled.n],
        target_contributions=witness[pooled.n :],
        sizes=(pooled.n, len(pooled) - pooled.n),
        layers=len(pooled.layers),
        method=method,
        permutations=0,
    )
