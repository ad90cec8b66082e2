"""The two exceptions that a user causes: a mistake to mend, and a wish to stop."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(ValueError):
    """A mistake in the input, told in one line: what was expected, what came, what to do. The CLI exits with 2."""


class Interrupted(Exception):  # noqa: N818
    """A signal ended the training, after a checkpoint was written. The CLI exits with 128 + the signal's number."""

    def __init__(self, number: int, folder: Path | None = None, message: str = "") -> None:
        super().__init__(message or f"stopped, with a checkpoint; go on with: jointadapt train --resume {folder}")
        self.number, self.folder = number, folder

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int, Path | None, str]]:
        return type(self), (self.number, self.folder, str(self))


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
