"""Options ↔ flags of the command line: one flag for each, with its help, its type and its default, under its owner."""

import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import click

from jointadapt.config import RUN_OPTIONS
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions
from jointadapt.methods.options import all_options, options_of
from jointadapt.runtime.options import Option

LISTS = (tuple, list, Sequence)
KINDS = {float: "NUMBER", int: "N", str: "TEXT"}

Command = Callable[..., None]


class GroupedCommand(click.Command):
    """A command whose `--help` lists its options by their owners."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give the command the flags of methods that are named by an import path, too."""
        known = {parameter.name for parameter in self.params}
        for option in _imported_options(args).values():
            if option.name not in known:
                self.params.append(_flag(option))
        return super().parse_args(ctx, args)


class _Flag(click.Option):
    """A flag that knows the section of its owner."""

    def __init__(self, option: Option, *declared: Any, **settings: Any) -> None:
        super().__init__(*declared, **settings)
        own = option.name in RUN_OPTIONS
        self.option, self.section = option, option.owners[0] if own else f"Options of {', '.join(option.owners)}"


def option_flags(without: type | None = None) -> Callable[[Command], Command]:
    """Return a decorator that gives a command a flag for each option of a run, and of every method.

    `--batch-size` sets `batch_size`; a truth has a `--no-` twin.

    Args:
        without: the class of `config.py` whose options are left out.
    """

    def decorate(command: Command) -> Command:
        left_out = getattr(without, "__annotations__", {})
        run = [option for name, option in RUN_OPTIONS.items() if name not in left_out]
        by_owners = sorted(all_options().values(), key=lambda option: -len(option.owners))
        flags = [_flag(option) for option in (*run, *by_owners) if not option.python_only]
        typing.cast(Any, command).__click_params__ = [*flags[::-1], *getattr(command, "__click_params__", [])]
        return command

    return decorate


def input_flags(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that gives a command the flags of these options of a run's input (`take_inputs`)."""

    def decorate(command: Command) -> Command:
        flags = [_flag(RUN_OPTIONS[name]) for name in names]
        typing.cast(Any, command).__click_params__ = [*flags[::-1], *getattr(command, "__click_params__", [])]
        return command

    return decorate


def take_inputs(options: dict[str, Any]) -> dict[str, Any]:
    """Return, and take out of the options of a command, those of the input that were given."""
    names = [name for name in options if name in InputOptions.__dataclass_fields__]
    given = {name: value for name in names if (value := options.pop(name)) not in (None, ())}
    return {name: RUN_OPTIONS[name].check(value) for name, value in given.items()}


def model_flags(command: Command) -> Command:
    """Give a command the flags for what a run's model cannot find: `Model.load`'s own arguments."""
    backbone = click.option("--backbone", help="Your own backbone, if the run was trained with one: module:factory.")
    weights = click.option("--weights", help="Weights file of the run's frozen backbone, if it has moved.")
    return backbone(weights(command))


def read_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, their texts as numbers, lists or words, as their options want them."""
    known = {**all_options(), **RUN_OPTIONS}
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    return {name: _read(known[name].hint if name in known else Any, value) for name, value in given.items()}


def type_of(option: Option) -> str:
    """Return what an option takes, in words: "mean|median|NUMBER".

    >>> type_of(Option("bandwidth", float | typing.Literal["mean"], 1.0))
    'mean|NUMBER'
    """
    return "|".join(sorted(dict.fromkeys(_words(option.hint)), key=_rank)) or "VALUE"


def repeats(option: Option) -> bool:
    """Return whether an option is a text, or several: a flag that may be given more than once."""
    return {*typing.get_args(_bare(option.hint))} == {str, tuple[str, ...]}


def default_of(option: Option) -> str:
    """Return an option's default as it would be given."""
    if isinstance(option.default, bool):
        return "yes" if option.default else "no"
    if isinstance(option.default, tuple | list):
        return ",".join(f"{part:g}" for part in option.default)
    return str(option.default)


def _flag(option: Option) -> _Flag:
    text = option.help + ("" if option.default in ("", None) else f" [{default_of(option)}]")
    settings: dict[str, Any] = {"default": None, "help": text.strip()}
    if repeats(option):
        return _Flag(option, [option.flag, option.name], multiple=True, metavar="TEXT", **settings)
    if bool in (_bare(option.hint), *typing.get_args(_bare(option.hint))):
        return _Flag(option, [f"{option.flag}/--no-{option.flag[2:]}", option.name], **settings)
    return _Flag(option, [option.flag, option.name], metavar=type_of(option), **settings)


def _imported_options(args: Sequence[str]) -> dict[str, Option]:
    """Return the options of the methods that arguments name by an import path, "module:Name"."""
    texts = [arg.partition("=")[2] for arg in args if arg.startswith(("--method=", "--methods="))]
    texts += [after for arg, after in pairwise(args) if arg in ("--method", "--methods")]
    names = {name: None for text in texts for name in text.replace("+", ",").split(",") if ":" in name}
    try:
        return options_of("+".join(names)) if names else {}
    except UserError as error:
        raise click.UsageError(str(error)) from error


def _read(hint: Any, value: Any) -> Any:
    if not isinstance(value, str) or _bare(hint) is str:
        return value
    if typing.get_origin(_bare(hint)) in LISTS or "," in value:
        return tuple(_number(part) for part in value.replace(",", " ").split())
    return _number(value)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _words(hint: Any) -> Iterable[str]:
    """Yield the words of a type: those of literals, the kinds of numbers and texts, LIST."""
    hint = _bare(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            yield from map(str, typing.get_args(hint))
        case listed if listed in LISTS:
            yield "LIST"
        case union if union in (typing.Union, types.UnionType):
            for part in typing.get_args(hint):
                yield from _words(part)
        case _:
            yield from [KINDS[hint]] if hint in KINDS else []


def _rank(word: str) -> int:
    return [*KINDS.values(), "LIST"].index(word) + 1 if word in (*KINDS.values(), "LIST") else 0
