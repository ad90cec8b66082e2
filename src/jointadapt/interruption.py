"""The wish to stop: SIGINT and SIGTERM become a note that a loop reads where it can stop without loss."""

import signal
from collections.abc import Iterator
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

    try:
        before = {number: signal.signal(number, note) for number in ASKING}
    except ValueError:  # not the main thread: signals are not ours
        yield requested
        return
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
