"""S = Σ_{i≠j} W_ij K_ij, K = ∏_ℓ k^ℓ, and its gradient in one pass over tiles of K.

Both quadratic estimators are such a sum plus a constant: W has one value within the source, one within the target, one
across. S is a scalar, so its gradient is formed together with it and only scaled in the backward pass. With
f^ℓ = −γ^ℓ dk^ℓ/dD (a kernel's slope) and the symmetric A^ℓ_ij = W_ij f^ℓ_ij ∏_{h≠ℓ} k^h_ij,

    ∂S/∂x^ℓ_i = Σ_j 2 · (−A^ℓ_ij / γ^ℓ) · 2 (x_i − x_j) = 4/γ^ℓ · (A^ℓ X^ℓ − diag(A^ℓ 1) X^ℓ)_i,

one more matrix product. (The first 2: K_ij and K_ji both hold x_i. The second: dD/dx_i = 2 (x_i − x_j).) Bandwidths
found by a rule are held: no gradient passes through γ.

Small samples are one tile; large ones are cut so that a tile stays in the cache. Tiles on and above the diagonal
suffice, since K is symmetric: half of the distances and of the exponentials, and memory O(N · tile). The page
`docs/results/discrepancy.md` has measurements; the estimators by name, with their constants, are in `estimators.py`.
"""

from collections.abc import Sequence
from functools import reduce
from operator import attrgetter, mul, or_
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from jointadapt.discrepancy.distances import centre, inner_products, positive
from jointadapt.discrepancy.kernels import Completed

# Rows of a tile. CPU: a tile of a few 100 kB stays in the cache. Elsewhere a tile must be large enough to hide its
# launches.
CPU_TILE, DEVICE_TILE = 256, 2048


class _Plan(NamedTuple):
    """What to sum and how.

    Args:
        kernels: one for each layer, completed.
        weights: the three values of W: within the source, within the target, across.
        constant: what is added to the sum; of the biased estimate, the diagonal.
        tile: the rows of a tile; 0: one dense tile.
        examples: a weight (N,) of each row of the pooled sample, by which W is further multiplied; None: all are 1.
    """

    kernels: Sequence[Completed]
    weights: tuple[float, float, float]
    constant: float | Tensor
    tile: int
    examples: Tensor | None = None


def weighted_sum(
    source_layers: Sequence[Tensor],
    target_layers: Sequence[Tensor],
    kernels: Sequence[Completed],
    weights: tuple[float, float, float],
    constant: float | Tensor = 0.0,
    tile: int | None = None,
    examples: Tensor | None = None,
) -> Tensor:
    """Return Σ_{i≠j} W_ij K_ij + constant over the pooled sample, differentiable once in every layer, not through γ.

    Args:
        source_layers, target_layers: for each layer a matrix (n, d) and (m, d), checked by `check_layers`.
        kernels: one for each layer, completed.
        weights: W within the source, within the target and across; across counts both (i, j) and (j, i).
        constant: added to the sum.
        tile: rows of a tile, 0 for one dense tile; None chooses by size and device.
        examples: weights a (n + m,) of the rows, held: W_ij becomes W_ij a_i a_j. None: all are 1.

    Computed in float64 where any layer is, else in float32, with autocast off; gradients come back in each layer's own
    precision. O(N² d) time; O(N · tile) memory beside one gradient a layer. A second derivative raises a RuntimeError
    that names `joint_gram`.

    >>> from jointadapt.discrepancy import GaussianKernel
    >>> x, y = torch.zeros(2, 1), torch.ones(1, 1)
    >>> weighted_sum([x], [y], [GaussianKernel(1.0, scales=(1.0,))], (1.0, 1.0, 0.5))  # 2 · 1 + 4 · 0.5/e
    tensor(2.7358)
    """
    rows = (*source_layers, *target_layers)
    dtype = torch.float64 if torch.float64 in map(attrgetter("dtype"), rows) else torch.float32
    rows = [r if r.dtype == dtype else r.to(dtype) for r in rows]
    device = rows[0].device.type
    if tile is None:
        tile = CPU_TILE if device == "cpu" else DEVICE_TILE
        tile = 0 if rows[0].shape[0] + rows[-1].shape[0] < tile else tile
    examples = None if examples is None else examples.detach().to(dtype)
    constant = constant.to(dtype) if isinstance(constant, Tensor) else constant
    plan = _Plan(kernels, weights, constant, tile, examples)
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return _dispatch(plan, rows)
    return _dispatch(plan, rows)


