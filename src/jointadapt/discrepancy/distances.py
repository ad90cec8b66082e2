"""Squared distances from one matrix product, and the rules that find a bandwidth in them.

‖x − y‖² = ‖x‖² + ‖y‖² − 2 x·y costs one matrix product and O(n m) memory, where differences would cost O(n m d). What
it loses to cancellation is bought back by centring: distances do not change when all rows move, and norms shrink.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Multiplications from which `inner_products` takes oneDNN, where this PyTorch has it.
ONEDNN_LEAST = 2**21
HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def positive(bandwidth: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """Return γ, or a tiny positive number where it is 0 (all rows equal), so that 0/γ is 0 and not NaN.

    Tiny is the root of the smallest normal number: its reciprocal, and a scale's multiple of it, are still finite.

    >>> positive(2.5, torch.float32), 0.0 < positive(0.0, torch.float32) < 1e-15
    (2.5, True)
    """
    tiny = torch.finfo(dtype).tiny ** 0.5
    return bandwidth.clamp_min(tiny) if isinstance(bandwidth, Tensor) else max(bandwidth, tiny)


def squared_distances(
    x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch m d"] | None = None
) -> Float[Tensor, "*batch n m"]:
    """Return ‖x_i − y_j‖² for all pairs, from one matrix product; of x with itself without y, diagonal exactly 0.

    Args:
        x, y: matrices with one row an example, or batches of them, which give batches of distances.

    Sign: ≥ 0, clamped. Rows are centred first (distances do not change, cancellation shrinks), computed in float32 or
    wider, also under autocast. O(n m d) time, O(n m) memory. Differentiable; between different but nearly equal rows
    the clamp takes the gradient away, where it is small. Raises what `@` does for unequal columns.

    >>> squared_distances(torch.tensor([[0.0], [3.0]]))
    tensor([[0., 9.],
            [9., 0.]])
    """
    x, y = wide(x), None if y is None else wide(y)
    middle = centre(*(rows.reshape(-1, x.shape[-1]) for rows in (x, y) if rows is not None))
    x = x - middle
    z = x if y is None else y - middle
    with torch.autocast(x.device.type, enabled=False):
        products = x @ z.mT
    distances = (x.square().sum(-1)[..., None] + z.square().sum(-1)[..., None, :] - 2 * products).clamp_min(0)
    return distances if y is not None else distances * (1 - torch.eye(x.shape[-2], dtype=x.dtype, device=x.device))


def inner_products(x: Float[Tensor, "*batch n d"], y: Float[Tensor, "*batch m d"]) -> Float[Tensor, "*batch n m"]:
    """Return x yᵀ without gradient: for large float32 matrices on a CPU by oneDNN, else by `torch.mm`; of batches of
    matrices by `torch.bmm`.

    For the engine, which forms its gradient itself; `squared_distances` is for autograd.

    `mm` calls MKL, which took up to twice as long on the AMD processor measured; where both use the same instructions,
    nothing is lost. The two sum in different orders: the last digits differ. Both read the process's settings.

    >>> inner_products(torch.eye(2), torch.ones(3, 2))
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    if x.ndim == 3:
        return torch.bmm(x, y.mT)
    large = x.is_cpu and x.dtype == torch.float32 and x.shape[0] * y.numel() >= ONEDNN_LEAST
    if large and HAS_ONEDNN and torch.backends.mkldnn.enabled and not torch.compiler.is_compiling():
        return torch.ops.mkldnn._linear_pointwise.default(x, y, None, "none", [], "")
    return torch.mm(x, y.T)


def centre(*parts: Tensor) -> Tensor:
    """Return the mean row of all parts without gradient, taken around the first row: exactly that row if all are equal.

        x̄ = x_1 + 1/N Σ_i (x_i − x_1)

    So identical rows, once centred, are exactly 0, and so are their distances and their bandwidth. float32 or wider.

    >>> centre(torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0]]))
    tensor([2.])
    """
    parts = tuple(wide(part.detach()) for part in parts)
    pivot, size = parts[0][0], sum(len(part) for part in parts)
    offset = torch.zeros_like(pivot)
    for part in parts:
        offset += (part - pivot).sum(0)
    return pivot + offset / size


def mean_squared_distance(*rows: Float[Tensor, "_ d"]) -> Tensor:
    """Return the mean of ‖x_i − x_j‖² over i ≠ j, without gradient, in O(n d): 2 Σ_i ‖x_i − x̄‖² / (n − 1).

    Twice the total variance of the pooled sample: no pair is formed. The sample may come in several parts. 0 for a
    single row and for rows that are all equal. Long tails draw it up; `median_squared_distance` withstands them.
    Source: the authors' code of JAN.

    >>> mean_squared_distance(torch.tensor([[0.0], [3.0]]))
    tensor(9.)
    """
    middle, size = centre(*rows), sum(len(part) for part in rows)
    total = torch.stack([(wide(part.detach()) - middle).square().sum() for part in rows]).sum()
    return 2 * total / max(size - 1, 1)


def median_squared_distance(*rows: Float[Tensor, "_ d"]) -> Tensor:
    """Return the (lower) median of ‖x_i − x_j‖² over i < j, without gradient; O(n² d) time, O(n²) memory.

    The "median heuristic". The sample may come in several parts. 0 where half of the pairs or more are equal rows.
    Source: Long et al., ICML 2017, Sec. 5.1.

    >>> median_squared_distance(torch.tensor([[0.0], [1.0], [3.0]]))
    tensor(4.)
    """
    distances = squared_distances(torch.cat([part.detach() for part in rows]))
    # Each pair stands in the matrix twice. With half of the diagonal below all distances and half above, the lower
    # median of the whole matrix is the lower median of the pairs; no index list is needed.
    size = len(distances)
    distances.diagonal().fill_(math.inf)[: (size + 1) // 2] = -1
    return distances.median().clamp_min(0)


def wide(x: Tensor) -> Tensor:
    """Return x in float32 or wider: half precision is too coarse for differences of squared norms.

    >>> wide(torch.zeros(1, dtype=torch.bfloat16)).dtype, wide(torch.zeros(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return x if x.dtype == torch.float64 else x.float()
