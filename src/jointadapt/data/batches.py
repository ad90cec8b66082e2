"""Training batches: a function of the step alone, so that a run can go on from any step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jointadapt.data.dataset_rows import DatasetRows
from jointadapt.data.domain import Domain, Transform
from jointadapt.data.worker_restart import load

FEWEST_ROWS = 4  # of a batch that a source needs to be compared with the target on its own


class Batch(NamedTuple):
    """The rows of one step.

    Args:
        x_s: (n, …), source rows.
        y_s: (n,), their labels.
        x_t: (m, …), target rows.
        w_s: (n,), weights of the source rows; None: all are equal.
        o_s: (n,), which of several sources each of them is from; None: of one.
    """

    x_s: Tensor
    y_s: Tensor
    x_t: Tensor
    w_s: Tensor | None = None
    o_s: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(*(None if part is None else part.to(device) for part in self))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Batches(Dataset):
    """The batch of each step. Each domain is shuffled and cycled on its own; both give `batch_size` rows a step.

    `balanced`: of the source each class in its turn, with its own rows shuffled and cycled, so that all are equally
    frequent. Of several sources a batch has rows of each by their weights, whatever their size (`shares`).

    Shuffles depend on (seed, step) only, random transforms on the row's place in the batch too: not on the number of
    workers, on where a run began, or on which `part` (number, of how many) of each batch this is.
    """

    source: Domain
    target: Domain
    batch_size: int
    seed: int
    transform: Transform | None = None
    part: tuple[int, int] = (0, 1)
    balanced: bool = False
    _orders: dict[int, tuple[int, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getitem__(self, step: int) -> Batch:
        x_s, rows_s = self._batch(self.source, step, 2 * self.seed)
        x_t, _ = self._batch(self.target, step, 2 * self.seed + 1)
        w_s, o_s = (None if x is None else x[rows_s] for x in (self.source.weights, self.source.origins))
        return Batch(x_s, self.source.labels[rows_s], x_t, w_s, o_s)

    def items(self, step: int) -> tuple[list[str], list[str]]:
        """Return what the rows of a step are called, of source and target."""
        rows_s, rows_t = self._rows(self.source, step, 2 * self.seed), self._rows(self.target, step, 2 * self.seed + 1)
        return [self.source.items[row] for row in rows_s], [self.target.items[row] for row in rows_t]

    def iterate(self, start: int, stop: int, workers: int = 0) -> Iterator[Batch]:
        """Yield the batches of the steps start … stop − 1, made by worker processes for images and own datasets."""
        workers = 0 if self.at_hand else min(workers, stop - start)
        if workers <= 0:
            return map(self.__getitem__, range(start, stop))

        def loader(first: int) -> DataLoader:
            # It draws a seed as it starts. From a generator of its own, or a resumed run's rng state would be another.
            options = {"num_workers": workers, "prefetch_factor": 4, "generator": torch.Generator()}
            return DataLoader(self, batch_size=None, sampler=range(first, stop), **options)

        return load(loader, start, stop)

    @property
    def at_hand(self) -> bool:
        """Whether the rows are numbers in memory, which need no worker to be made."""
        return self.transform is None and not isinstance(self.source.content, DatasetRows)

    def _batch(self, domain: Domain, step: int, stream: int) -> tuple[Tensor, list[int]]:
        """Return this part of a batch, and the numbers of its rows."""
        places = shard(self.batch_size, *self.part)
        rows = self._rows(domain, step, stream)[places.start : places.stop]
        if isinstance(domain.content, DatasetRows):
            return domain.content.drawn(rows, [_mixed(stream, step, place + 1) for place in places]), rows
        if self.transform is None:
            return domain.rows(rows), rows
        seeds = [_mixed(stream, step, place + 1) for place in places]
        return domain.rows(rows, self.transform, seeds), rows

    def _rows(self, domain: Domain, step: int, stream: int) -> list[int]:
        """Return rows step·B … of an endless stream of shuffles of the domain: a batch, all parts of it."""
        first, size = step * self.batch_size, len(domain)
        stop = first + self.batch_size
        if stream == 2 * self.seed and (self.balanced or domain.origins is not None):
            return [self._of_an_origin(place, stream) for place in range(first, stop)]
        rows: list[int] = []
        while first < stop:
            epoch, begin = divmod(first, size)
            rows += self._shuffled(size, stream, epoch)[begin : begin + stop - first].tolist()
            first = step * self.batch_size + len(rows)
        return rows

    def _shuffled(self, size: int, stream: int, epoch: int) -> Tensor:
        """Return the order of a domain's rows in an epoch; that of the last epoch asked for is kept."""
        kept, order = self._orders.get(stream, (None, None))
        if kept != epoch or order is None:
            generator = torch.Generator().manual_seed(_mixed(stream, epoch))
            order = torch.randperm(size, generator=generator)
            self._orders[stream] = epoch, order
        return order

    def _of_an_origin(self, place: int, stream: int) -> int:
        """Return the source's row at a place of an endless stream; of several sources each has its seats in a batch."""
        step, seat = divmod(place, self.batch_size)
        number, before, count = self._seats[seat]
        turn = step * count + before
        if self.balanced:
            return self._of_a_class(self._classes[number], turn, stream, number)
        rows = self._origins[number]
        return int(rows[_class_shuffle(len(rows), stream, turn // len(rows), number)[turn % len(rows)]])

    def _of_a_class(self, classes: list[Tensor], place: int, stream: int, origin: int) -> int:
        """Return the row at a place of an endless stream in which each class stands once a round, in random order."""
        own = (origin,) if origin else ()
        turn, seat = divmod(place, len(classes))
        label = int(_class_shuffle(len(classes), stream, turn, *own)[seat])
        rows = classes[label]
        return int(rows[_class_shuffle(len(rows), stream, turn // len(rows), label, *own)[turn % len(rows)]])

    @cached_property
    def _origins(self) -> list[Tensor]:
        """The rows of each source that has any; all rows where there is one."""
        origins = self.source.origins
        if origins is None:
            return [torch.arange(len(self.source))]
        return [(origins == number).nonzero().flatten() for number in origins.unique().tolist()]

    @cached_property
    def _seats(self) -> list[tuple[int, int, int]]:
        """For each row of a batch: its source, how many rows of that stand before it, and how many there are in all."""
        number = len(self._origins)
        weights = self.source.origin_weights if len(self.source.origin_weights) == number else (1.0,) * number
        counts = shares(self.batch_size, weights)
        spread = sorted(((seat + 0.5) / count, k, seat) for k, count in enumerate(counts) for seat in range(count))
        return [(k, seat, counts[k]) for _, k, seat in spread]

    @cached_property
    def _classes(self) -> list[list[Tensor]]:
        """The rows of each class that has any, of each source."""
        labels = self.source.labels
        return [[rows[labels[rows] == label] for label in labels[rows].unique().tolist()] for rows in self._origins]


def shares(rows: int, weights: Sequence[float]) -> list[int]:
    """Return how many of so many rows each of several sources has: four, and of the others by its weight.

    >>> shares(36, (0.5, 0.5)), shares(36, (0.97, 0.02, 0.01)), shares(7, (1.0, 1.0, 1.0))
    ([18, 18], [27, 5, 4], [3, 2, 2])
    """
    least = min(FEWEST_ROWS, rows // len(weights))
    free = rows - least * len(weights)
    exact = [least + free * weight / sum(weights) for weight in weights]
    counts = [int(each) for each in exact]
    for k in sorted(range(len(weights)), key=lambda k: counts[k] - exact[k])[: rows - sum(counts)]:
        counts[k] += 1
    return counts


def shard(rows: int, part: int, parts: int) -> range:
    """Return which of so many rows a part has: neighbours, as equal in number as can be.

    >>> [shard(7, part, 3) for part in range(3)]
    [range(0, 3), range(3, 5), range(5, 7)]
    """
    least, larger = divmod(rows, parts)
    first = part * least + min(part, larger)
    return range(first, first + least + (part < larger))


@lru_cache(maxsize=512)
def _class_shuffle(size: int, stream: int, *numbers: int) -> Tensor:
    generator = torch.Generator().manual_seed(_mixed(stream, *numbers, len(numbers)))
    return torch.randperm(size, generator=generator)


def _mixed(*numbers: int) -> int:
    """Return one seed of 32 bits from several numbers: torch's generator on the CPU looks at the low 32 only."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
