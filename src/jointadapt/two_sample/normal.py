"""Tests without permutations: a studentised statistic against a normal threshold, for many examples.

Each has a mean of independent terms, given one half of the data or the pairing, so that it is normal in the limit and
its variance can be estimated: the threshold costs nothing. The level holds in the limit, not exactly.
"""

from collections.abc import Sequence
from math import erfc, inf, prod, sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from jointadapt.discrepancy import Rows
from jointadapt.discrepancy.fourier import FOURIER_TILE, Drawn, draw, joint_features
from jointadapt.discrepancy.kernels import Completed
from jointadapt.two_sample.result import TwoSampleTest, null_levels
from jointadapt.two_sample.samples import Pooled, pair_distances, quadruple, shuffled


def cross_test(pooled: Pooled, level: float, tile: int, generator: torch.Generator) -> TwoSampleTest:
    """Return the studentised cross-(J)MMD test: one half's witness, averaged over the other half.

        U = mean_{s ∈ S₁} f₂(s) − mean_{t ∈ T₁} f₂(t),   f₂ = mean_{s ∈ S₂} k(s, ·) − mean_{t ∈ T₂} k(t, ·)
        U / √(var_{S₁} f₂ / |S₁| + var_{T₁} f₂ / |T₁|) → N(0, 1)

    Each sample is halved at random. A normal threshold without permutations costs power: about √2 in the statistic.
    Contributions are the witness of the other half, for the examples of both halves.

    Args:
        pooled: the checked sample, 4 or more rows of each, else a ValueError; the level holds from about 100 on.
        level: the significance level.
        tile: rows and columns of K held at a time.
        generator: draws the halves.

    Complexity: N²/4 kernel values, memory O(N + tile²). `fourier_test` is the same in time linear in N.
    Source: Shekhar, Kim, Ramdas, NeurIPS 2022.

    >>> from jointadapt.two_sample.samples import pool
    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> rows = pool(x[:100], x[100:] + 1, None, torch.Generator())
    >>> cross_test(rows, 0.05, 512, torch.Generator().manual_seed(0)).rejected
    True
    """
    n, m = pooled.n, len(pooled) - pooled.n
    _check_enough("cross", n, m)
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
    contributions = (witness[:n], -witness[n:])
    return _normal("cross", level, statistic, deviation, contributions, len(pooled.layers))


def linear_test(pooled: Pooled, level: float, tile: int, generator: torch.Generator) -> TwoSampleTest:
    """Return the linear-time (J)MMD test: the mean of h over disjoint random quadruples, against its standard error.

        h = k(s, s') + k(t, t') − k(s, t') − k(s', t),   √p mean(h) / std(h) → N(0, 1),   p = ⌊min(n, m)/2⌋

    An example's contribution is half the h of its quadruple, and 0 for those that no quadruple takes.

    Args:
        pooled, level, generator: as `cross_test`; the generator pairs the rows.
        tile: quadruples whose distances are formed at a time.

    The quickest test and, for each example, the least powerful: the statistic's deviation falls as 1/√p, where that of
    the quadratic one falls as 1/n under H₀. Complexity: O(N d) time, O(N) memory beyond the layers.
    Source: Gretton et al., JMLR 2012, Sec. 6.

    >>> from jointadapt.two_sample.samples import pool
    >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    >>> rows = pool(x[:200], x[200:] + 2, None, torch.Generator())
    >>> linear_test(rows, 0.05, 512, torch.Generator().manual_seed(0)).null_name
    'normal threshold'
    """
    _check_enough("linear", pooled.n, len(pooled) - pooled.n)
    first, second, distances = pair_distances(pooled, tile, generator)
    kernels = zip(pooled.kernels, distances, pooled.bandwidths, strict=True)
    h = quadruple(prod((kernel(D, bandwidth) for kernel, D, bandwidth in kernels), start=torch.ones(())).double())
    witness = torch.zeros(len(pooled), dtype=torch.float64, device=pooled.device)
    witness[first] = witness[second] = h / 2
    contributions = (witness[: pooled.n], witness[pooled.n :])
    return _normal("linear", level, float(h.mean()), sqrt(h.var() / len(h)), contributions, len(pooled.layers))


