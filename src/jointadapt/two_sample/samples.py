"""Two samples as the user has them → one checked, pooled sample, and the tiles of its joint Gram matrix.

Everything that a test reads of the examples passes here: bandwidths are found once, in the pooled sample and without a
look at the labels, so that a relabelling changes none of them and permutation tests stay exact. The same holds for what
brings columns of several units into one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from jointadapt.discrepancy import Rows
from jointadapt.discrepancy.columns import Columns, FillValue, describe_columns, fill_values
from jointadapt.discrepancy.default_kernels import default_kernels
from jointadapt.discrepancy.distances import squared_distances, wide
from jointadapt.discrepancy.kernels import Completed, Kernel, complete_kernel

Array = np.ndarray | Tensor | Rows
Sample = Array | Sequence[Array]
Chosen = slice | Tensor
Standardize = Literal["auto", "pooled", "no"]

MEDIAN_ROWS = 4096
TILE = 2048
FAR = 1e4  # a squared distance from the mean, in those of the median row, that takes float32's digits from the others


@dataclass(frozen=True)
class Pooled:
    """A pooled sample, source rows first, with what a Gram matrix of it needs.

    Args:
        layers: for each layer its rows (N, d), float32 or float64 throughout.
        kernels: one for each layer, completed.
        bandwidths: γ for each layer, found in the whole sample.
        n: the number of source rows; the N − n others are the target.
        fill_values: (layer, found) where a column seems to hold a mark for "missing".

    >>> rows = pool(torch.zeros(3, 2), torch.ones(2, 2), None, torch.Generator())
    >>> len(rows), rows.n, rows.dtype, rows.device.type
    (5, 3, torch.float32, 'cpu')
    """

    layers: tuple[Tensor, ...]
    kernels: tuple[Completed, ...]
    bandwidths: tuple[Tensor, ...]
    n: int
    fill_values: tuple[tuple[int, FillValue], ...] = ()

    def __len__(self) -> int:
        """Return N = n + m."""
        return len(self.layers[0])

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision of the rows, and so of K: float64 where any layer came in it or needs it, else float32.

        It needs it where a row lies so far off that distances of the others would be lost in float32.
        """
        return self.layers[0].dtype

    @property
    def device(self) -> torch.device:
        """Return the device of the rows."""
        return self.layers[0].device

    def grams(self, rows: Chosen, columns: Chosen | None = None, multiples: Sequence[float] = (1.0,)) -> list[Tensor]:
        """Return a tile of K = ∏_ℓ k^ℓ for each multiple of the bandwidths, all from one computation of the distances.

        With `columns` None the tile is that of the rows with themselves, its diagonal exactly k(0). For r rows and c
        columns O(r c Σd) time and O(r c) memory a multiple. Chosen by a slice or by indices.

        >>> from jointadapt.discrepancy import GaussianKernel
        >>> rows = pool(torch.zeros(2, 1), torch.ones(2, 1), GaussianKernel(1.0, (1.0,)), torch.Generator())
        >>> rows.grams(slice(0, 2), slice(2, 4), (1.0, 2.0))[1]
        tensor([[0.6065, 0.6065],
                [0.6065, 0.6065]])
        """
        products: list[Tensor] = []
        for layer, kernel, bandwidth in zip(self.layers, self.kernels, self.bandwidths, strict=True):
            distances = squared_distances(layer[rows], None if columns is None else layer[columns])
            values = [kernel(distances, multiple * bandwidth) for multiple in multiples]
            products = [p * v for p, v in zip(products, values, strict=True)] if products else values
        return products

    def shifts(self, multiples: Sequence[float] = (1.0,)) -> list[Tensor]:
        """Return for each multiple about the mean of K off its diagonal, from at most 256 rows.

        Estimates whose weights sum to zero do not change when a constant is taken off K's off-diagonal; in float32
        they keep the digits that a difference of means of order one would lose. Any constant will do, so a part of the
        rows, evenly spaced, is enough.
        """
        some = slice(0, None, -(-len(self) // 256))
        size = len(range(len(self))[some])
        return [(K.sum() - K.trace()) / (size * (size - 1)) for K in self.grams(some, None, multiples)]


def pool(
    source: Sample,
    target: Sample,
    kernels: Kernel | Sequence[Kernel] | None,
    generator: torch.Generator,
    least: int = 2,
    standardize: Standardize = "auto",
) -> Pooled:
    """Return the pooled sample after checking it: finite matrices, as many layers, columns and rows as a test needs.

    Args:
        source, target: a matrix, or one for each layer: arrays or tensors, on one device.
        kernels: one `Kernel`, or one for each layer; None: as the estimators choose them (`default_kernels`).
        generator: draws the rows of which the median is found, where there are many.
        least: rows of each sample.
        standardize: as `two_sample_test` takes it.

    Raises a TypeError for what is no matrix, and a ValueError that names sample and layer for the rest: NaN or
    infinity, too few rows, layers or columns that do not match, kernels that are too few, distances that overflow.

    >>> pool(torch.zeros(1, 2), torch.zeros(3, 2), None, torch.Generator())
    Traceback (most recent call last):
    ValueError: source has 1 rows; expected 2 or more.
    """
    sources, targets = _matrices("source", source, least), _matrices("target", target, least)
    if len(sources) != len(targets):
        raise ValueError(f"source has {len(sources)} layers and target {len(targets)}; give both the same layers.")
    for index, (x, y) in enumerate(zip(sources, targets, strict=True)):
        if x.shape[1] != y.shape[1]:
            raise ValueError(
                f"layer {index} has {x.shape[1]} columns in source and {y.shape[1]} in target; "
                "both samples need the same features in the same order."
            )
    if len(devices := {str(x.device) for x in (*sources, *targets)}) > 1:
        raise ValueError(f"all layers must be on one device; got {', '.join(sorted(devices))}. Move them with .to().")
    given = default_kernels(sources, targets) if kernels is None else kernels
    given = [given] if isinstance(given, Kernel) else given
    completed = tuple(complete_kernel(kernel) for kernel in given)
    if len(completed) != len(sources):
        raise ValueError(f"one kernel a layer is needed; got {len(completed)} kernels for {len(sources)} layers.")
    joined = [torch.cat([x, y]) for x, y in zip(sources, targets, strict=True)]
    ready = [_in_one_unit(x, kernel, standardize, generator) for x, kernel in zip(joined, completed, strict=True)]
    wide = any(layer.rows.dtype == torch.float64 or _far_rows(layer.rows) for layer in ready)
    layers = tuple(layer.rows.to(torch.float64 if wide else torch.float32) for layer in ready)
    bandwidths = tuple(_pooled_bandwidth(kernel, x, generator) for kernel, x in zip(completed, layers, strict=True))
    for index, bandwidth in enumerate(bandwidths):
        if not torch.isfinite(bandwidth):
            raise ValueError(
                f"squared distances of layer {index} overflow {layers[0].dtype}; rescale it or pass float64."
            )
    fills = tuple((index, found) for index, layer in enumerate(ready) for found in layer.fill_values)
    return Pooled(layers, completed, bandwidths, len(sources[0]), fills)


class _Layer(NamedTuple):
    """A layer as it is tested, and which of its columns seem to hold a mark for "missing"."""

    rows: Tensor
    fill_values: list[FillValue]


def _in_one_unit(rows: Tensor, kernel: Completed, standardize: Standardize, generator: torch.Generator) -> _Layer:
    """Return a layer of the pooled sample with outliers held within their column's fences, in one unit where asked."""
    if not adapts(kernel, standardize):
        return _Layer(rows, [])
    some = rows if len(rows) <= MEDIAN_ROWS else rows[shuffled(len(rows), generator)[:MEDIAN_ROWS].to(rows.device)]
    columns = describe_columns(some, rows.split(TILE))
    return _Layer(in_one_unit(rows, columns, standardize), fill_values(rows, columns))


def adapts(kernel: Completed, standardize: Standardize) -> bool:
    """Return whether a layer's unit may change: by "auto" where a rule finds the bandwidth in its rows, not a number.

    >>> from jointadapt.discrepancy import GaussianKernel
    >>> [adapts(complete_kernel(GaussianKernel(bandwidth)), "auto") for bandwidth in ("mean", 1.68)]
    [True, False]
    """
    return standardize == "pooled" or (standardize == "auto" and isinstance(kernel.bandwidth, str))


def in_one_unit(rows: Tensor, columns: Columns, standardize: Standardize) -> Tensor:
    """Return rows within the fences of their columns, and in standard deviations: "auto" where columns have many units.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [1e6]])
    >>> in_one_unit(x, describe_columns(x, [x]), "auto").flatten().tolist()
    [0.0, 1.0, 2.0, 21.0]
    """
    if standardize == "pooled" or columns.mixed:
        return columns.standardized(rows)
    return rows.clamp(columns.low.to(rows), columns.high.to(rows))


def _far_rows(rows: Tensor) -> bool:
    """Return whether float32 would lose distances between most rows for the sake of a few that lie far off."""
    if rows.dtype == torch.float64 or rows.device.type == "mps":  # which has no float64
        return False
    off = (rows - rows.mean(0)).square().sum(1)
    return bool(off.max() > FAR * off.median())


class _Slices:
    """An array, perhaps memory-mapped, whose slices of rows are tensors."""

    def __init__(self, array: np.ndarray) -> None:
        """Keep the array where it lies."""
        self.array, self.shape = array, array.shape

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Return a copy of a slice of rows as a tensor."""
        return torch.from_numpy(np.array(self.array[rows]))


def unread(name: str, sample: Sample) -> list[Rows]:
    """Return a sample's layers as they are, for a test that reads them slice by slice.

    Nothing is read here: NaN or infinity is found when the slices pass. Raises a ValueError for what is no matrix.

    >>> [layer.shape for layer in unread("source", [np.zeros((3, 2)), torch.zeros(3, 4)])]
    [(3, 2), torch.Size([3, 4])]
    """
    layers: list[Any] = list(sample) if isinstance(sample, list | tuple) else [sample]
    rows: list[Rows] = [_Slices(layer) if isinstance(layer, np.ndarray) else layer for layer in layers]
    if not rows or any(len(layer.shape) != 2 or 0 in layer.shape for layer in rows):
        raise ValueError(f"{name} must be a matrix with one row an example, or a list of them; none may be empty.")
    return rows


class _OneUnit:
    """Rows of a file, or of a matrix, whose slices are brought into one unit as they are read."""

    def __init__(self, rows: Rows, columns: Columns, standardize: Standardize) -> None:
        """Keep the rows where they lie."""
        self.rows, self.columns, self.shape = rows, columns, rows.shape
        self.standardize: Standardize = standardize

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Return a slice of rows in one unit, in float32 or wider."""
        return in_one_unit(wide(self.rows[rows]), self.columns, self.standardize)


def slices_in_one_unit(
    source: Sequence[Rows], target: Sequence[Rows], kernels: Sequence[Completed], standardize: Standardize
) -> tuple[list[Rows], list[Rows], tuple[tuple[int, FillValue], ...]]:
    """Return the layers of both samples, to be brought into one unit slice by slice, and where fill values seem to be.

    Every so many rows of both are read to find the columns' statistics, `MEDIAN_ROWS` in all at most.

    >>> from jointadapt.discrepancy import GaussianKernel
    >>> x = torch.arange(100.0)[:, None]
    >>> (rows,), _, _ = slices_in_one_unit([x], [x], [complete_kernel(GaussianKernel())], "pooled")
    >>> round(float(rows[0:100].std(correction=0)), 2)
    1.0
    """
    step = -(-(source[0].shape[0] + target[0].shape[0]) // MEDIAN_ROWS)
    sources, targets, fills = list(source), list(target), []
    for index, (x, y, kernel) in enumerate(zip(source, target, kernels, strict=True)):
        if adapts(kernel, standardize):
            some = torch.cat([wide(rows[slice(0, None, step)]) for rows in (x, y)])
            if not torch.isfinite(some).all():
                continue  # the test tells of it
            columns = describe_columns(some, [some])
            sources[index], targets[index] = (_OneUnit(rows, columns, standardize) for rows in (x, y))
            fills += [(index, found) for found in fill_values(some, columns)]
    return sources, targets, tuple(fills)


def pair_distances(pooled: Pooled, tile: int, generator: torch.Generator) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return p random disjoint pairs of source rows (2, p), of target rows, and for each layer their distances (4, p).

    The four rows of a quadruple (s, s', t, t') give ‖s−s'‖², ‖t−t'‖², ‖s−t'‖², ‖s'−t‖²; p = ⌊min(n, m)/2⌋, surplus rows
    stay out. Complexity: O(N d) time, O(p) memory beyond the layers. Distances come from differences, one row of each
    at a time, so that nothing cancels.

    >>> rows = pool(torch.zeros(4, 1), torch.ones(4, 1), None, torch.Generator())
    >>> pair_distances(rows, 512, torch.Generator())[2][0]
    tensor([[0., 0.],
            [0., 0.],
            [1., 1.],
            [1., 1.]])
    """
    n, m = pooled.n, len(pooled) - pooled.n
    pairs = min(n, m) // 2
    first = shuffled(n, generator)[: 2 * pairs].view(2, pairs).to(pooled.device)
    second = (shuffled(m, generator)[: 2 * pairs].view(2, pairs) + n).to(pooled.device)
    left = torch.stack([first[0], second[0], first[0], first[1]])
    right = torch.stack([first[1], second[1], second[1], second[0]])
    distances = []
    for x in pooled.layers:
        parts = [(x[a] - x[b]).square().sum(-1) for a, b in zip(left.split(tile, 1), right.split(tile, 1), strict=True)]
        distances.append(torch.cat(parts, 1))
    return first, second, distances


def quadruple(K: Float[Tensor, "4 p"]) -> Float[Tensor, " p"]:
    """Return h = k(s, s') + k(t, t') − k(s, t') − k(s', t) for each quadruple; its mean is MMD².

    The terms are independent, so that their mean has a standard error. Source: Gretton et al., JMLR 2012, Lemma 14.

    >>> quadruple(torch.tensor([[1.0], [1.0], [0.2], [0.4]]))
    tensor([1.4000])
    """
    return K[0] + K[1] - K[2] - K[3]


def shuffled(count: int, generator: torch.Generator) -> Tensor:
    """Return the numbers 0 … count − 1 in random order, on the generator's device.

    >>> shuffled(4, torch.Generator().manual_seed(0)).sort().values
    tensor([0, 1, 2, 3])
    """
    return torch.randperm(count, generator=generator, device=generator.device)


def _pooled_bandwidth(kernel: Completed, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return γ of the pooled rows; a median from at most 4,096 of them, drawn without a look at the labels."""
    if kernel.bandwidth == "median" and len(rows) > MEDIAN_ROWS:  # a median costs O(N²) memory
        rows = rows[shuffled(len(rows), generator)[:MEDIAN_ROWS].to(rows.device)]
    return kernel.find_bandwidth(rows)


def _matrices(name: str, sample: object, least: int) -> list[Tensor]:
    """Return a sample's layers as finite matrices of equally many rows, without gradient, or say what is wrong."""
    layers = list(sample) if isinstance(sample, list | tuple) else [sample]
    if not layers:
        raise ValueError(f"{name} is an empty list; expected a matrix or one or more layers.")
    tensors = []
    for index, layer in enumerate(layers):
        if not isinstance(layer, np.ndarray | Tensor):
            raise TypeError(
                f"{name} must be a matrix (NumPy array or tensor) or a list of them; layer {index} is a "
                f"{type(layer).__name__}. Convert it with numpy.asarray."
            )
        x = wide(torch.as_tensor(layer).detach())
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(
                f"{name} layer {index} must be a matrix with one row an example; got shape {tuple(x.shape)}. "
                "Flatten images, and give a single feature a second dimension: x[:, None]."
            )
        if len(x) < least:
            raise ValueError(f"{name} has {len(x)} rows; expected {least} or more.")
        bad = int((~torch.isfinite(x)).any(1).sum())
        if bad:
            raise ValueError(
                f"{name} layer {index} has NaN or infinity in {bad} of {len(x)} rows; expected finite numbers. "
                "Drop or impute them."
            )
        tensors.append(x)
    if len({len(x) for x in tensors}) > 1:
        raise ValueError(
            f"all {name} layers need the same rows; got {', '.join(str(len(x)) for x in tensors)} rows. "
            "Row i of every layer must belong to example i."
        )
    return tensors
