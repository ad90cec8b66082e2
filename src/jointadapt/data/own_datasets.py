"""A map-style dataset of one's own, or the loader of one → a domain."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from jointadapt.data.dataset_rows import DatasetRows, as_row, own_generators, seed_all, x_of
from jointadapt.data.domain import Domain
from jointadapt.data.kinds import RowKind
from jointadapt.data.labels import encode_labels
from jointadapt.errors import UserError

PLAIN_SAMPLERS = ("RandomSampler", "SequentialSampler", "_InfiniteConstantSampler")
KINDS: dict[int, RowKind] = {1: "features", 2: "signal", 3: "pixels"}  # by the axes of a row


def from_dataset(given: Dataset | DataLoader, name: str = "dataset") -> Domain:
    """Return a domain of a dataset's items (x, y, …), or x alone; of a loader the dataset, and how it collates.

    An item is made anew at each step, so that random transforms are drawn anew, repeatably: by the seed of the run, the
    step, and the place in the batch. Batches are drawn by the run. Labels are read once, from `targets` or `labels`
    where the dataset has them, else from the items; its `classes` are their names.

    >>> x = torch.randn(6, 3, 8, 8)
    >>> domain = from_dataset(TensorDataset(x, torch.arange(6) % 2))
    >>> domain.kind, domain.shape, domain.classes
    ('pixels', (3, 8, 8), ('0', '1'))
    """
    dataset, collate, notes = _parts(given, name)
    first = _checked(dataset, collate, name)
    rows = len(dataset)  # pyright: ignore[reportArgumentType]
    content = DatasetRows(dataset, collate, (rows, *first.shape))
    labels, classes, told = encode_labels(_named(dataset, _labels(dataset)), rows, name)
    items = tuple(f"row {index}" for index in range(rows))
    notes += _about_rows(content, first, name)
    return Domain(name, content, labels, classes, items, (*notes, *told), kind=KINDS.get(first.ndim, "features"))


def options_of_loaders(source: Any, target: Any) -> dict[str, int]:
    """Return the options of a run that its loaders say: the source's batch size; workers only where they have some."""
    if not all(isinstance(given, Dataset | DataLoader) for given in (source, target)):
        return {}
    found = {"workers": max(getattr(given, "num_workers", 0) for given in (source, target))}
    size = getattr(source, "batch_size", None)
    return {**found, "batch_size": size} if size is not None and size > 1 else found


def _parts(given: Dataset | DataLoader, name: str) -> tuple[Dataset, Callable[[list], Any] | None, tuple[str, ...]]:
    """Return the dataset, what collates its items where that is not torch's own way, and notes."""
    notes: tuple[str, ...] = ()
    collate = None
    if isinstance(given, DataLoader):
        collate = None if given.collate_fn is default_collate else given.collate_fn
        sampler = type(given.sampler).__name__
        if sampler not in PLAIN_SAMPLERS:
            notes = (f"{name}: the loader's {sampler} is not used: a run draws its own batches.",)
        given = given.dataset
    if isinstance(given, IterableDataset) or not hasattr(given, "__len__"):
        raise UserError(
            f"{name}: a dataset is asked for its items by number; give a map-style one, not an iterable one."
        )
    return given, collate, notes


def _checked(dataset: Dataset, collate: Callable[[list], Any] | None, name: str) -> Tensor:
    """Return the first row of a dataset that has one of a shape."""
    if not len(dataset):  # pyright: ignore[reportArgumentType]
        raise UserError(f"{name}: the dataset is empty.")
    (first,) = DatasetRows(dataset, collate, (1,))[[0]]
    if not first.ndim:
        raise UserError(f"{name}: x of the dataset's items is one number; give it as a row of one column.")
    return first


def _about_rows(content: DatasetRows, first: Tensor, name: str) -> tuple[str, ...]:
    notes = []
    if not torch.equal(first, content.drawn([0], [1])[0]):
        notes.append(
            f"{name}: its transforms are random, also where the run predicts; for numbers without that, predict a "
            "dataset without random transforms by model.predict(from_dataset(…))."
        )
    with own_generators():
        item = content.dataset[0]
    if not as_row(x_of(item)).is_floating_point():
        notes.append(f"{name}: x holds whole numbers, which are taken as they are, and not divided by 255.")
    if not first.isfinite().all():
        notes.append(f"{name}: the first row holds NaN or infinite values.")
    return tuple(notes)


def _labels(dataset: Dataset) -> list[Any] | None:
    """Return what the items say is y, read off the dataset where that agrees with the items; None without."""
    with own_generators():
        seed_all(0)
        return _labels_of(dataset)


def _labels_of(dataset: Any) -> list[Any] | None:
    match dataset:
        case Subset():
            known = _known(dataset.dataset)
            return None if (y := known or _labels_of(dataset.dataset)) is None else [y[i] for i in dataset.indices]
        case ConcatDataset():
            parts = [_labels_of(part) for part in dataset.datasets]
            return None if any(part is None for part in parts) else [y for part in parts for y in part or ()]
        case TensorDataset():
            return dataset.tensors[1].tolist() if len(dataset.tensors) > 1 else None
    if not _is_pair(dataset[0]):
        return None
    known = _known(dataset)
    places = {0, len(dataset) // 2, len(dataset) - 1}
    if known is not None and all(_plain(dataset[i][1]) == _plain(known[i]) for i in places):
        return known
    return [_plain(dataset[i][1]) for i in range(len(dataset))]


def _known(dataset: Any) -> list[Any] | None:
    for name in ("targets", "labels"):
        y = getattr(dataset, name, None)
        if y is not None and hasattr(y, "__len__") and len(y) == len(dataset):
            return [_plain(value) for value in y]
    return None


def _named(dataset: Any, labels: list[Any] | None) -> list[Any] | None:
    """Return the labels by the dataset's `classes`, where it has these and labels are their numbers."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    classes = getattr(dataset, "classes", None)
    if not labels or not isinstance(classes, list | tuple):
        return labels
    numbers = all(isinstance(label, int) and 0 <= label < len(classes) for label in labels)
    return [str(classes[label]) for label in labels] if numbers else labels


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) > 1


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor | np.ndarray | np.generic) else value
