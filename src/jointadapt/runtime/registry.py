"""Things by name: rows of a table, entry points of installed packages, or an import path; loaded when they are used."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from jointadapt.errors import UserError, unknown_name

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Name → thing. A thing that is no row has the name "module:Name", by which it is found again.

    Args:
        kind: what an error calls a thing: "method".
        rows: name → "module:Name".
        group: of the entry points by which installed packages add theirs.
        fits: whether something from outside is such a thing.
        expected: what it has to be, in words: "a function".
    """

    def __init__(
        self,
        kind: str,
        rows: Mapping[str, str],
        group: str,
        fits: Callable[[Any], bool] = lambda _: True,
        expected: str = "",
    ) -> None:
        self.kind, self.rows, self.group, self.fits, self.expected = kind, rows, group, fits, expected
        self._own: dict[str, T] = {}

    @cached_property
    def installed(self) -> dict[str, EntryPoint]:
        """What installed packages add; a name of ours stays ours."""
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self.rows}

    def row(self, name: str) -> str | None:
        """Return the row "module:Name" of one of ours; None of any other."""
        return self.rows.get(name)

    def name_of(self, thing: Any) -> str:
        """Return the name of a thing, by which it is found again: a name as it is, else its row's or import path."""
        if isinstance(thing, str):
            return thing
        self._check_fits(repr(thing), thing)
        path = f"{thing.__module__}:{thing.__qualname__}"
        for name, row in self.rows.items():
            if row == path:
                return name
        self._own[path] = thing
        return path

    def check(self, name: str) -> None:
        """Raise a `UserError` for a name of nothing; what is named by a row is not loaded."""
        if name not in self.rows:
            self[name]

    def __getitem__(self, name: str) -> T:
        if name in self.rows:
            return _load(self.rows[name])
        if name in self._own:
            return self._own[name]
        if name in self.installed:
            return self._load(name, self.installed[name].value)
        if ":" in name:
            return self._load(name, name)
        raise unknown_name(self.kind, name, self)

    def _load(self, name: str, path: str) -> T:
        try:
            thing = _load(path)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"the {self.kind} {name!r} cannot be imported ({error}).") from error
        self._check_fits(repr(name), thing)
        return thing

    def _check_fits(self, name: str, thing: Any) -> None:
        if not self.fits(thing):
            raise UserError(f"the {self.kind} {name} has to be {self.expected}, or the name of one.")

    def __contains__(self, name: object) -> bool:
        return name in self.rows or name in self._own or name in self.installed

    def __iter__(self) -> Iterator[str]:
        return iter([*self.rows, *self.installed])

    def __len__(self) -> int:
        return len(self.rows) + len(self.installed)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    thing = import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing
