"""Rows that are larger than memory: a matrix in a `.npy` file, of which only what is asked for is read."""

import mmap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jointadapt.errors import UserError

TILE = 2048
SCATTERED = 64  # rows that are read before their pages are let go: the system maps up to 2 MB around each
MAGIC = b"\x93NUMPY"
Change = Callable[[Tensor], Tensor]


class MappedRows:
    """Rows (n, d) of a file, given out as float32 tensors; what was read is not kept.

    A slice, or a list of row numbers, gives a tensor; `select` and `of_columns` give views, and read nothing. `change`
    is done to rows as they are read.
    """

    def __init__(
        self,
        array: np.memmap,
        index: np.ndarray | None = None,
        columns: np.ndarray | None = None,
        change: Change | None = None,
    ) -> None:
        self.array, self.index, self._columns, self.change = array, index, columns, change
        rows, width = array.shape
        self.shape = (rows if index is None else len(index), width if columns is None else len(columns))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Sequence[int], /) -> Tensor:
        wanted = rows if self.index is None else self.index[rows]
        read = [self._read(part) for part in _parts(wanted, len(self.array))]
        tensor = torch.from_numpy(read[0] if len(read) == 1 else np.concatenate(read))
        return tensor if self.change is None else self.change(tensor)

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return a copy of rows of the file, in float32, and let go of the pages that they lie in."""
        chosen = self.array[rows]
        copied = np.array(chosen if self._columns is None else chosen[:, self._columns], dtype=np.float32)
        if isinstance(self.array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self.array.base.madvise(mmap.MADV_DONTNEED)  # or the pages read so far would all stay mapped
        return copied

    def select(self, rows: Sequence[int]) -> "MappedRows":
        """Return the chosen rows, unread."""
        chosen = np.asarray(rows, dtype=np.int64)
        chosen = chosen if self.index is None else self.index[chosen]
        return MappedRows(self.array, chosen, self._columns, self.change)

    def of_columns(self, columns: Sequence[int]) -> "MappedRows":
        """Return the rows, to which nothing is done yet, with the chosen columns only, in this order."""
        chosen = np.asarray(columns, dtype=np.int64)
        return MappedRows(self.array, self.index, chosen if self._columns is None else self._columns[chosen])

    def changed(self, change: Change) -> "MappedRows":
        """Return the rows, unread, to be changed so as they are read, after what is done to them already."""
        before = self.change
        then = change if before is None else lambda rows: change(before(rows))
        return MappedRows(self.array, self.index, self._columns, then)


def _parts(rows: slice | Sequence[int] | np.ndarray, count: int) -> list[slice] | list[np.ndarray]:
    """Return row numbers in parts: rows in one piece as they are, others few at a time."""
    if isinstance(rows, slice):
        if rows.step in (None, 1):
            return [rows]
        rows = range(count)[rows]
    numbers = np.asarray(rows, dtype=np.int64)
    return np.split(numbers, range(SCATTERED, len(numbers), SCATTERED))


def map_rows(path: Path, least: int, name: Path | None = None) -> MappedRows | None:
    """Return the rows of a `.npy` file of a matrix of at least so many bytes in memory; None if it is none, or smaller.

    `name` is what people call the file. Every row is read once, tile by tile, to see that it is finite.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return None
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:
        return None  # whoever reads it whole says what is wrong
    if not isinstance(array, np.memmap) or array.ndim != 2 or array.dtype.kind not in "fiub" or not array.shape[1]:
        return None
    if 4 * array.size < least:
        return None
    rows = MappedRows(array)
    for start in range(0, len(rows), TILE):
        bad = (~torch.isfinite(rows[start : start + TILE])).any(1).nonzero().flatten().tolist()
        if bad:
            raise UserError(
                f"{name or path}: row {start + bad[0]} (counted from 0) holds NaN or infinite values; remove or impute "
                "them first."
            )
    return rows
