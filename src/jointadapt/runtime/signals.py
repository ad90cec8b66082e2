"""The wish to stop: SIGINT, SIGTERM and SIGHUP become a note that a loop reads where it can stop without loss."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

HANGUP = getattr(signal, "SIGHUP", None)  # the terminal is gone; Windows has none
ASKING = (signal.SIGINT, signal.SIGTERM) if HANGUP is None else (signal.SIGINT, signal.SIGTERM, HANGUP)


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
def interruptions() -> Iterator[list[int]]:
    """Let each signal that asks to stop raise a KeyboardInterrupt, so that what is held is let go; give their list.

    A process forked from this one keeps to the system's own way.
    """
    asked: list[int] = []
    process = os.getpid()

    def stop(number: int, frame: Any) -> None:  # noqa: ARG001
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        asked.append(number)
        raise KeyboardInterrupt

    with handled(stop, *ASKING):
        yield asked


@contextmanager
def handled(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
    """Give these signals to a handler, and afterwards to whoever had them before; in the main thread only.

    A hang-up that is ignored stays so: that is what nohup is for.
    """
    taken = [n for n in numbers if n != HANGUP or signal.getsignal(n) != signal.SIG_IGN]
    try:
        before = {number: signal.signal(number, handler) for number in taken}
    except ValueError:  # not the main thread: signals are not ours
        yield
        return
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