def weighted_sums(
    source_layers: Sequence[Tensor],
    target_layers: Sequence[Tensor],
    kernels: Sequence[Completed],
    weights: tuple[float, float, float],
    constant: float = 0.0,
) -> Tensor:
    """Return `weighted_sum` of each of K pairs of samples, (K,): layers (K, n, d) and (K, m, d), as one batch.

    Every operation is one on K matrices, and so are the gradients, formed on the way. The kernels are `GaussianKernel`s
    (γ is then one number a sample), n and m those of small samples: all K Gram matrices are held. In the layers'
    precision.
    """
    return _dispatch(_Plan(kernels, weights, constant, 0), [*source_layers, *target_layers])


def _dispatch(plan: _Plan, rows: list[Tensor]) -> Tensor:
    """Return the sum, through autograd only where some layer needs a gradient: else its value alone is formed."""
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return _TransformedSum.apply(plan, *rows)[0]  # pyright: ignore[reportReturnType, reportIndexIssue]
    if torch.is_grad_enabled() and any(map(attrgetter("requires_grad"), rows)):
        return _WeightedSum.apply(plan, *rows)  # pyright: ignore[reportReturnType]
    return _sum_and_gradients(plan, rows, [False] * len(plan.kernels))[0]


class _WeightedSum(torch.autograd.Function):
    """S, its gradients formed on the way and only scaled in the backward pass.

    A layer is wanted if its source or its target part needs a gradient; the two lie in one pooled matrix.
    """

    @staticmethod
    def forward(ctx, plan: _Plan, *rows: Tensor) -> Tensor:
        """Return S and keep the pooled gradient of every wanted layer."""
        layers, needs = len(plan.kernels), ctx.needs_input_grad[1:]
        wanted = [*map(or_, needs[:layers], needs[layers:])]
        value, gradients = _sum_and_gradients(plan, rows, wanted)
        ctx.rows = rows
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        """Return the kept gradients times that of S, cut into source and target."""
        (grad_output,), n, gradients = grad_outputs, ctx.rows[0].shape[-2], ctx.saved_tensors
        scale = grad_output[..., None, None]
        parts: list[Tensor | None] = [None] * len(ctx.rows)
        for layer, kept in enumerate(gradients):
            if kept is not None:
                create_graph = torch.is_grad_enabled()
                pooled = _Scale.apply(kept, scale, *ctx.rows) if create_graph else kept * scale
                parts[layer], parts[layer + len(gradients)] = pooled[..., :n, :], pooled[..., n:, :]
        return None, *parts


class _Scale(torch.autograd.Function):
    """The gradient as a function of the rows. Its own would need the kernels' second derivatives: it refuses."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, grad_output: Tensor, *rows: Tensor) -> Tensor:  # noqa: ARG004
        """Return the gradient times that of S, as a function of the rows for `create_graph=True`."""
        return gradient * grad_output

    @staticmethod
    def setup_context(ctx, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing: there is no way back."""

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):  # noqa: ARG004
        """Raise a RuntimeError that says what to use for second derivatives."""
        _refuse()

    @staticmethod
    def jvp(ctx, *tangents: Any):  # noqa: ARG004
        """Raise the same RuntimeError, for forward over reverse."""
        _refuse()


