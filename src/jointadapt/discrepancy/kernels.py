"""Squared distances → kernel values, and the bandwidth rules that scale them.

A kernel is a function of squared distances: any shape in, the same shape out. One object therefore serves the Gram
matrix of a batch, its tiles, and the quadruples of a linear-time estimate. `Kernel` is what a kernel of one's own has
to be, `GaussianKernel` the one that JAN uses. `complete_kernel` fills in what a kernel leaves out, once, before any
estimator asks; so the bandwidth, the slope and k(0) of a kernel are the same ones everywhere.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from jointadapt.discrepancy.constants import FIVE_SCALES, SOFTMAX_BANDWIDTH, BandwidthRule
from jointadapt.discrepancy.distances import mean_squared_distance, median_squared_distance, positive, wide

Ladder = tuple[tuple[float, float, int | None], ...]


@runtime_checkable
class Kernel(Protocol):
    """A function k(D, γ) of squared distances D = ‖x − y‖² and a bandwidth γ: the contract of a kernel of one's own.

    It is elementwise (any shape in, the same shape out) and differentiable in D; γ is a number or a scalar tensor, and
    k(0) does not depend on it. A plain function will do. The biased statistics are ≥ 0 only for a positive definite k.
    A kernel may also supply any of these names, which then take the place of what `complete_kernel` fills in:

    * `find_bandwidth(*rows)` → γ, a number or a scalar tensor, from the pooled sample, which is given as one matrix
      (N, d), without gradient. Filled in: the mean squared distance of distinct pairs.
    * `with_slope(D, γ)` → k(D) and −γ dk/dD, which the analytic gradient is made of. Filled in: by autograd.
    * `at_zero` → k(0), the diagonal of every Gram matrix. Filled in: k(0, 1).
    * `frequencies(width, count, γ, generator)` → ω (width, count) from the kernel's spectral measure (Bochner's
      theorem: k(x − y) = k(0) · E cos(ω · (x − y))), for random Fourier features, which are refused without it.

    >>> def rational_quadratic(D, bandwidth):
    ...     return 1 / (1 + D / bandwidth)
    >>> isinstance(rational_quadratic, Kernel), isinstance(GaussianKernel(), Kernel), isinstance("mean", Kernel)
    (True, True, False)
    """

    def __call__(self, squared_distances: Tensor, bandwidth: float | Tensor, /) -> Tensor:
        """Return k(D, γ), elementwise."""
        ...


@dataclass(frozen=True)
class GaussianKernel:
    """A weighted sum of Gaussians of the squared distance, one for each scale: k(D) = Σ_u β_u exp(−D / (s_u γ)).

    Args:
        bandwidth: γ > 0 in the units of a squared distance, or the rule that finds it in the pooled sample:
            `"mean"` (mean squared distance of distinct pairs) or `"median"`.
        scales: the multiples s_u of γ. One scale gives a plain Gaussian with k(0) = 1; m scales give k(0) = m.
        weights: β_u ≥ 0, one for each scale (MK-MMD learns them); None gives 1 each.

    Scales and weights may come as any sequence of numbers and are kept as tuples of floats: kernels can be compared and
    hashed. Scales whose ratios are powers of 2 share one `exp`: half the scale is the square of the Gaussian. A sum of
    Gaussians is characteristic, so MMD = 0 only for equal distributions. To change the rule for γ alone, derive and
    supply `find_bandwidth`; another function of D is a `Kernel` of its own.
    Source: Long et al., ICML 2017, Sec. 5.1 (median) and the authors' code (mean); five scales as in Long et al., 2015.

    >>> GaussianKernel(2.0, scales=(1.0,))(torch.tensor([0.0, 2.0]), 2.0)
    tensor([1.0000, 0.3679])
    >>> GaussianKernel(scales=[1.0, 2.0]) == GaussianKernel(scales=(1.0, 2.0))
    True
    """

    bandwidth: float | BandwidthRule = "mean"
    scales: Sequence[float] = FIVE_SCALES
    weights: Sequence[float] | None = None
    _ladder: "Ladder" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the numbers and keep them as floats; raise a ValueError that names what was expected."""
        if isinstance(self.bandwidth, str):
            if self.bandwidth not in ("mean", "median"):
                raise ValueError(f"bandwidth must be a positive number, 'mean' or 'median'; got {self.bandwidth!r}.")
        elif not 0 < self.bandwidth < math.inf:
            raise ValueError(f"bandwidth must be a positive number, 'mean' or 'median'; got {self.bandwidth}.")
        else:
            object.__setattr__(self, "bandwidth", float(self.bandwidth))
        object.__setattr__(self, "scales", _floats("scales", self.scales))
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales must be one or more positive numbers; got {self.scales}.")
        if self.weights is not None:
            object.__setattr__(self, "weights", _floats("weights", self.weights))
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
        """Return Σ_u β_u exp(−D / (s_u γ)), elementwise, for the given γ; differentiable in D as often as you like.

        γ is given, not found: a tile of a Gram matrix has the γ of the whole sample (`find_bandwidth`). Values lie in
        (0, k(0)]. One Gaussian equals `sklearn.metrics.pairwise.rbf_kernel(gamma=1/γ)`.

        >>> GaussianKernel(scales=(0.5, 1.0))(torch.tensor(0.0), 3.0)
        tensor(2.)
        """
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
        value, slope = term if weight == 1 else term * weight, term * (weight / scale)
        for scale, weight, term in gaussians:
            value.add_(term, alpha=weight)
            slope.add_(term, alpha=weight / scale)
        return value, slope

    @property
    def at_zero(self) -> float:
        """Return k(0) = Σ_u β_u, the diagonal of every Gram matrix.

        >>> GaussianKernel().at_zero, GaussianKernel(scales=(1.0, 2.0), weights=(0.5, 0.25)).at_zero
        (5.0, 0.75)
        """
        return float(len(self.scales) if self.weights is None else sum(self.weights))

    def find_bandwidth(self, *rows: Float[Tensor, "_ d"]) -> Float[Tensor, ""]:
        """Return γ for a pooled sample: the fixed number, or what the rule finds there; a scalar without gradient.

        The sample may come in several parts (source, target), which spares the caller a concatenation.

        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> [GaussianKernel(rule).find_bandwidth(x[:1], x[1:]) for rule in ("mean", "median", 2.0)]
        [tensor(4.6667), tensor(4.), tensor(2.)]
        """
        return bandwidth_by_rule(self.bandwidth, *rows)

    def frequencies(
        self, width: int, count: int, bandwidth: Float[Tensor, ""], generator: torch.Generator | None = None
    ) -> Float[Tensor, "width count"]:
        """Return ω from the spectral measure of k: for each a scale s in proportion to its β, then ω ~ N(0, 2/(s γ) I).

        A Gaussian of bandwidth γ is the mean of cos(ω · (x − y)) over ω ~ N(0, 2/γ I); a sum of them is the mean over a
        mixture. Drawn on the generator's device, given on that of γ and in its precision.
        Source: Rahimi and Recht, NIPS 2007.

        >>> draw = torch.Generator().manual_seed(0)
        >>> omega = GaussianKernel(scales=(1.0,)).frequencies(1, 4000, torch.tensor(2.0), draw)
        >>> (omega[0] * 2.0).cos().mean().round(decimals=1), torch.tensor(-4.0 / 2.0).exp().round(decimals=1)
        (tensor(0.1000), tensor(0.1000))
        """
        device = bandwidth.device if generator is None else generator.device
        weights = torch.tensor(self.weights or (1.0,) * len(self.scales), device=device)
        scales = torch.tensor(self.scales, device=device)[torch.multinomial(weights, count, True, generator=generator)]
        normal = torch.randn(width, count, generator=generator, device=device, dtype=bandwidth.dtype)
        return normal.to(bandwidth) * (2 / (scales.to(bandwidth) * positive(bandwidth, bandwidth.dtype))).sqrt()


