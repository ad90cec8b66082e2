"""`Config` ↔ flags of the command line: one flag for each field, with its help and default from there."""

import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import click

from jointadapt.config import FIELDS, Config

HINTS = typing.get_type_hints(Config)
KINDS = {float: "NUMBER", int: "N", str: "TEXT"}


Command = Callable[..., None]


def config_flags(without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Return a decorator that gives a command a flag for each field but some.

    `--batch-size` sets `batch_size`; a truth has a `--no-` twin.
    """
    return lambda command: _add_flags(command, [name for name in FIELDS if name not in without])


def _add_flags(command: Command, names: Sequence[str]) -> Command:
    for name in reversed(names):
        field = FIELDS[name]
        described = typing.cast(Any, field.default)
        flag = f"--{name.replace('_', '-')}"
        text = described.description + (f" [{_shown(described.default)}]" if described.default != "" else "")
        if HINTS[name] is bool:
            option = click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
        else:
            option = click.option(flag, name, default=None, help=text, metavar=_metavar(HINTS[name]))
        command = option(command)
    return command


def read_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, their texts as numbers, lists or words, as `Config` wants them."""
    return {name: _read(HINTS[name], value) for name, value in flags.items() if value is not None}


def _read(hint: Any, value: Any) -> Any:
    if not isinstance(value, str) or hint is str:
        return value
    if typing.get_origin(hint) is tuple or "," in value:
        return tuple(_number(part) for part in value.replace(",", " ").split())
    return _number(value)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _metavar(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return "LIST"
    parts = (hint, *typing.get_args(hint))
    words = [word for part in parts if typing.get_origin(part) is Literal for word in typing.get_args(part)]
    words = words or [word for word in typing.get_args(hint) if isinstance(word, str)]
    lists = ["LIST" for part in parts if typing.get_origin(part) is tuple]
    return "|".join([*words, *(KINDS[part] for part in parts if part in KINDS), *lists])


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return ",".join(f"{part:g}" for part in default) if isinstance(default, tuple) else str(default)