def _refuse() -> NoReturn:
    raise RuntimeError(
        "the gradient of a JMMD is formed in its forward pass and cannot be differentiated again. "
        "For second derivatives use mmd_biased or mmd_unbiased of joint_gram(...), which are plain autograd."
    )


class _TransformedSum(torch.autograd.Function):
    """The same sum under `torch.func`'s transforms, which want forward and context apart: S, then all its gradients.

    Binding its arguments costs more than the sum of a small batch, so that autograd alone takes `_WeightedSum`.
    """

    @staticmethod
    def forward(plan: _Plan, *rows: Tensor) -> tuple[Tensor, ...]:
        """Return S and the pooled gradient of every layer."""
        value, gradients = _sum_and_gradients(plan, rows, [True] * len(plan.kernels))
        return value, *(gradient for gradient in gradients if gradient is not None)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the rows and the gradients, through which nothing may be differentiated."""
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs[1:], *output[1:])
        ctx.save_for_forward(*inputs[1:], *output[1:])

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        """Return the kept gradients times that of S, cut into source and target."""
        rows, kept = _rows_and_gradients(ctx.saved_tensors)
        pooled = [_Scale.apply(gradient, grad_outputs[0], *rows) for gradient in kept]
        n = rows[0].shape[0]
        return None, *(gradient[:n] for gradient in pooled), *(gradient[n:] for gradient in pooled)

    @staticmethod
    def jvp(ctx, *tangents: Any):
        """Return S's directional derivative, Σ gradient ∘ tangent."""
        rows, kept = _rows_and_gradients(ctx.saved_tensors)
        n, pooled = rows[0].shape[0], [_Scale.apply(gradient, gradient.new_ones(()), *rows) for gradient in kept]
        parts = [*(gradient[:n] for gradient in pooled), *(gradient[n:] for gradient in pooled)]
        pairs = zip(parts, tangents[1:], strict=True)
        terms = [(part * tangent).sum() for part, tangent in pairs if tangent is not None]
        return sum(terms[1:], terms[0]), *[None] * len(kept)

    @staticmethod
    def vmap(info, in_dims: tuple[Any, ...], *args: Any):
        """Return the sums of all samples, one after the other: what is found in a sample is found as ever."""
        plan, *rows = args
        outputs = [
            _TransformedSum.apply(
                plan, *(x if at is None else x.select(at, i) for x, at in zip(rows, in_dims[1:], strict=True))
            )
            for i in range(info.batch_size)
        ]
        stacked = tuple(torch.stack(values) for values in zip(*outputs, strict=True))
        return stacked, (0,) * len(stacked)


