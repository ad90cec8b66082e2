"""What an option is: its name, type, default and help, who has it, and what it decides. It loads no torch.

An option is declared once, where it is used: as a keyword-only parameter of a constructor, or as a field, annotated
with `Annotated[type, "help"]`. Flags, checks, listings and keys are made from that.
"""

import ast
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from enum import StrEnum
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError

from jointadapt.errors import UserError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positives = Annotated[Sequence[Positive], Field(min_length=1)]


class Kind(StrEnum):
    """What an option decides: where things lie, how numbers are computed, or the numbers themselves."""

    PLACE = "place"
    MACHINE = "machine"
    NUMBER = "number"


class _PythonOnly:
    """Marks an option that only Python can give, as it is an object; it is no flag."""


PYTHON_ONLY = _PythonOnly()


@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        hint: its type, as annotated.
        owners: who has it; the names of methods, or the section of the run's own options.
    """

    name: str
    hint: Any
    default: Any
    help: str = ""
    owners: tuple[str, ...] = ()
    kind: Kind = Kind.NUMBER

    @classmethod
    def of(cls, name: str, hint: Any, default: Any) -> "Option":
        """Return the option that an annotation declares: its help is the text in it, its kind the `Kind`, if any."""
        words = getattr(hint, "__metadata__", ())
        helps = [word for word in words if isinstance(word, str) and not isinstance(word, Kind)]
        kinds = [word for word in words if isinstance(word, Kind)]
        return cls(name, hint, default, helps[0] if helps else "", kind=kinds[0] if kinds else Kind.NUMBER)

    @property
    def flag(self) -> str:
        """The name as a flag of the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def python_only(self) -> bool:
        """Whether its value is an object that no text can name."""
        return PYTHON_ONLY in getattr(self.hint, "__metadata__", ())

    def check(self, value: Any) -> Any:
        """Return the value as the option's type has it; a wrong one is a `UserError` of one line.

        NumPy's numbers, texts and arrays are what they hold.
        """
        value = _without_numpy(value)
        if self.python_only and isinstance(value, str):
            raise UserError(f"{self.name} = {value!r}: it is an object, which only Python can give, and no text.")
        if self._type is None:
            return value
        try:
            return self._type.validate_python(value)
        except ValidationError as error:
            reasons = dict.fromkeys(fault["msg"].lower() for fault in error.errors())
            raise UserError(f"{self.name} = {value!r}: {', or '.join(reasons)}.") from error

    @cached_property
    def _type(self) -> Any:
        try:
            return TypeAdapter(self.hint, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:  # a type that brings rules of its own, or none
            return None


def _without_numpy(value: Any) -> Any:
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return type(value)(map(_without_numpy, value)) if type(value) in (list, tuple) else value


def merge(groups: Iterable[tuple[str, Iterable[Option]]]) -> dict[str, Option]:
    """Return the options of several owners by name, each with all that have it.

    >>> width = Option("width", int, 3)
    >>> merge([("a", [width]), ("b", [width])])["width"].owners
    ('a', 'b')
    """
    found: dict[str, Option] = {}
    for owner, options in groups:
        for option in options:
            known = found.get(option.name, option)
            found[option.name] = replace(known, owners=(*known.owners, owner))
    return found


def options_of_fields(cls: type) -> list[Option]:
    """Return the options that the annotated fields of a dataclass declare; owned by the class that declares each.

    The first line of that class's docstring is the owner's name.
    """
    owner = {
        name: (base.__doc__ or base.__name__).splitlines()[0]
        for base in reversed(cls.__mro__)
        for name in vars(base).get("__annotations__", {})
    }
    hints = typing.get_type_hints(cls, include_extras=True)
    options = [Option.of(field.name, hints[field.name], field.default) for field in fields(cls)]  # pyright: ignore[reportArgumentType]
    return [replace(option, owners=(owner[option.name],)) for option in options if option.default is not MISSING]


# What a constructor's signature declares, read from a class that is loaded, or from source that is not run

Parameters = dict[str, Option]


def options_of_class(cls: type) -> tuple[Option, ...]:
    """Return the options of a class: the keyword-only parameters of its constructor.

    A constructor that takes `**options` passes them on, and so has those of the class it inherits from as well.
    """
    found: list[Parameters] = []
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        constructor = vars(base)["__init__"]
        parameters = inspect.signature(constructor).parameters.values()
        hints = typing.get_type_hints(constructor, include_extras=True)
        own = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        found.append({p.name: Option.of(p.name, hints.get(p.name, Any), p.default) for p in own})
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return _inherited(found)


@cache
def options_in_source(row: str) -> tuple[Option, ...]:
    """Return what `options_of_class` would of a class "module:Name", by its source: the module is not loaded.

    Only what annotations and defaults name is loaded, from the modules it is imported from.
    """
    found: list[Parameters] = []
    module, name = row.split(":")
    while True:
        source = _Source.of(module)
        node = source.nodes[name]
        if not isinstance(node, ast.ClassDef):
            module, name = node
            continue
        constructor = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if constructor is not None:
            found.append(dict(source.parameters(constructor)))
            if constructor.args.kwarg is None:
                return _inherited(found)
        if not node.bases or not isinstance(node.bases[0], ast.Name):
            return _inherited(found)
        name = node.bases[0].id


@cache
def docstring_in_source(row: str) -> str:
    """Return the docstring of a class "module:Name", which is not loaded."""
    module, name = row.split(":")
    node = _Source.of(module).nodes[name]
    return (ast.get_docstring(node) or "") if isinstance(node, ast.ClassDef) else ""


def _inherited(found: Iterable[Parameters]) -> tuple[Option, ...]:
    """Return the options of a line of classes, the class itself first; inherited ones come first."""
    merged: Parameters = {}
    for parameters in reversed([*found]):
        merged = {**{name: option for name, option in merged.items() if name not in parameters}, **parameters}
    return tuple(merged.values())


class _Source(Mapping[str, Any]):
    """The names of a module by its source; what one of them is worth is found when it is asked for.

    A name from a module beside it is read there; one from elsewhere is loaded.
    """

    def __init__(self, module: str) -> None:
        self.package = module.rpartition(".")[0]
        spec = find_spec(module)
        text = getattr(spec and spec.loader, "get_source")(module)  # noqa: B009
        self.nodes: dict[str, Any] = {}
        for node in ast.parse(text).body:
            match node:
                case ast.ImportFrom(module=str(there)):
                    self.nodes |= {alias.asname or alias.name: (there, alias.name) for alias in node.names}
                case ast.ClassDef():
                    self.nodes[node.name] = node
                case ast.Assign(targets=[ast.Name(id=name)]):
                    self.nodes[name] = node.value

    @classmethod
    def of(cls, module: str) -> "_Source":
        """Return the source of a module, read once."""
        return _source(module)

    def __getitem__(self, name: str) -> Any:
        node = self.nodes[name]
        if not isinstance(node, tuple):
            return self.value(node)
        module, name = node
        beside = module.rpartition(".")[0] == self.package
        return _Source.of(module)[name] if beside else getattr(import_module(module), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def value(self, node: ast.expr | None) -> Any:
        """Return what an annotation or a default is worth."""
        if node is None:
            return Any
        return eval(compile(ast.Expression(node), "<option>", "eval"), {}, self)

    def parameters(self, constructor: ast.FunctionDef) -> Iterator[tuple[str, Option]]:
        """Yield the keyword-only parameters of a constructor."""
        arguments = constructor.args
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            value = inspect.Parameter.empty if default is None else self.value(default)
            yield argument.arg, Option.of(argument.arg, self.value(argument.annotation), value)


@cache
def _source(module: str) -> _Source:
    return _Source(module)
