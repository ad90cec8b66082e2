"""A training in progress: what is trained on which data, on which devices, and who writes, who waits, who speaks."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from jointadapt.config import Config
from jointadapt.experiment.prepare import Prepared
from jointadapt.runs.folder import RunFolder
from jointadapt.runtime.progress import Track
from jointadapt.training.distributed import Ranks


@dataclass(frozen=True)
class Session:
    """What every step of an experiment is handed.

    Of several processes all train, and the first alone writes and speaks.

    Args:
        config: of the run at hand; `config.out` is its folder.
        data: the domains as the network gets them.
        fabric: the devices, and the processes on them.
        track: shows progress.
    """

    config: Config
    data: Prepared
    fabric: Fabric
    track: Track

    @property
    def folder(self) -> RunFolder:
        """The run's folder; in all processes but the first, writing to it does nothing."""
        return RunFolder(Path(self.config.out), self.writes)

    @property
    def ranks(self) -> Ranks:
        """This process's number, of how many."""
        return Ranks.of(self.fabric)

    @property
    def writes(self) -> bool:
        """Whether this process writes and speaks."""
        return self.fabric.is_global_zero

    def within(self, *parts: str, **changes: Any) -> "Session":
        """Return the session of another run on the same data, in a folder below this run's, its options changed."""
        return replace(self, config=self.config.but(**changes, out=str(self.folder.path.joinpath(*parts))))

    def warn(self, message: str) -> None:
        """Warn the user, once for all processes."""
        if self.writes:
            warnings.warn(message, stacklevel=3)

    def wait(self) -> None:
        """Wait until every process is here: what the first has written, the others read after this."""
        self.fabric.barrier()

    @contextmanager
    def first_alone(self, local: bool = False) -> Iterator[None]:
        """Let the first process (`local`: of each machine) finish the block before the others begin it."""
        with self.fabric.rank_zero_first(local=local):
            yield
