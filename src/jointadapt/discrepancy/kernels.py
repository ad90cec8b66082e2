"""Squared distances → kernel values, and the bandwidth rules that scale them.

A kernel is a function of squared distances: any shape in, the same shape out. One object therefore serves the Gram
matrix of a batch, its tiles, and the quadruples of a linear-time estimate. The contract of a kernel is four names:
`kernel(D, γ)`, `with_slope(D, γ)` for analytic gradients, `at_zero` for the diagonal, `find_bandwidth(rows)` for γ.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from jaxtyping import Float
from torch import Tensor

from jointadapt.discrepancy.constants import FIVE_SCALES, SOFTMAX_BANDWIDTH, BandwidthRule
from jointadapt.discrepancy.distances import mean_squared_distance, median_squared_distance, positive, wide

Ladder = tuple[tuple[float, float, int | None], ...]


@dataclass(frozen=True)
class GaussianKernel:
    """A weighted sum of Gaussians of the squared distance, one for each scale: k(D) = Σ_u β_u exp(−D / (s_u γ)).

    Args:
        bandwidth: γ > 0 in the units of a squared distance, or the rule that finds it in the pooled sample:
            `"mean"` (mean squared distance of distinct pairs) or `"median"`.
        scales: the multiples s_u of γ. One scale gives a plain Gaussian with k(0) = 1; m scales give k(0) = m.
        weights: β_u ≥ 0, one for each scale (MK-MMD learns them); None gives 1 each.

    Scales whose ratios are powers of 2 share one `exp`: half the scale is the square of the Gaussian.
    Source: Long et al., ICML 2017, Sec. 5.1 (median) and the authors' code (mean); five scales as in Long et al., 2015.

    >>> GaussianKernel(2.0, scales=(1.0,))(torch.tensor([0.0, 2.0]), 2.0)
    tensor([1.0000, 0.3679])
    """

    bandwidth: float | BandwidthRule = "mean"
    scales: tuple[float, ...] = FIVE_SCALES
    weights: tuple[float, ...] | None = None
    _ladder: "Ladder" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.bandwidth, str):
            if self.bandwidth not in ("mean", "median"):
                raise ValueError(f"bandwidth must be a positive number, 'mean' or 'median'; got {self.bandwidth!r}.")
        elif not self.bandwidth > 0:
            raise ValueError(f"bandwidth must be a positive number, 'mean' or 'median'; got {self.bandwidth}.")
        if not self.scales or not all(scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be one or more positive numbers; got {self.scales}.")
        if self.weights is not None:
            if len(self.weights) != len(self.scales):
                raise ValueError(
                    f"one weight a scale is needed; got {len(self.weights)} for {len(self.scales)} scales."
                )
            if not all(weight >= 0 for weight in self.weights):
                raise ValueError(f"weights must be 0 or positive, else k is no kernel; got {self.weights}.")
        object.__setattr__(self, "_ladder", _ladder(self.scales, self.weights))

    def __call__(
        self, squared_distances: Float[Tensor, "*shape"], bandwidth: float | Tensor
    ) -> Float[Tensor, "*shape"]:
        """Return Σ_u β_u exp(−D / (s_u γ)), elementwise, for the given γ; differentiable in D as often as you like."""
        return _weighted_gaussians(squared_distances, bandwidth, self._ladder)

    def with_slope(
        self, squared_distances: Float[Tensor, "*shape"], bandwidth: float | Tensor
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """Return k(D) and −γ dk/dD = Σ_u β_u/s_u exp(−D / (s_u γ)), elementwise: all that an analytic gradient needs.

        For one Gaussian of scale 1 both are the same tensor. Not for autograd, which differentiates `kernel(D, γ)`.

        >>> value, slope = GaussianKernel(2.0, scales=(0.5,)).with_slope(torch.tensor([0.0, 1.0]), 2.0)
        >>> value, slope
        (tensor([1.0000, 0.3679]), tensor([2.0000, 0.7358]))
        """
        gaussians = _gaussians(squared_distances, bandwidth, self._ladder)
        scale, weight, term = next(gaussians)
        if len(self.scales) == 1 and scale == weight == 1:
            return term, term
        value, slope = term.clone() if weight == 1 else term * weight, term * (weight / scale)
        for scale, weight, term in gaussians:
            value.add_(term, alpha=weight)
            slope.add_(term, alpha=weight / scale)
        return value, slope

    @property
    def at_zero(self) -> float:
        """Return k(0) = Σ_u β_u, the diagonal of every Gram matrix."""
        return float(len(self.scales) if self.weights is None else sum(self.weights))

    def find_bandwidth(self, *rows: Float[Tensor, "_ d"]) -> Tensor:
        """Return γ for a pooled sample: the fixed number, or what the rule finds there; a scalar without gradient.

        The sample may come in several parts (source, target), which spares the caller a concatenation.
        """
        match self.bandwidth:
            case "mean":
                return mean_squared_distance(*rows)
            case "median":
                return median_squared_distance(*rows)
            case fixed:
                return rows[0].new_full((), fixed, dtype=wide(rows[0]).dtype)


@cache
def jan_kernels(
    layers: int,
    bandwidth: float | BandwidthRule = "mean",
    scales: tuple[float, ...] = FIVE_SCALES,
    output_bandwidth: float | BandwidthRule = SOFTMAX_BANDWIDTH,
) -> tuple[GaussianKernel, ...]:
    """Return JAN's kernels for so many layers: five scales on every layer but the last, γ = 1.68 on the last (softmax).

    Source: Long et al., ICML 2017, Sec. 5.1, and the authors' code.

    >>> [kernel.bandwidth for kernel in jan_kernels(3)]
    ['mean', 'mean', 1.68]
    """
    hidden = GaussianKernel(bandwidth, scales)
    return (hidden,) * (layers - 1) + (GaussianKernel(output_bandwidth, scales=(1.0,)),)


def gaussian(
    squared_distances: Tensor,
    bandwidth: float | Tensor,
    scales: Sequence[float] = (1.0,),
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Return Σ_u β_u exp(−D / (s_u γ)), elementwise; a bandwidth of 0 (identical rows) is read as a tiny positive one.

    One Gaussian equals `sklearn.metrics.pairwise.rbf_kernel(gamma=1/γ)`.
    """
    return _weighted_gaussians(squared_distances, bandwidth, _ladder(scales, weights))


