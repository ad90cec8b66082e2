"""What people hold numbers in → a NumPy array, or an Arrow table of named columns; by duck typing, nothing is imported.

Frames are those of pandas, polars and pyarrow and Hugging Face's `Dataset`; a matrix may also be a tensor, sparse,
masked (without gaps), of objects that are numbers, big-endian, or read backwards.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jointadapt.errors import UserError, reason

MOST_DENSE = 2**32  # bytes of float32 that a sparse matrix may grow to
TILE = 4096  # rows of a sparse matrix at a time


def is_frame(given: Any) -> bool:
    """Return whether an object is a table with named columns: a frame of any library.

    >>> is_frame(pa.table({"a": [1]})), is_frame(np.zeros((2, 2)))
    (True, False)
    """
    if isinstance(given, np.ndarray | Tensor | str):
        return False
    return type(given).__name__ == "LazyFrame" or hasattr(given, "column_names") or hasattr(given, "columns")


def is_sparse(given: Any) -> bool:
    """Return whether an object is a sparse matrix as SciPy has them."""
    return hasattr(given, "nnz") and hasattr(given, "tocsr")


def as_table(frame: Any, name: str) -> pa.Table:
    """Return a frame's columns, whatever library it is of; the index of a pandas frame is no column.

    `name` is what people call it. A `UserError` says what cannot be a table.

    >>> as_table(pa.record_batch({"a": [1, 2]}), "rows").column_names
    ['a']
    """
    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, Mapping):
        raise UserError(f"{name}: this {type(frame).__name__} holds {', '.join(map(str, frame))}; give one of them.")
    try:
        return _to_arrow(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UserError(f"{name}: the {type(frame).__name__} is no table of columns ({reason(error)}).") from error


def _with_class_names(table: pa.Table, features: Mapping[str, Any]) -> pa.Table:
    """Return a table of Hugging Face's with its classes' names in place of their numbers; −1 is no label there."""
    for place, name in enumerate(table.column_names):
        if hasattr(kind := features[name], "int2str") and getattr(kind, "names", None):
            indices = table.column(place).to_pylist()
            known = [None if index is None or index < 0 else kind.names[index] for index in indices]
            table = table.set_column(place, name, pa.array(known, pa.string()))
    return table


def _to_arrow(frame: Any) -> pa.Table:
    if type(frame).__name__ == "LazyFrame":
        frame = frame.collect()
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    if hasattr(frame, "iloc"):  # pandas
        names = [" ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name) for name in frame.columns]
        sparse = {place: kind.subtype for place, kind in enumerate(frame.dtypes) if "Sparse" in type(kind).__name__}
        dense = frame.set_axis(range(len(names)), axis=1).astype(sparse) if sparse else frame
        return pa.Table.from_pandas(dense.set_axis(names, axis=1), preserve_index=False)
    if hasattr(frame, "with_format"):  # Hugging Face's, its chosen rows in their order
        return _with_class_names(frame.with_format("arrow")[:], frame.features)
    return frame.to_arrow() if hasattr(frame, "to_arrow") else pa.table(frame)


def as_numbers(given: Any, name: str) -> np.ndarray:
    """Return an array of real numbers as it may be handed to torch: no mask, native byte order, no negative stride.

    `name` is what people call it. A `UserError` says what holds no numbers, or too many.

    >>> as_numbers(np.arange(3, dtype=">i4")[::-1], "rows")
    array([2, 1, 0], dtype=int32)
    >>> as_numbers(np.ma.masked_array([1.0, 2.0], [False, True]), "rows")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jointadapt.errors.UserError: rows: 1 of 2 values are masked, that is, missing; ...
    """
    if isinstance(given, Tensor):
        array = _of_tensor(given)
    elif is_sparse(given):
        array = _densified(given, name)
    elif np.ma.isMaskedArray(given):
        if missing := int(np.ma.getmaskarray(given).sum()):
            raise UserError(
                f"{name}: {missing} of {given.size} values are masked, that is, missing; fill them first "
                "(x.filled(…)), or leave their rows out."
            )
        array = np.ma.getdata(given)
    else:
        array = _of_anything(given, name)
    if array.dtype.names:
        array = np.stack([array[field] for field in array.dtype.names], axis=-1)
    if array.dtype.kind == "O":
        array = _of_objects(array, name)
    if array.dtype.kind not in "fiub":
        what = {"c": "complex ones", "U": "text", "S": "bytes", "M": "dates"}.get(array.dtype.kind, str(array.dtype))
        raise UserError(f"{name}: numbers are needed; got {what}.")
    if array.dtype.itemsize > 8:  # longdouble
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(array) if any(stride < 0 for stride in array.strides) else array


def _of_tensor(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().resolve_neg().resolve_conj().numpy()


def _of_anything(given: Any, name: str) -> np.ndarray:
    """Return what NumPy makes of an object, a frame's columns side by side."""
    try:
        if is_frame(given):
            table = as_table(given, name)
            return np.stack([column.to_numpy() for column in table.columns], axis=1)
        if isinstance(given, Sequence) and any(isinstance(row, Tensor) for row in given):
            return np.stack([as_numbers(row, name) for row in given])
        return np.asarray(given)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: rows of numbers, all of one length, are needed ({reason(error)}).") from error


