"""Progress of long loops: a function that wraps an iterable. Silent in the library; the command line shows bars.

Of several processes the first speaks.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")


@runtime_checkable
class Track(Protocol):
    """Wrap an iterable; `start` items of `total` were done before."""

    def __call__(self, items: Iterable[T], total: int, description: str, start: int = 0) -> Iterator[T]: ...


def silent(items: Iterable[T], total: int, description: str, start: int = 0) -> Iterator[T]:  # noqa: ARG001
    """Yield the items and show nothing."""
    yield from items


def bars(items: Iterable[T], total: int, description: str, start: int = 0) -> Iterator[T]:
    """Yield the items under a bar on standard error, with rate and time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, completed=start)
        for item in items:
            yield item
            progress.advance(task)


def first_process() -> bool:
    """Return whether this is the first of several processes, or the only one, as its launcher's environment says."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK"))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        digits = 1 if task.speed and task.speed < 10 else 0
        return Text(f"{task.speed:,.{digits}f}/s" if task.speed else "", style="progress.data.speed")