def _weighted_gaussians(squared_distances: Tensor, bandwidth: float | Tensor, ladder: Ladder) -> Tensor:
    total = None
    for _, weight, term in _gaussians(squared_distances, bandwidth, ladder):
        term = term if weight == 1 else term * weight
        total = term if total is None else total + term
    assert total is not None
    return total


def _gaussians(
    squared_distances: Tensor, bandwidth: float | Tensor, ladder: Ladder
) -> Iterator[tuple[float, float, Tensor]]:
    """Yield (s, β, exp(−D / (s γ))) from the widest down."""
    bandwidth = positive(bandwidth, squared_distances.dtype)
    term = squared_distances
    for scale, weight, squarings in ladder:
        if squarings is None:
            term = (squared_distances / (bandwidth * -scale)).exp_()
        else:
            for _ in range(squarings):
                term = term * term
        yield scale, weight, term


def _ladder(scales: Sequence[float], weights: Sequence[float] | None) -> Ladder:
    """Return (s, β, squarings that lead there from the scale before; None: an exp) from the widest scale down.

    The square of a Gaussian is the Gaussian of half the scale. Each squaring doubles the relative error of the one exp,
    hence a fresh exp after four.
    """
    steps, widest, last = [], math.inf, math.inf
    for scale, weight in sorted(zip(scales, weights or [1.0] * len(scales), strict=True), reverse=True):
        if widest / scale in (1, 2, 4, 8, 16):
            steps.append((scale, weight, round(math.log2(last / scale))))
        else:
            steps.append((scale, weight, None))
            widest = scale
        last = scale
    return tuple(steps)
