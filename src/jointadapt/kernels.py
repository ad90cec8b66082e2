"""Squared distances → kernel values, and the bandwidth rules that scale them.

A kernel is a function of squared distances: any shape in, the same shape out. One object therefore serves the Gram
matrix of a batch and the quadruples of a linear-time estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

FIVE_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
SOFTMAX_BANDWIDTH = 1.68

BandwidthRule = Literal["mean", "median"]


@dataclass(frozen=True)
class GaussianKernel:
    """A sum of Gaussians of the squared distance, one for each scale: k(D) = Σ_u exp(−D / (s_u γ)).

    Args:
        bandwidth: γ > 0 in the units of a squared distance, or the rule that finds it in the pooled sample:
            `"mean"` (mean squared distance of distinct pairs) or `"median"`.
        scales: the multiples s_u of γ. One scale gives a plain Gaussian with k(0) = 1; m scales give k(0) = m.

    Source: Long et al., ICML 2017, Sec. 5.1 (median) and the authors' code (mean); five scales as in Long et al., ICML 2015.

    >>> GaussianKernel(2.0, scales=(1.0,))(torch.tensor([0.0, 2.0]), 2.0)
    tensor([1.0000, 0.3679])
    """

    bandwidth: float | BandwidthRule = "mean"
    scales: tuple[float, ...] = FIVE_SCALES

    def __post_init__(self) -> None:
        if isinstance(self.bandwidth, str):
            if self.bandwidth not in ("mean", "median"):
                raise ValueError(f"bandwidth must be a positive number, 'mean' or 'median'; got {self.bandwidth!r}.")
        elif not self.bandwidth > 0:
            raise ValueError(f"bandwidth must be a positive number, 'mean' or 'median'; got {self.bandwidth}.")
        if not self.scales or not all(scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be one or more positive numbers; got {self.scales}.")

    def __call__(
        self, squared_distances: Float[Tensor, "*shape"], bandwidth: float | Tensor
    ) -> Float[Tensor, "*shape"]:
        """Return Σ_u exp(−D / (s_u γ)), elementwise, for the given γ."""
        return gaussian(squared_distances, bandwidth, self.scales)

    def find_bandwidth(self, rows: Float[Tensor, "n d"]) -> Tensor:
        """Return γ for a pooled sample: the fixed number, or what the rule finds there; a scalar without gradient."""
        match self.bandwidth:
            case "mean":
                return mean_squared_distance(rows)
            case "median":
                return median_squared_distance(rows)
            case fixed:
                return torch.as_tensor(fixed, dtype=wide(rows).dtype, device=rows.device)


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


def gaussian(squared_distances: Tensor, bandwidth: float | Tensor, scales: Sequence[float] = (1.0,)) -> Tensor:
    """Return Σ_u exp(−D / (s_u γ)), elementwise; a bandwidth of 0 (identical rows) is read as a tiny positive one.

    One Gaussian equals `sklearn.metrics.pairwise.rbf_kernel(gamma=1/γ)`.
    """
    bandwidth = torch.as_tensor(bandwidth, dtype=squared_distances.dtype, device=squared_distances.device)
    exponent = squared_distances / -bandwidth.clamp_min(torch.finfo(squared_distances.dtype).tiny ** 0.5)
    return torch.stack([(exponent / scale).exp() for scale in scales]).sum(0)


def squared_distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None = None) -> Float[Tensor, "n m"]:
    """Return ‖x_i − y_j‖² for all pairs, from one matrix product; with one argument, of x with itself, diagonal exactly 0.

    Rows are centred first (distances do not change, cancellation shrinks), computed in float32 or wider, clamped at 0.

    >>> squared_distances(torch.tensor([[0.0], [3.0]]))
    tensor([[0., 9.],
            [9., 0.]])
    """
    x = wide(x)
    if y is None:
        x = x - x.detach().mean(0)
        norms = x.square().sum(1)
        distances = (norms[:, None] + norms - 2 * x @ x.T).clamp_min(0)
        return distances * (1 - torch.eye(len(x), dtype=x.dtype, device=x.device))
    y = wide(y)
    centre = torch.cat([x, y]).detach().mean(0)
    x, y = x - centre, y - centre
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_min(0)


def mean_squared_distance(rows: Float[Tensor, "n d"]) -> Tensor:
    """Return the mean of ‖x_i − x_j‖² over i ≠ j, without gradient, in O(n d): 2 Σ_i ‖x_i − x̄‖² / (n − 1).

    >>> mean_squared_distance(torch.tensor([[0.0], [3.0]]))
    tensor(9.)
    """
    rows = wide(rows.detach())
    return 2 * (rows - rows.mean(0)).square().sum() / max(len(rows) - 1, 1)


def median_squared_distance(rows: Float[Tensor, "n d"]) -> Tensor:
    """Return the (lower) median of ‖x_i − x_j‖² over i < j, without gradient; O(n²) memory.

    >>> median_squared_distance(torch.tensor([[0.0], [1.0], [3.0]]))
    tensor(4.)
    """
    distances = squared_distances(rows.detach())
    first, second = torch.triu_indices(len(rows), len(rows), offset=1, device=rows.device)
    return distances[first, second].median() if len(first) else distances.new_zeros(())


def wide(x: Tensor) -> Tensor:
    """Return x in float32 or wider: half precision is too coarse for differences of squared norms."""
    return x if x.dtype == torch.float64 else x.float()
