"""The wish to stop: SIGINT and SIGTERM become a note that a loop reads where it can stop without loss."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ASKING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Give a list that receives the signals that ask the process to stop; the second one stops it at once."""
    requested: list[int] = []

    def note(number: int, frame: Any) -> None:  # noqa: ARG001
        if requested:
            raise KeyboardInterrupt
        requested.append(number)

    with handled(note, *ASKING):
        yield requested


@contextmanager
def handled(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
    """Give these signals to a handler, and afterwards to whoever had them before; in the main thread only."""
    try:
        before = {number: signal.signal(number, handler) for number in numbers}
    except ValueError:  # not the main thread: signals are not ours
        yield
        return
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