@dataclass(frozen=True)
class CompletedKernel:
    """A kernel from outside with what it leaves out filled in, so that estimators ask every kernel the same questions.

    Args:
        kernel: the function k(D, γ), with what else of `Kernel` it supplies.
        bandwidth: the number or the rule by which γ is found, as `GaussianKernel` has it; None: the kernel finds it by
            a `find_bandwidth` of its own. Shortcuts of a rule (norms at hand, a sum over a file) look here.
        at_zero: k(0), a scalar tensor where only the device knows it.

    >>> kernel = complete_kernel(lambda D, bandwidth: 1 / (1 + D / bandwidth))
    >>> kernel.at_zero, kernel.bandwidth
    (1.0, 'mean')
    """

    kernel: Kernel
    bandwidth: float | BandwidthRule | None
    at_zero: float | Tensor

    def __call__(
        self, squared_distances: Float[Tensor, "*shape"], bandwidth: float | Tensor
    ) -> Float[Tensor, "*shape"]:
        """Return k(D, γ), elementwise, by the kernel itself; differentiable as often as it is.

        >>> complete_kernel(lambda D, bandwidth: 1 / (1 + D / bandwidth))(torch.tensor([0.0, 2.0]), 2.0)
        tensor([1.0000, 0.5000])
        """
        return self.kernel(squared_distances, bandwidth)

    def with_slope(
        self, squared_distances: Float[Tensor, "*shape"], bandwidth: float | Tensor
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """Return k(D) and −γ dk/dD, without gradient: by the kernel's own `with_slope`, else by autograd.

        Autograd's slope is set to 0 where D = 0. It is multiplied by x_i − x_j = 0 there, so that this changes no
        gradient, and it spares a kernel of √D (Laplace's) a NaN on the diagonal.

        >>> kernel = complete_kernel(lambda D, bandwidth: (-D / bandwidth).exp())
        >>> kernel.with_slope(torch.tensor([0.0, 2.0]), 2.0)
        (tensor([1.0000, 0.3679]), tensor([0.0000, 0.3679]))
        """
        own = _supplied(self.kernel, "with_slope")
        if own is not None:
            return own(squared_distances, bandwidth)
        with torch.enable_grad():
            D = squared_distances.detach().requires_grad_()
            value = self.kernel(D, bandwidth)
            (derivative,) = torch.autograd.grad(value.sum(), D)
        return value.detach(), torch.where(D.detach() > 0, derivative * -bandwidth, 0)

    def find_bandwidth(self, *rows: Float[Tensor, "_ d"]) -> Float[Tensor, ""]:
        """Return γ > 0 for a pooled sample, a scalar without gradient: by the rule, or by the kernel's own answer.

        The kernel is asked with the pooled sample as one matrix, however many parts it comes in, so that γ cannot
        depend on the parts. Raises a ValueError where the answer is not one number.

        >>> class Fixed:
        ...     def __call__(self, D, bandwidth):
        ...         return (-D / bandwidth).exp()
        ...
        ...     def find_bandwidth(self, *rows):
        ...         return 3.0
        >>> complete_kernel(Fixed()).find_bandwidth(torch.zeros(4, 2), torch.ones(3, 2))
        tensor(3.)
        """
        if self.bandwidth is not None:
            return bandwidth_by_rule(self.bandwidth, *rows)
        pooled = torch.cat([wide(part.detach()) for part in rows])
        with torch.no_grad():
            found = _supplied(self.kernel, "find_bandwidth")(pooled)
            found = torch.as_tensor(found, dtype=pooled.dtype, device=pooled.device)
        if found.numel() != 1:
            raise ValueError(f"find_bandwidth of {_name(self.kernel)} must give one number; got {tuple(found.shape)}.")
        return found.reshape(()).clamp_min(torch.finfo(pooled.dtype).tiny ** 0.5)

    def frequencies(
        self, width: int, count: int, bandwidth: Float[Tensor, ""], generator: torch.Generator | None = None
    ) -> Float[Tensor, "width count"]:
        """Return ω from the kernel's own `frequencies`; raise a ValueError where it has none.

        There is no default: only the kernel knows its spectral measure.

        >>> complete_kernel(lambda D, bandwidth: 1 / (1 + D)).frequencies(1, 4, torch.tensor(1.0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: random Fourier features need a kernel that supplies `frequencies`, as GaussianKernel does; ...
        """
        own = _supplied(self.kernel, "frequencies")
        if own is None:
            raise ValueError(
                "random Fourier features need a kernel that supplies `frequencies`, as GaussianKernel does; "
                f"{_name(self.kernel)} has none. Add it, or choose another estimator, which needs no more than k(D, γ)."
            )
        return own(width, count, bandwidth, generator).to(bandwidth)


Completed = GaussianKernel | CompletedKernel


def complete_kernel(kernel: Kernel) -> Completed:
    """Return the kernel with all that estimators ask of one; raise a TypeError for what is no function.

    A `GaussianKernel` is complete and comes back as it is. Of a class derived from it with a `__call__` of its own only
    `find_bandwidth` is taken over: the inherited slope, k(0) and frequencies are those of another function.

    >>> complete_kernel(GaussianKernel()) == GaussianKernel()
    True
    """
    if type(kernel) is GaussianKernel or isinstance(kernel, CompletedKernel):
        return kernel
    if not callable(kernel):
        raise TypeError(f"a kernel is a function of squared distances and a bandwidth; got {kernel!r}.")
    at_zero = _supplied(kernel, "at_zero")
    at_zero = float(kernel(torch.zeros(1, dtype=torch.float64), 1.0)) if at_zero is None else float(at_zero)
    if isinstance(kernel, GaussianKernel) and type(kernel).find_bandwidth is GaussianKernel.find_bandwidth:
        return CompletedKernel(kernel, kernel.bandwidth, at_zero)
    return CompletedKernel(kernel, None if hasattr(kernel, "find_bandwidth") else "mean", at_zero)


def bandwidth_by_rule(rule: float | BandwidthRule, *rows: Float[Tensor, "_ d"]) -> Float[Tensor, ""]:
    """Return γ: the number itself, or the mean or (lower) median squared distance of distinct pairs of rows.

    A scalar without gradient in the rows' precision, float32 or wider. "mean" costs O(N d), "median" O(N² d) and O(N²)
    memory. The median, JAN's paper's rule, is the more robust to outliers; the mean is what the authors' code takes.

    >>> bandwidth_by_rule("mean", torch.tensor([[0.0], [3.0]]))
    tensor(9.)
    """
    match rule:
        case "mean":
            return mean_squared_distance(*rows)
        case "median":
            return median_squared_distance(*rows)
        case fixed:
            return rows[0].new_full((), fixed, dtype=wide(rows[0]).dtype)


def jan_kernels(
    layers: int,
    bandwidth: float | BandwidthRule = "mean",
    scales: Sequence[float] = FIVE_SCALES,
    output_bandwidth: float | BandwidthRule = SOFTMAX_BANDWIDTH,
) -> tuple[GaussianKernel, ...]:
    """Return JAN's kernels for so many layers: five scales on every layer but the last, γ = 1.68 on the last (softmax).

    Args:
        layers: the number of layers whose kernels are multiplied, 1 or more; the last holds probabilities.
        bandwidth, scales: of the hidden layers' kernels, as `GaussianKernel` takes them.
        output_bandwidth: of the last layer's single Gaussian.

    Source: Long et al., ICML 2017, Sec. 5.1, and the authors' code.

    >>> [kernel.bandwidth for kernel in jan_kernels(3)]
    ['mean', 'mean', 1.68]
    """
    hidden = GaussianKernel(bandwidth, scales)
    return (hidden,) * (layers - 1) + (GaussianKernel(output_bandwidth, scales=(1.0,)),)


def gaussian(
    squared_distances: Float[Tensor, "*shape"],
    bandwidth: float | Tensor,
    scales: Sequence[float] = (1.0,),
    weights: Sequence[float] | None = None,
) -> Float[Tensor, "*shape"]:
    """Return Σ_u β_u exp(−D / (s_u γ)), elementwise; a bandwidth of 0 (identical rows) is read as a tiny positive one.

    `GaussianKernel.__call__` as a function, for the terms of a sum one by one. One Gaussian equals
    `sklearn.metrics.pairwise.rbf_kernel(gamma=1/γ)`.

    >>> gaussian(torch.tensor([0.0, 2.0]), 2.0)
    tensor([1.0000, 0.3679])
    """
    return _weighted_gaussians(squared_distances, bandwidth, _ladder(scales, weights))


def _weighted_gaussians(squared_distances: Tensor, bandwidth: float | Tensor, ladder: Ladder) -> Tensor:
    """Return Σ_u β_u exp(−D / (s_u γ)) along a ladder of scales, out of place, so that autograd can go back through."""
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

    >>> _ladder((1.0, 3.0, 0.5, 1.5), None)
    ((3.0, 1.0, None), (1.5, 1.0, 1), (1.0, 1.0, None), (0.5, 1.0, 1))
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


def _floats(name: str, numbers: Any) -> tuple[float, ...]:
    """Return numbers of any kind (list, array, NumPy scalars) as a tuple of floats, which can be hashed."""
    try:
        return tuple(float(number) for number in numbers)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be one or more positive numbers; got {numbers!r}.") from None


def _supplied(kernel: Kernel, name: str) -> Any:
    """Return what the kernel itself supplies under a name, else None: also where it is GaussianKernel's beside a
    `__call__` of its own, since it then belongs to another function."""
    own = getattr(kernel, name, None)
    if isinstance(kernel, GaussianKernel) and type(kernel).__call__ is not GaussianKernel.__call__:
        inherited = getattr(type(kernel), name, None) is getattr(GaussianKernel, name)
        return None if inherited and name != "find_bandwidth" else own
    return own


def _name(kernel: Kernel) -> str:
    """Return what a kernel is called in messages: the name of a function, else of a class."""
    return getattr(kernel, "__name__", type(kernel).__name__)
