"""Two samples in whatever people hold them → arrays or tensors whose columns stand in one order."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointadapt.errors import UserError
from jointadapt.runtime.containers import as_numbers, as_table, in_order, is_frame, is_sparse

EXACT = 2**24  # integers below it are float32's


def as_samples(source: Any, target: Any) -> tuple[Any, Any]:
    """Return both samples as arrays, tensors or rows on disk; where both are frames, their columns matched by name.

    A list or tuple is one of layers. What is nothing of all that is left to be told of.

    >>> import pyarrow as pa
    >>> as_samples(pa.table({"a": [1.0], "b": [2.0]}), pa.table({"b": [4.0], "a": [3.0]}))
    (array([[1., 2.]]), array([[3., 4.]]))
    """
    layered = [isinstance(sample, list | tuple) for sample in (source, target)]
    if not all(layered):
        return _matched(source, target) if not any(layered) else (source, target)
    if len(source) != len(target):
        return source, target
    pairs = [_matched(x, y) for x, y in zip(source, target, strict=True)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _matched(source: Any, target: Any) -> tuple[Any, Any]:
    """Return two layers as arrays or tensors."""
    if is_frame(source) and is_frame(target):
        source, target = as_table(source, "source"), as_table(target, "target")
        names = [name.strip() for name in source.column_names], [name.strip() for name in target.column_names]
        order = in_order(
            *names, lambda what: UserError(f"target {what}, of the columns of source; give both the same.")
        )
        target = target.select(order)
    return _as_rows(source, "source"), _as_rows(target, "target")


def _as_rows(layer: Any, name: str) -> Any:
    """Return a layer as an array or a tensor; what lies on disk stays there, and integers keep their digits."""
    if isinstance(layer, np.memmap) and layer.dtype.isnative:
        return layer
    if isinstance(layer, Tensor) and layer.layout == torch.strided:
        return layer if layer.is_floating_point() or layer.is_complex() or _is_small(layer) else layer.double()
    if not (isinstance(layer, Tensor) or is_frame(layer) or is_sparse(layer) or hasattr(layer, "__array__")):
        return layer
    rows = as_numbers(layer, name)
    return rows.astype(np.float64) if rows.dtype.kind in "iu" and not _is_small(rows) else rows


def _is_small(rows: np.ndarray | Tensor) -> bool:
    """Return whether float32 holds integers exactly."""
    return not math.prod(rows.shape) or -EXACT < int(rows.min()) <= int(rows.max()) < EXACT
