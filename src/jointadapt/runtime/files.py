"""Files that are either whole or not there."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_cache_path

from jointadapt.errors import FULL_DISK, UserError

PART = ".part"
SETTLED = 2.0  # seconds; two changes within one tick of a disk's clock bear the same time


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it to `path`.

    A file that cannot be finished, as on a full disk, leaves no trace: what stood at `path` before still does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise UserError(
            f"{path.parent} cannot be written to ({error.strerror}); choose another --out, or --cache for features."
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    _flush_names(path.parent)


@contextmanager
def new_folder(path: Path, option: str = "--out") -> Iterator[Path]:
    """Give a folder beside `path` to be filled; when that went well it is renamed to `path`, else it leaves no trace.

    Args:
        path: a folder that is not there yet, or is empty.
        option: what an error calls the flag to choose another with.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()) or (path.is_dir() and any(path.iterdir())):
        raise UserError(f"{path} is there already; choose another {option}, or remove it first.")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART))
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise UserError(f"{path.parent} cannot be written to ({error.strerror}); choose another {option}.") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in path.absolute().parents:
            if parent == above:
                break
            with suppress(OSError):  # somebody else has put something there
                parent.rmdir()
        raise
    _flush_names(path.parent)


def _flush_names(folder: Path) -> None:
    """Flush a folder itself, so that a rename in it outlives a power failure; not every system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_part(path: Path) -> bool:
    """Return whether this is the temporary file of a writer."""
    return path.name.startswith(".") and path.suffix == PART


def remove_parts(folder: Path) -> None:
    """Remove what killed writers have left unfinished, in a folder that nobody else writes to."""
    for path in filter(is_part, folder.iterdir() if folder.is_dir() else ()):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def default_cache() -> Path:
    """Return where extracted features are kept: $JOINTADAPT_CACHE, else the user's cache folder."""
    return Path(os.environ.get("JOINTADAPT_CACHE") or user_cache_path("jointadapt"))


def content_digest(path: Path) -> str:
    """Return the SHA-256 of what a file holds; it is read once as long as nothing has touched it.

    Name, size and time of change do not tell that, as copies and archives set the time; the time at which the file's
    state changed, which nobody can set, does on POSIX.
    """
    state = path.stat()
    if os.name != "posix" or time.time() - state.st_ctime < SETTLED:
        return _sha256(path)
    return _known(path.resolve(), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@cache
def _known(path: Path, *_: int) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
