"""A checkpoint: all that a run needs to resume, in one file with a digest of its content."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from jointadapt.errors import UserError
from jointadapt.runtime.files import write_atomically

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
