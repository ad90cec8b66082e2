"""Rows that a map-style dataset of one's own makes when they are asked for, so that its transforms stay its own."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from jointadapt.errors import UserError


class DatasetRows:
    """Rows that a dataset makes when they are asked for: x of its items (x, y, …) or x, as float32.

    Args:
        collate: a list of items → (x, y, …) or x; None stacks them.
        shape: (n, …), the rows' shape behind their number.
        index: the numbers of the dataset's items that are rows; None: all, in order.
    """

    def __init__(
        self,
        dataset: Dataset,
        collate: Callable[[list], Any] | None,
        shape: Sequence[int],
        index: np.ndarray | None = None,
    ) -> None:
        self.dataset, self.collate, self.index, self.shape = dataset, collate, index, tuple(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Sequence[int] | slice, /) -> Tensor:
        """Return rows as they are evaluated: what a transform draws for a row is the same each time."""
        rows = range(len(self))[rows] if isinstance(rows, slice) else rows
        return self.drawn(rows, rows)

    def drawn(self, rows: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Return rows, each made after torch's, NumPy's and Python's generators were seeded by a number of its own."""
        with own_generators():
            items = []
            for row, seed in zip(rows, seeds, strict=True):
                seed_all(seed)
                items.append(self.dataset[int(row if self.index is None else self.index[row])])
            return self._stacked(items)

    def select(self, rows: Sequence[int]) -> "DatasetRows":
        """Return the chosen rows, unmade."""
        chosen = np.asarray(rows, dtype=np.int64)
        index = chosen if self.index is None else self.index[chosen]
        return DatasetRows(self.dataset, self.collate, (len(chosen), *self.shape[1:]), index)

    def _stacked(self, items: list) -> Tensor:
        if self.collate is not None:
            return as_row(x_of(self.collate(items))).float()
        rows = [as_row(x_of(item)) for item in items]
        if len({row.shape for row in rows}) > 1:
            shapes = sorted({tuple(row.shape) for row in rows})
            raise UserError(f"a dataset's items have the shapes {shapes}; let its transform give them one.")
        return torch.stack(rows).float()


def as_row(x: Any) -> Tensor:
    """Return what a dataset calls x as a tensor."""
    if isinstance(x, Image.Image):
        raise UserError("a dataset's items are PIL images; give it a transform that makes tensors of one size.")
    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"a dataset's items are (x, y) or x, x a tensor or array; got x of {type(x).__name__}."
        ) from error


def x_of(item: Any) -> Any:
    """Return x of an item (x, y, …), or x."""
    return item[0] if isinstance(item, tuple | list) else item


@contextmanager
def own_generators() -> Iterator[None]:
    """Leave torch's, NumPy's and Python's generators on the CPU as they were."""
    states = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


def seed_all(number: int) -> None:
    """Seed torch's generator on the CPU, NumPy's and Python's."""
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)
