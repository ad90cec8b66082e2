"""The two exceptions that a user causes: a mistake to mend, and a wish to stop."""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class UserError(ValueError):
    """A mistake in the input, reported in one line: what was expected, what came, what to do. The CLI exits with 2."""


class LostProcessError(UserError):
    """Another process of the run has ended, or is silent. The CLI exits with 2, at once.

    A thread may still wait for the lost one; an interpreter that tears its own process down under it is aborted.
    """


class Interrupted(Exception):  # noqa: N818
    """A signal ended the training, after a checkpoint was written. The CLI exits with 128 + the signal's number."""

    def __init__(self, number: int, folder: Path | None = None, message: str = "") -> None:
        super().__init__(message or f"stopped, with a checkpoint; go on with: jointadapt train --resume {folder}")
        self.number, self.folder = number, folder

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int, Path | None, str]]:
        return type(self), (self.number, self.folder, str(self))


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the first of some names, and whether there are more.

    >>> some(["a", "b", "c"], most=2)
    'a, b, …'
    """
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return an error for a name that is not known, with the nearest known ones.

    >>> print(unknown_name("method", "jam", ["jan", "dan", "dann"]))
    unknown method 'jam'; did you mean 'jan'?
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return UserError(f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, near))}?")
    return UserError(f"unknown {kind} {name!r}; known are {', '.join(known)}.")


def reason(error: BaseException) -> str:
    """Return what an error says, in one line of at most 160 characters; of the system's errors the words alone."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:160] or type(error).__name__


@contextmanager
def as_user_error(path: Path, what: str = "", mend: str = "") -> Iterator[None]:
    """Tell whatever goes wrong with reading a file as a `UserError` of one line.

    Libraries raise what they like on a broken file; all of it means the same to the user. A `UserError` passes as it
    is, and so does a full disk, which is no fault of the file.

    Args:
        path: the file.
        what: what it was read as, "as a table".
        mend: what to do about it.

    >>> with as_user_error(Path("a.csv"), "as a table"):
    ...     raise KeyError("x")
    Traceback (most recent call last):
    jointadapt.errors.UserError: a.csv cannot be read as a table ('x').
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        read = f"cannot be read{' ' if what else ''}{what} ({reason(error)})"
        raise UserError(f"{path} {read}{f'; {mend}' if mend else ''}.") from error
