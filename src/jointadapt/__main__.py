"""The command line: `jointadapt`, and `python -m jointadapt`. Loads nothing before it can be interrupted quietly."""

import gc
import os
import signal
from typing import Any


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, _leave)
    gc.set_threshold(50_000)  # from 700: modules that load make objects by the ten thousand, and leave no garbage
    from jointadapt.cli import main as run

    run()


def _leave(number: int, frame: Any) -> None:  # noqa: ARG001
    """End at once: nothing has begun."""
    with open(2, "wb", buffering=0, closefd=False) as errors:
        errors.write(b"jointadapt: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
