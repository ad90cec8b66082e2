"""Batches from worker processes; when one of them is killed, others go on where it was."""

import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from jointadapt.errors import UserError
from jointadapt.runtime.main_guard import MEND, check_not_imported_again, unguarded_call

MOST_DEATHS = 3
DEATHS = ("is killed by signal", "exited unexpectedly")


def load(loader: Callable[[int], DataLoader], start: int, stop: int) -> Iterator[Any]:
    """Yield the batches start … stop − 1 of `loader(start)`; batches may depend on nothing but their number.

    A worker that is killed, as a system short of memory does, is reported, and the rest is loaded by new ones.
    """
    check_not_imported_again()
    deaths = 0
    while start < stop:
        try:
            for batch in _iterate(loader(start)):
                yield batch
                start += 1
            return
        except RuntimeError as error:
            if not any(words in str(error) for words in DEATHS):
                raise
            if (place := unguarded_call()) is not None:
                raise UserError(
                    "the processes that decode images could not start: each runs this program again from the top, up "
                    f"to {place}; {MEND}, or give workers=0."
                ) from error
            deaths += 1
            if deaths > MOST_DEATHS:
                raise UserError(
                    f"processes that decode images were killed {deaths} times ({str(error).splitlines()[0]}); is the "
                    "memory full? Try fewer --workers, 0 for none."
                ) from error
            warnings.warn("a process that decodes images was killed; a new one goes on.", stacklevel=2)


def _iterate(loader: DataLoader) -> Iterator[Any]:
    """Return the loader's iterator. torch would raise a worker's death anywhere in the program; here only as it waits.

    Torch sets a handler of SIGCHLD for that, once a process, in the main thread.
    """
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
    return batches