def fourier_test(
    source: Sequence[Rows],
    target: Sequence[Rows],
    kernels: Sequence[Completed],
    level: float,
    features: int,
    generator: torch.Generator,
) -> TwoSampleTest:
    """Return `cross_test` with the kernel of D random Fourier features: three passes over the rows, which may be files.

    The halves are every other row, so that a file is read from its start to its end. Contributions as `cross_test`.
    Random features are a kernel of their own, so the level is that of `cross_test` whatever their number; few of them
    cost power only. Rows must lie in random order, or at least not alternate.

    Args:
        source, target, kernels: checked and completed (`check_layers`).
        level: the significance level.
        features: D, an even number.
        generator: draws the frequencies.

    Raises a ValueError for fewer than 4 rows of a sample, and where sums show NaN or infinity.
    Complexity: O(N D Σd) time, memory O(tile · D + N).

    >>> from jointadapt.discrepancy import GaussianKernel
    >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    >>> draw_from = torch.Generator().manual_seed(0)
    >>> fourier_test([x[:200]], [x[200:] + 1], [GaussianKernel()], 0.05, 256, draw_from).rejected
    True
    """
    sizes = (source[0].shape[0], target[0].shape[0])
    _check_enough("fourier", *sizes)
    drawn = draw(source, target, kernels, features, generator)
    sums = [_half_sums(sample, drawn) for sample in (source, target)]
    for name, halves in zip(("source", "target"), sums, strict=True):
        if not all(torch.isfinite(half).all() for half in halves):
            raise ValueError(f"{name} has NaN or infinity; expected finite numbers. Drop or impute them.")
    counts = [(size - size // 2, size // 2) for size in sizes]
    scale = 2 * prod(kernel.at_zero for kernel in kernels) / features
    (n, S), (m, T) = zip(counts, sums, strict=True)
    weights = [scale * (S[half] / n[half] - T[half] / m[half]) for half in (1, 0)]  # of the other half
    witness = [torch.empty(size, dtype=torch.float64) for size in sizes]
    for sample, values in zip((source, target), witness, strict=True):
        for start in range(0, len(values), FOURIER_TILE):
            seen = joint_features([rows[start : start + FOURIER_TILE] for rows in sample], drawn)
            for half, weight in enumerate(weights):
                values[start + half : start + FOURIER_TILE : 2] = (seen[half::2] @ weight.to(seen)).double().cpu()
    at_source, at_target = (values[::2] for values in witness)
    statistic = float(at_source.mean() - at_target.mean())
    deviation = sqrt(at_source.var() / len(at_source) + at_target.var() / len(at_target))
    return _normal("fourier", level, statistic, deviation, (witness[0], -witness[1]), len(source))


def _half_sums(sample: Sequence[Rows], drawn: Sequence[Drawn]) -> Tensor:
    """Return the sums of the features of every other row (2, D), from the first and from the second, in float64.

    They are added up in place: small tensors kept between large ones that are freed would leave memory in pieces.
    """
    sums = torch.zeros(2, 2 * drawn[0].frequencies.shape[1], dtype=torch.float64, device=drawn[0].origin.device)
    for start in range(0, sample[0].shape[0], FOURIER_TILE):
        seen = joint_features([rows[start : start + FOURIER_TILE] for rows in sample], drawn)
        for half, total in enumerate(sums):
            total += seen[half::2].sum(0)
    return sums


def _halves(n: int, m: int, pooled: Pooled) -> Tensor:
    """Return the weights of a half's witness: 1/n for its source rows, −1/m for its target rows.

    They sum to 0, so that a constant taken off K changes no witness.
    """
    weights = torch.full((n + m,), 1 / n, dtype=pooled.dtype, device=pooled.device)
    weights[n:] = -1 / m
    return weights


def _check_enough(method: str, n: int, m: int) -> None:
    """Raise a ValueError where a half would have no two rows to estimate a variance from."""
    if min(n, m) < 4:
        raise ValueError(
            f"the {method} test needs 4 or more rows of each sample; got {n} and {m}. "
            "Use the method 'permutation', which is exact at any size."
        )


def _normal(
    method: str,
    level: float,
    statistic: float,
    deviation: float,
    contributions: tuple[Tensor, Tensor],
    layers: int,
) -> TwoSampleTest:
    """Return the outcome of z = statistic/deviation against N(0, 1); where that is 0/0 or x/0 the sign decides.

    The upper tail comes by erfc, which keeps its digits where 1 − Φ(z) would round to 0.
    """
    z = statistic / deviation if deviation > 0 else inf if statistic > 0 else -inf
    p_value = erfc(z / sqrt(2)) / 2
    return TwoSampleTest(
        statistic=statistic,
        p_value=p_value,
        rejected=p_value <= level,
        level=level,
        null_quantiles={q: deviation * NormalDist().inv_cdf(q) for q in null_levels(level)},
        source_contributions=contributions[0],
        target_contributions=contributions[1],
        sizes=(len(contributions[0]), len(contributions[1])),
        layers=layers,
        method=method,
        permutations=0,
    )