def _rows_and_gradients(saved: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return what `_TransformedSum` keeps, 2 L rows and L gradients, apart."""
    layers = len(saved) // 3
    return saved[: 2 * layers], saved[2 * layers :]


def _sum_and_gradients(
    plan: _Plan, rows: Sequence[Tensor], wanted: Sequence[bool]
) -> tuple[Tensor, list[Tensor | None]]:
    """Return S and for each layer its gradient over the pooled sample, None where it is not wanted.

    `rows` are all source layers, then all target layers, of one dtype; `wanted` has one entry a layer.
    """
    layers = len(plan.kernels)
    return (_tiled if plan.tile else _dense)(plan, rows[:layers], rows[layers:], wanted)


def _dense(
    plan: _Plan, source: Sequence[Tensor], target: Sequence[Tensor], wanted: Sequence[bool]
) -> tuple[Tensor, list[Tensor | None]]:
    """Return S and the gradients from one matrix: as few operations as will do, each costs more to start than to run.

    W has a diagonal of 0, so that k(0) and the slope at 0 count nowhere. A = W ∘ f^ℓ ∘ ∏_{h≠ℓ} k^h; with its row sums
    taken off its diagonal, 4/γ · A X is the gradient of the layer. Of K pairs of samples at once every matrix has a
    leading axis.
    """
    n, m = source[0].shape[-2], target[0].shape[-2]
    W = source[0].new_full((n + m, n + m), plan.weights[2])
    W[:n, :n] = plan.weights[0]
    W[n:, n:] = plan.weights[1]
    W.fill_diagonal_(0)
    if plan.examples is not None:
        W.mul_(plan.examples[:, None]).mul_(plan.examples)
    pooled, bandwidths, values, slopes = [], [], [], []
    for kernel, s, t, want in zip(plan.kernels, source, target, wanted, strict=True):
        X = torch.cat((s, t), -2).sub_(s[..., :1, :])  # identical rows become exactly 0
        X.sub_(X.sum(-2, keepdim=True), alpha=1 / (n + m))
        products = inner_products(X, X)
        norms = products.diagonal(dim1=-2, dim2=-1)
        distances = (norms[..., :, None] + norms[..., None, :]).sub_(products, alpha=2).clamp_min_(0)
        bandwidth = _bandwidth(kernel, (s, t) if kernel.bandwidth is None else (X,), norms)
        k, slope = kernel.with_slope(distances, bandwidth) if want else (kernel(distances, bandwidth), None)
        for items, item in zip((pooled, bandwidths, values, slopes), (X, bandwidth, k, slope), strict=True):
            items.append(item)
    gradients = []
    for index, (X, bandwidth, slope) in enumerate(zip(pooled, bandwidths, slopes, strict=True)):
        if slope is None:
            gradients.append(None)
        else:
            A = reduce(mul, [slope, *values[:index], *values[index + 1 :]], W)
            A.diagonal(dim1=-2, dim2=-1).sub_(A.sum(-1))
            gradients.append(inner_products(A * (4 / bandwidth), X.mT))
    K = reduce(mul, values, W)
    return (K.sum() if K.ndim == 2 else K.sum((-2, -1))) + plan.constant, gradients


def _bandwidth(kernel: Completed, parts: Sequence[Tensor], norms: Tensor) -> Tensor | float:
    """Return γ > 0: the number, or what the kernel finds in the parts of the pooled sample.

    Of the mean rule, 2 Σ_i ‖x_i − x̄‖² / (N − 1), the centred rows' squared norms are at hand: nothing else is computed.
    """
    if isinstance(kernel.bandwidth, float):
        return kernel.bandwidth
    if norms.ndim == 2:
        return _bandwidths(kernel, parts, norms)
    found = norms.sum() if kernel.bandwidth == "mean" else kernel.find_bandwidth(*parts)
    if found.is_cpu and not torch.compiler.is_compiling():
        found = found.item()  # no device to wait for, and arithmetic on numbers costs nothing
    return positive(found * (2 / (norms.shape[0] - 1)) if kernel.bandwidth == "mean" else found, norms.dtype)


def _bandwidths(kernel: Completed, parts: Sequence[Tensor], norms: Tensor) -> Tensor:
    """Return γ (K, 1, 1) of each of K pairs of samples, by a rule."""
    if kernel.bandwidth == "mean":
        found = norms.sum(-1) * (2 / (norms.shape[-1] - 1))
    else:
        found = torch.stack([kernel.find_bandwidth(*own) for own in zip(*parts, strict=True)])
    return positive(found, norms.dtype)[:, None, None]  # pyright: ignore[reportIndexIssue]


def _tiled(
    plan: _Plan, source: Sequence[Tensor], target: Sequence[Tensor], wanted: Sequence[bool]
) -> tuple[Tensor, list[Tensor | None]]:
    """Return S and the gradients, tile by tile.

    Tiles on and above the diagonal suffice, none lies across the border of source and target, so that W is a number on
    each. A tile (i, j), j > i, counts twice in S; its A serves the gradient of the rows i and, transposed, that of j.
    """
    sides = [side for side, rows in enumerate((source[0], target[0])) for _ in rows.split(plan.tile)]
    layers = [
        _Layer(kernel, [*s.split(plan.tile), *t.split(plan.tile)], want)
        for kernel, s, t, want in zip(plan.kernels, source, target, wanted, strict=True)
    ]
    value = source[0].new_zeros(()).add_(plan.constant)
    examples = _in_tiles(plan, source[0].shape[0])
    for i in range(len(sides)):
        left = [layer.centred(i) for layer in layers]
        for j in range(i, len(sides)):
            right = left if i == j else [layer.centred(j) for layer in layers]
            weight = plan.weights[sides[i]] if sides[i] == sides[j] else plan.weights[2]
            values, slopes = zip(
                *(layer.kernel_tile(i, j, x, y) for layer, x, y in zip(layers, left, right, strict=True)), strict=True
            )
            pairs = [] if examples is None else [torch.outer(examples[i], examples[j])]
            K = reduce(mul, [*values, *pairs])
            if i == j:
                K.fill_diagonal_(0)
            value.add_(K.sum(), alpha=weight if i == j else 2 * weight)
            for index, layer in enumerate(layers):
                if layer.wanted:
                    A = K
                    if slopes[index] is not values[index]:
                        A = reduce(mul, [*values[:index], slopes[index], *values[index + 1 :], *pairs])
                    if i == j:
                        A.fill_diagonal_(0)
                    else:
                        layer.gradients[j].add_(inner_products(A.T, left[index].T), alpha=weight)
                        layer.sums[j].add_(A.sum(0), alpha=weight)
                    layer.gradients[i].add_(inner_products(A, right[index].T), alpha=weight)
                    layer.sums[i].add_(A.sum(1), alpha=weight)
        for layer, x in zip(layers, left, strict=True):
            if layer.wanted:
                layer.gradients[i].addcmul_(layer.sums[i][:, None], x, value=-1).mul_(4 / layer.bandwidth)
    return value, [layer.gradient if layer.wanted else None for layer in layers]


def _in_tiles(plan: _Plan, n: int) -> list[Tensor] | None:
    """Return the weights of the examples by tiles, none of which lies across the border of source and target."""
    if plan.examples is None:
        return None
    return [part for side in (plan.examples[:n], plan.examples[n:]) for part in side.split(plan.tile)]


class _Layer:
    """One layer's rows in parts, what a tile needs of them, and room for the gradient.

    Rows are centred tile by tile: a pass over T · d numbers beside T² · d multiplications is cheap, a centred copy of
    N · d is not. `sums` collects A 1, which the gradient needs once all tiles of a row have passed.
    """

    def __init__(self, kernel: Completed, parts: list[Tensor], wanted: bool) -> None:
        """Find the centre, the squared norms and γ; make room for the gradient if it is wanted."""
        self.kernel, self.parts, self.wanted = kernel, parts, wanted
        self.centre = centre(*parts)
        self.norms = [self.centred(i).square().sum(1) for i in range(len(parts))]
        self.bandwidth = _bandwidth(kernel, parts, torch.cat(self.norms))
        if wanted:
            self.gradient = parts[0].new_zeros(sum(len(part) for part in parts), parts[0].shape[1])
            self.gradients = self.gradient.split([len(part) for part in parts])
            self.sums = [torch.zeros_like(norms) for norms in self.norms]

    def centred(self, i: int) -> Tensor:
        """Return the rows of part i, around the mean of all."""
        return self.parts[i] - self.centre

    def kernel_tile(self, i: int, j: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return k and, where the gradient is wanted, −γ dk/dD between the centred rows x of part i and y of part j."""
        distances = (self.norms[i][:, None] + self.norms[j]).sub_(inner_products(x, y), alpha=2).clamp_min_(0)
        if self.wanted:
            return self.kernel.with_slope(distances, self.bandwidth)
        return self.kernel(distances, self.bandwidth), None
