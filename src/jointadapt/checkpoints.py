"""A checkpoint: all that a run needs to go on, in one file that proves itself whole."""

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jointadapt.data.files import write_atomically
from jointadapt.errors import UserError

SEAL = b"sha256:"
SEAL_LENGTH = len(SEAL) + 64


class DamagedCheckpoint(UserError):  # noqa: N818
    """A checkpoint that is not what was once written; the run can go on from the one before."""


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and text, as `torch.save` does, and behind them the digest of it all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()

    def write(file: Any) -> None:
        file.write(content)
        file.write(_seal(content))

    write_atomically(path, write)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what was written, on the CPU: only if the digest is right, and read with `weights_only=True`."""
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read ({error.strerror})") from error
    if content[-SEAL_LENGTH:] != _seal(content[:-SEAL_LENGTH]):
        raise DamagedCheckpoint(f"{path} is damaged: its content does not fit its digest")
    try:
        return torch.load(io.BytesIO(content[:-SEAL_LENGTH]), map_location="cpu", weights_only=True)
    except Exception as error:
        # pickle, zipfile and torch each have errors of their own for a foreign file.
        raise DamagedCheckpoint(f"{path} is no checkpoint ({' '.join(str(error).split())[:160]})") from error


def _seal(content: memoryview) -> bytes:
    return SEAL + hashlib.sha256(content).hexdigest().encode()


def chance() -> dict[str, Any]:
    """Return the states of all generators that a training may draw from: torch's on each device, NumPy's, Python's."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": (name, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "python": random.getstate(),
    }


def set_chance(states: dict[str, Any]) -> None:
    """Set the generators back to these states; those of CUDA only on a machine with as many devices.

    >>> before = chance()
    >>> drawn = torch.rand(()).item(), np.random.rand(), random.random()
    >>> set_chance(before)
    >>> drawn == (torch.rand(()).item(), np.random.rand(), random.random())
    True
    """
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
