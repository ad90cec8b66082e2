"""JMMD² from random Fourier features of the joint kernel: one pass over the rows, D sums, nothing of size N².

A kernel of x − y is the mean of cosines over its spectral measure, k(x − y) = k(0) E cos(ω · (x − y)) (Bochner), and a
product of kernels that of sums of angles. Cosine and sine of D/2 drawn angles are D features φ whose products are k in
the mean, so that a mean over pairs of rows becomes a product of sums over rows. Sums add up over tiles, files and
processes. `two_sample` builds its "fourier" test on the same features.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from jointadapt.discrepancy.default_kernels import Reduce, Rows
from jointadapt.discrepancy.distances import wide
from jointadapt.discrepancy.estimators import check_layers, check_sizes
from jointadapt.discrepancy.example_weights import Weights, check_weights
from jointadapt.discrepancy.kernels import Completed, Kernel

# Rows that pass at a time: a tile of 2,048 × 512 angles in float32 is 4 MB.
FOURIER_TILE = 2048


def jmmd_fourier(
    source_layers: Sequence[Rows],
    target_layers: Sequence[Rows],
    kernels: Sequence[Kernel] | None = None,
    features: int = 1024,
    generator: torch.Generator | None = None,
    reduce: Reduce | None = None,
    weights: Weights | None = None,
) -> Float[Tensor, ""]:
    """Return JMMD² by D random Fourier features φ of k = ∏_ℓ k^ℓ, without the pairs of a row with itself:

        k̂(z, z') = φ(z)·φ(z') = k(0) · 2/D Σ_f cos(Σ_ℓ ω_f^ℓ · (z^ℓ − z'^ℓ)),   ω_f^ℓ ~ N(0, 2/(s γ^ℓ) I)

    with the scale s of each frequency drawn in proportion to its weight β. As φ(z)·φ(z) = k(0) for every z, sums of φ
    are all that is needed: for n source rows with sum S, (‖S‖² − n k(0)) / (n (n − 1)) is the mean over their pairs.

    Args:
        source_layers, target_layers, kernels: as `jmmd_biased`; a layer may also be a file whose slices are tensors.
            A kernel from outside must supply `frequencies`.
        features: D, an even number.
        generator: draws the frequencies, on its own device; None: torch's own, so that a training step draws anew.
        reduce: a sum over processes (differentiable, as `Ranks.sum`), each of which gives rows of its own and draws the
            same frequencies: D + 2 numbers a sample are exchanged, and 2 d + 3 a layer whose bandwidth is a mean.
        weights: as `jmmd_biased`, of the rows of this process: S = Σ w φ, n becomes Σ w, n (n − 1) is (Σ w)² − Σ w².

    Sign: either. Unbiased: over the draw of ω its mean is `jmmd_unbiased`; its deviation from that is O(k(0)/√D), with
    however many rows. O(N D Σd) time; without gradient O(tile · D) memory, with it O(N Σd) more. Differentiable as
    often as you like, γ held. Take it where N² pairs cost more than the noise of D features tells: some ten thousand
    rows and more, or several processes; for a batch `jmmd_unbiased` is exact and as quick. Raises a ValueError for an
    odd D, for fewer than two rows, and for a kernel without `frequencies`.
    Source: Rahimi and Recht, NIPS 2007; for MMD: Zhao and Meng, Neural Computation 2015.

    >>> from jointadapt.discrepancy import GaussianKernel
    >>> generator = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(2, 200, 3, generator=generator)
    >>> round(jmmd_fourier([x], [y + 1], [GaussianKernel(6.0, (1.0,))], generator=generator).item(), 2)
    0.2
    """
    kernels = check_layers(source_layers, target_layers, kernels, reduce)
    if features < 2 or features % 2:
        raise ValueError(f"features come in pairs, cosine and sine: give an even number; got {features}.")
    if reduce is None:
        check_sizes(source_layers[0].shape[0], target_layers[0].shape[0], least=2)
    total = reduce or _as_it_is
    if weights is not None:
        check_weights(weights, source_layers[0].shape[0], target_layers[0].shape[0])
    drawn = draw(source_layers, target_layers, kernels, features, generator, total)
    each = zip((source_layers, target_layers), weights or (None, None), strict=True)
    (n, n2, S), (m, m2, T) = (_sum(sample, drawn, total, w) for sample, w in each)
    at_zero = math.prod([kernel.at_zero for kernel in kernels])
    scale = 2 * at_zero / features
    sides = ((n, n2, S), (m, m2, T))
    within = [(scale * X.square().sum() - squares * at_zero) / (size**2 - squares) for size, squares, X in sides]
    return (within[0] + within[1] - 2 * scale * (S @ T) / (n * m)).to(drawn[0].frequencies.dtype)


class Drawn(NamedTuple):
    """What was drawn for a layer.

    Args:
        origin: what its rows are measured from, a row near them: angles stay small, and cosines precise.
        frequencies: ω, one column for each angle.

    >>> Drawn(torch.zeros(3), torch.zeros(3, 8)).frequencies.shape
    torch.Size([3, 8])
    """

    origin: Float[Tensor, " d"]
    frequencies: Float[Tensor, "d F"]


def draw(
    source_layers: Sequence[Rows],
    target_layers: Sequence[Rows],
    kernels: Sequence[Completed],
    features: int,
    generator: torch.Generator | None = None,
    total: Reduce | None = None,
) -> list[Drawn]:
    """Return D/2 frequencies of each layer, for `joint_features`; bandwidths are found in the pooled sample.

    Args:
        source_layers, target_layers, kernels: checked and completed (`check_layers`).
        features: D.
        generator: as `jmmd_fourier` takes it.
        total: a sum over processes; None: there is one.

    Layers are drawn in their order, each its scales before its normals: the same generator draws the same features.
    Raises a ValueError for a bandwidth that is not found by sums, over several processes.

    >>> from jointadapt.discrepancy import GaussianKernel
    >>> x = torch.zeros(4, 3)
    >>> (drawn,) = draw([x], [x + 1], [GaussianKernel()], 16, torch.Generator().manual_seed(0))
    >>> drawn.frequencies.shape
    torch.Size([3, 8])
    """
    layers = zip(kernels, source_layers, target_layers, strict=True)
    return [_draw_layer(*layer, features // 2, generator, total or _as_it_is) for layer in layers]


def _draw_layer(
    kernel: Completed, source: Rows, target: Rows, count: int, generator: torch.Generator | None, total: Reduce
) -> Drawn:
    """Return what one layer's rows are measured from, and D/2 frequencies of its kernel."""
    first = wide(source[:1].detach())
    summed = total(torch.cat([first[0], first.new_ones(1)]))
    origin = summed[:-1] / summed[-1]
    bandwidth = _streamed_bandwidth(kernel, source, target, origin, total).to(origin)
    return Drawn(origin, kernel.frequencies(source.shape[1], count, bandwidth, generator))


def joint_features(tile: Sequence[Tensor], drawn: Sequence[Drawn]) -> Float[Tensor, "n D"]:
    """Return φ(z) √(D / 2k(0)) for each row: the cosines of its angles Σ_ℓ ω^ℓ · x^ℓ, then their sines.

    Values lie in [−1, 1]; the squares of a row sum to D/2, so that φ(z)·φ(z) = k(0) exactly. Autocast is off inside.

    >>> drawn = Drawn(torch.zeros(1), torch.tensor([[0.0, torch.pi / 2]]))
    >>> joint_features([torch.ones(1, 1)], [drawn]).round(decimals=3).abs()
    tensor([[1., 0., 0., 1.]])
    """
    with torch.autocast(tile[0].device.type, enabled=False):
        angles = [(x - layer.origin) @ layer.frequencies for x, layer in zip(tile, drawn, strict=True)]
        joint = torch.stack(angles).sum(0) if len(angles) > 1 else angles[0]
        return torch.cat([joint.cos(), joint.sin()], 1)


def _sum(
    sample: Sequence[Rows], drawn: Sequence[Drawn], total: Reduce, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return Σ w, Σ w² and Σ w φ (D,) of the rows, in float64, over the tiles of all processes; without weights w = 1.

    With a gradient, the features of a large sample are formed again on the way back (activation checkpointing).
    """
    rows = sample[0].shape[0]
    summed = drawn[0].origin.new_zeros(2 * drawn[0].frequencies.shape[1], dtype=torch.float64)
    for start in range(0, rows, FOURIER_TILE):
        tile = [layer[start : start + FOURIER_TILE] for layer in sample]
        w = None if weights is None else weights[start : start + FOURIER_TILE]
        again = rows > FOURIER_TILE and any(x.requires_grad for x in tile)  # features are not kept for the way back
        added = checkpoint(_tile_sum, tile, drawn, w, use_reentrant=False) if again else _tile_sum(tile, drawn, w)
        summed = summed + added
    w = summed.new_full((1,), rows) if weights is None else weights.detach().to(summed)
    counts = (w, w) if weights is None else (w.sum()[None], w.square().sum()[None])
    summed = total(torch.cat([summed, *counts]))
    return summed[-2], summed[-1], summed[:-2]


def _tile_sum(tile: Sequence[Tensor], drawn: Sequence[Drawn], weights: Tensor | None) -> Tensor:
    """Return the weighed sum of a tile's features (D,), in float64."""
    features = joint_features(tile, drawn)
    return (features if weights is None else features * weights.detach().to(features)[:, None]).sum(0).double()


def _streamed_bandwidth(kernel: Completed, source: Rows, target: Rows, origin: Tensor, total: Reduce) -> Tensor:
    """Return γ of the rows of all processes: their mean squared distance is 2 (Σ‖x‖² − ‖Σx‖²/N) / (N − 1).

    One pass over the tiles, in float64 and around the origin, as the difference of two sums would lose digits far from
    it. Other rules need the rows at once: they are read whole, and refused over several processes.
    """
    if isinstance(kernel.bandwidth, float):
        return torch.tensor(kernel.bandwidth, dtype=origin.dtype)
    if kernel.bandwidth != "mean":
        if total is not _as_it_is:
            given = kernel.bandwidth or "a find_bandwidth of the kernel's own"
            raise ValueError(f"over several processes the bandwidth must be a number or 'mean'; got {given!r}.")
        return kernel.find_bandwidth(source[:], target[:])
    summed = origin.new_zeros(len(origin) + 2, dtype=torch.float64)
    for rows in (source, target):
        for start in range(0, rows.shape[0], FOURIER_TILE):
            x = (rows[start : start + FOURIER_TILE].detach() - origin).double()
            summed += torch.cat([x.sum(0), x.square().sum()[None], x.new_full((1,), len(x))])
    summed = total(summed)
    sums, squares, size = summed[:-2], summed[-2], summed[-1]
    return 2 * (squares - sums.square().sum() / size).clamp_min(0) / (size - 1).clamp_min(1)


def _as_it_is(x: Tensor) -> Tensor:
    """Return x: the sum over one process."""
    return x
