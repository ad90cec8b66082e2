"""A name, or names joined by +, → the method: its options, its trade-offs, the method itself. It loads no torch."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jointadapt.errors import UserError
from jointadapt.runtime.options import (
    Option,
    docstring_in_source,
    merge,
    options_in_source,
    options_of_class,
)
from jointadapt.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from jointadapt.methods.base import Method


def _is_method(thing: Any) -> bool:
    from jointadapt.methods.base import Method

    return isinstance(thing, type) and issubclass(thing, Method)


METHODS: "Registry[type[Method]]" = Registry(
    "method",
    {
        "source-only": "jointadapt.methods.source_only:SourceOnly",
        "ddc": "jointadapt.methods.ddc:DDC",
        "dan": "jointadapt.methods.dan:DAN",
        "dann": "jointadapt.methods.dann:DANN",
        "jan": "jointadapt.methods.jan:JAN",
        "jan-a": "jointadapt.methods.jan:JANA",
        "rtn": "jointadapt.methods.rtn:RTN",
        "ujmmd": "jointadapt.methods.unified:UnifiedJMMD",
        "lmmd": "jointadapt.methods.unified:LMMD",
        "coral": "jointadapt.methods.coral:CORAL",
        "cdan": "jointadapt.methods.cdan:CDAN",
        "cdan-e": "jointadapt.methods.cdan:CDANE",
        "mcd": "jointadapt.methods.mcd:MCD",
        "mdd": "jointadapt.methods.mdd:MDD",
        "nwd": "jointadapt.methods.nwd:NWD",
        "mcc": "jointadapt.methods.mcc:MCC",
        "bnm": "jointadapt.methods.bnm:BNM",
        "im": "jointadapt.methods.im:IM",
        "entropy": "jointadapt.methods.entropy:Entropy",
        "afn": "jointadapt.methods.afn:AFN",
        "fixmatch": "jointadapt.methods.fixmatch:FixMatch",
        "shot": "jointadapt.methods.shot:SHOT",
    },
    group="jointadapt.methods",
    fits=_is_method,
    expected="a subclass of jointadapt.methods.Method",
)
BASELINE = "source-only"  # the method that every other is compared with
AUTO = "auto"  # trains its candidates and the baseline, and combines them, or chooses, without target labels
CANDIDATES = ("mcc", "jan+mcc", "shot")


def options_of(name: str) -> dict[str, Option]:
    """Return a method's options by name; of a sum of methods those of all its parts, of "auto" its candidates'.

    >>> [*options_of("dann")], [*options_of("dann+mcc")]
    (['discriminator_width'], ['discriminator_width', 'mcc_temperature'])
    """
    return merge((part, _declared(part)) for part in _parts_of(name))


def all_options() -> dict[str, Option]:
    """Return the options of all methods by name, each with the names of the methods that have it."""
    return merge((name, _declared(name)) for name in METHODS)


def describe(name: str) -> str:
    """Return the docstring of a method's class."""
    row = METHODS.row(name)
    return docstring_in_source(row) if row else inspect.cleandoc(METHODS[name].__doc__ or "")


def build_method(
    name: str, widths: Sequence[int], options: Mapping[str, Any], class_shares: "Tensor | None" = None
) -> "Method":
    """Return the method of that name for layers of these widths, with those of the options that it has.

    "jan+mcc" is the sum of both. The option `trade_off` is λ, for a sum of each part: one number for all of them, or as
    many as there are parts; "auto" leaves each method its own. `class_shares` (classes,) are the target's, as far as
    they are known.
    """
    from jointadapt.methods.combined import Combined

    names, trade_offs = check_method(name, options.get("trade_off", "auto"))
    methods = []
    for part, weight in zip(names, trade_offs, strict=True):
        taken = {key: option.check(options[key]) for key, option in options_of(part).items() if key in options}
        method = METHODS[part](widths, **taken)
        method.class_shares = class_shares
        method.trade_off = method.trade_off if weight == "auto" else weight
        methods.append(method)
    return methods[0] if len(methods) == 1 else Combined(methods)


def method_title(name: str) -> str:
    """Return a method's name as sentences and headings have it: in the letter case of its class, which is its paper's.

    Tables, files and flags have the name itself, which differs in letter case only. A name that is no method's, or not
    spelt as its class, stays as it is. An import path is shown as the name of the class.

    >>> method_title("fixmatch"), method_title("jan-a+mcc"), method_title("auto: im"), method_title("source-only")
    ('FixMatch', 'JAN-A+MCC', 'auto: IM', 'source-only')
    >>> method_title("my_package.methods:MeanMatching+mcc")
    'MeanMatching+MCC'
    """
    return re.sub(r"(?:[\w.]+:[\w.<>]*?)?([\w-]+)(?![\w.<>-])", lambda found: _title(found[1]), name)


def _title(name: str) -> str:
    letters = (METHODS.row(name) or "").rpartition(":")[2]
    if name == BASELINE or letters.lower() != name.replace("-", ""):
        return name
    cased = iter(letters)
    return "".join(next(cased) if letter != "-" else letter for letter in name)


def is_source_free(name: str) -> bool:
    """Return whether a method looks at no source row, and so starts from the source-only model.

    >>> is_source_free("shot"), is_source_free("shot+jan")
    (True, False)
    """
    return name != AUTO and not any(METHODS[part].needs.source for part in _parts_of(name))


def takes_runs(name: str) -> bool:
    """Return whether runs of a method may be trained as one, with others that do: as its class declares it.

    >>> takes_runs("jan+mcc"), takes_runs("dann")
    (True, False)
    """
    return name != AUTO and all(vars(METHODS[part]).get("stacks_by") is not None for part in _parts_of(name))


def check_method(name: str, trade_off: Any) -> tuple[Sequence[str], Sequence[Any]]:
    """Return the parts of a method and their trade-offs; a `UserError` for a name or a number of them that cannot be.

    >>> check_method("jan+mcc", "auto")
    (['jan', 'mcc'], ['auto', 'auto'])
    """
    parts = _parts_of(name)
    if not isinstance(trade_off, Sequence) or isinstance(trade_off, str):
        return parts, [trade_off] * len(parts)
    if len(trade_off) != len(parts):
        raise UserError(
            f"trade_off has {len(trade_off)} values and {name} {len(parts)} part{'s'[: len(parts) > 1]}; give one for "
            "each part, or one for all."
        )
    return parts, trade_off


def _parts_of(name: str) -> list[str]:
    if name == AUTO:
        return [*dict.fromkeys(part for candidate in CANDIDATES for part in candidate.split("+"))]
    parts = name.split("+")
    for part in parts:
        METHODS.check(part)
    return parts


def _declared(name: str) -> tuple[Option, ...]:
    """Return the options that a method declares; one of ours is read, not loaded."""
    row = METHODS.row(name)
    return options_in_source(row) if row else options_of_class(METHODS[name])
