"""Rows of a table as they came: named columns of numbers, truths and texts, with their gaps."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jointadapt.errors import UserError

BLANKS = " \t\r\n\v\f\ufeff\u00a0"


class TableRows:
    """Rows (n, columns) of a table, each column of a kind of its own; `inputs/table.py` makes numbers of them.

    A list of row numbers gives a tensor where every column is of numbers or truths without gaps; `select` gives a view.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.shape = (table.num_rows, table.num_columns)

    @classmethod
    def of(cls, table: pa.Table, name: str = "the table") -> "TableRows":
        """Return the rows of a table: names without blanks around them, lists of one length spread to columns.

        >>> rows = TableRows.of(pa.table({" a": [1, 2], "b ": [[0.5, 1.5], [2.5, 3.5]]}))
        >>> rows.names, rows[[1]].tolist()
        (('a', 'b[0]', 'b[1]'), [[2.0, 2.5, 3.5]])
        """
        named: list[tuple[str, pa.ChunkedArray]] = []
        for column_name, column in zip(table.column_names, table.columns, strict=True):
            named += _spread(column_name.strip(BLANKS), column)
        names = [column_name for column_name, _ in named]
        if twice := [column_name for column_name, times in Counter(names).items() if times > 1]:
            raise UserError(
                f"{name} has two columns of one name, {twice[0]!r} (its columns: {some_names(names)}); rename one."
            )
        return cls(pa.table([column for _, column in named], names=names) if named else table)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.table.column_names)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Sequence[int], /) -> Tensor:
        chosen = self.table.slice(*_bounds(rows, len(self))) if isinstance(rows, slice) else self.select(rows).table
        columns = [_numbers(name, column) for name, column in zip(self.names, chosen.columns, strict=True)]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))

    def select(self, rows: Sequence[int]) -> "TableRows":
        """Return the chosen rows."""
        return TableRows(self.table.take(pa.array(rows, pa.int64())))

    def without(self, names: Sequence[str]) -> "TableRows":
        """Return the rows without these columns."""
        return TableRows(self.table.drop_columns(list(names)))


def is_number(kind: pa.DataType) -> bool:
    """Return whether the values of a type are numbers, or truths, which count as 0 and 1."""
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)


def is_text(kind: pa.DataType) -> bool:
    """Return whether the values of a type, also of a dictionary's, are texts."""
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def as_float64(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers or truths as float64 (n,), NaN where a value is missing."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    floats = column.cast(pa.float64(), safe=False)
    return floats.to_numpy() if isinstance(floats, pa.ChunkedArray) else floats.to_numpy(zero_copy_only=False)


def some_names(names: Sequence[str], most: int = 8) -> str:
    """Return the first names of many, and how many more there are.

    >>> some_names(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(name or "one without a name" for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _spread(name: str, column: pa.ChunkedArray) -> list[tuple[str, pa.ChunkedArray]]:
    """Return a column by its name; of one that holds lists of numbers of one length, a column for each place."""
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not is_number(kind.value_type) or column.null_count or not len(column):
        return [(name, column)]
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    lengths = {length for chunk in chunks for length in chunk.value_lengths().unique().to_pylist()}
    if len(lengths) > 1 or not (length := lengths.pop()):
        return [(name, column)]
    values = np.concatenate([as_float64(chunk.flatten()) for chunk in chunks]).reshape(len(column), length)
    return [(f"{name}[{place}]", pa.chunked_array([values[:, place]])) for place in range(length)]


def _bounds(rows: slice, length: int) -> tuple[int, int]:
    start, stop, _ = rows.indices(length)
    return start, max(stop - start, 0)


def _numbers(name: str, column: pa.ChunkedArray) -> np.ndarray:
    if not is_number(column.type):
        raise UserError(
            f"column {name!r} holds values of type {column.type}, no numbers yet: training makes some of them."
        )
    numbers = as_float64(column)
    if gaps := int(np.isnan(numbers).sum()):
        raise UserError(f"column {name!r} lacks {gaps} values: remove these rows, or train with --missing fill.")
    return numbers