def _of_objects(array: np.ndarray, name: str) -> np.ndarray:
    """Return objects that are numbers as float64; None is NaN."""
    flat = array.ravel().tolist()
    others = [value for value in flat if not isinstance(value, Real | Decimal | np.bool_ | None)]
    if others:
        what = " ".join(repr(others[0]).split())[:60]
        raise UserError(
            f"{name}: numbers are needed; got an array of type object that holds {what} ({type(others[0]).__name__})."
        )
    return np.array([np.nan if value is None else float(value) for value in flat]).reshape(array.shape)


def _densified(matrix: Any, name: str) -> np.ndarray:
    """Return a sparse matrix as float32, filled tile by tile."""
    rows, columns = matrix.shape
    if (size := 4 * rows * columns) > MOST_DENSE:
        raise UserError(
            f"{name}: a sparse matrix of {rows:,} × {columns:,} would take {size / 2**30:,.1f} GB; reduce its columns "
            "first, as with sklearn.decomposition.TruncatedSVD, or choose some."
        )
    if matrix.dtype.kind not in "fiub":
        raise UserError(f"{name}: numbers are needed; got a sparse matrix of {matrix.dtype}.")
    matrix, dense = matrix.tocsr(), np.empty((rows, columns), dtype=np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and is told of as such
        for start in range(0, rows, TILE):
            dense[start : start + TILE] = matrix[start : start + TILE].toarray()
    return dense


def is_annotated(given: Any) -> bool:
    """Return whether an object is annotated data: a matrix X with tables `obs` of its rows and `var` of its columns."""
    return all(hasattr(given, name) for name in ("X", "obs", "var_names", "obs_names"))


def matrix_of(adata: Any, name: str, layer: str | None = None, obsm: str | None = None) -> Any:
    """Return the matrix (n, d) of annotated data that is named, X by default."""
    if layer and obsm:
        raise UserError(f"{name}: give layer or obsm, not both.")
    where, key = ("layers", layer) if layer else ("obsm", obsm)
    if not key:
        if adata.X is None:
            raise UserError(f"{name} has no X; name a layer ({_known(adata.layers)}) or obsm ({_known(adata.obsm)}).")
        return adata.X
    if key not in getattr(adata, where):
        raise UserError(f"{name} has no {key!r} in {where}; there are {_known(getattr(adata, where))}.")
    return getattr(adata, where)[key]


def _known(named: Any) -> str:
    return ", ".join(map(str, named)) or "none"


def in_order(names: Sequence[str], others: Sequence[str], mistake: Callable[[str], Exception]) -> list[int]:
    """Return where each name stands among the others; what is missing or surplus there raises the mistake.

    >>> in_order(["a", "b"], ["b", "a"], ValueError)
    [1, 0]
    """
    missing, surplus = [n for n in names if n not in set(others)], [n for n in others if n not in set(names)]
    if missing or surplus:
        said = [f"{what} {', '.join(some[:5])}" for what, some in (("lacks", missing), ("has also", surplus)) if some]
        raise mistake(" and ".join(said))
    place = {name: position for position, name in enumerate(others)}
    return [place[name] for name in names]
