"""Training batches `(x_s, y_s, x_t)`: a function of the step alone, so that a run can go on from any step."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jointadapt.data.domain import Domain, Transform
from jointadapt.data.loading import load

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Batches(Dataset):
    """The batch of each step. Each domain is shuffled and cycled on its own; both give `batch_size` rows a step.

    Shuffles and random transforms depend on (seed, step) only, not on the number of workers or on where a run began.
    """

    source: Domain
    target: Domain
    batch_size: int
    seed: int
    transform: Transform | None = None

    def __getitem__(self, step: int) -> Batch:
        rows_s = self._rows(self.source, step, 2 * self.seed)
        rows_t = self._rows(self.target, step, 2 * self.seed + 1)
        if self.transform is None:
            return self.source.rows(rows_s), self.source.labels[rows_s], self.target.rows(rows_t)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(self.seed, step))
            x_s, x_t = self.source.rows(rows_s, self.transform), self.target.rows(rows_t, self.transform)
        return x_s, self.source.labels[rows_s], x_t

    def items(self, step: int) -> tuple[list[str], list[str]]:
        """Return what the rows of a step are called, of source and target."""
        rows_s, rows_t = self._rows(self.source, step, 2 * self.seed), self._rows(self.target, step, 2 * self.seed + 1)
        return [self.source.items[row] for row in rows_s], [self.target.items[row] for row in rows_t]

    def iterate(self, start: int, stop: int, workers: int = 0) -> Iterator[Batch]:
        """Yield the batches of the steps start … stop − 1, decoded by worker processes for images."""
        workers = min(workers, stop - start) if self.transform is not None else 0
        if workers <= 0:
            return map(self.__getitem__, range(start, stop))

        def loader(first: int) -> DataLoader:
            # It draws a seed as it starts. From a generator of its own, or a resumed run's chance would be another.
            options = {"num_workers": workers, "prefetch_factor": 4, "generator": torch.Generator()}
            return DataLoader(self, batch_size=None, sampler=range(first, stop), **options)

        return load(loader, start, stop)

    def _rows(self, domain: Domain, step: int, stream: int) -> list[int]:
        """Return rows step·B … of an endless stream of shuffles of the domain."""
        first, size = step * self.batch_size, len(domain)
        places = range(first, first + self.batch_size)
        return [_shuffle(size, stream, place // size)[place % size] for place in places]


@lru_cache(maxsize=8)
def _shuffle(size: int, stream: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(_mixed(stream, epoch))
    return torch.randperm(size, generator=generator).tolist()


def _mixed(*numbers: int) -> int:
    """Return one seed of 32 bits from several numbers: torch's generator on the CPU looks at the low 32 only."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
