"""A name, or names joined by +, → the method: its options, its trade-offs, the method itself."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from jointadapt.errors import UserError, unknown_name
from jointadapt.methods import METHODS, Method
from jointadapt.methods.combined import Combined


def options_of(name: str) -> tuple[str, ...]:
    """Return the names of a method's options; of a sum of methods those of all its parts.

    >>> options_of("dann"), options_of("dann+mcc")
    (('hidden',), ('hidden', 'temperature'))
    """
    found = [
        option.name
        for part in _parts_of(name)
        for option in inspect.signature(METHODS[part].__init__).parameters.values()
        if option.kind is option.KEYWORD_ONLY
    ]
    return tuple(dict.fromkeys(found))


def build_method(name: str, widths: Sequence[int], options: Mapping[str, Any]) -> Method:
    """Return the method of that name for layers of these widths, with those of the options that it has.

    "jan+mcc" is the sum of both. The option `trade_off` is λ, for a sum of each part: one number for all of them, or as
    many as there are parts; "auto" leaves each method its own.
    """
    names, trade_offs = check_method(name, options.get("trade_off", "auto"))
    methods = []
    for part, weight in zip(names, trade_offs, strict=True):
        taken = {key: options[key] for key in options_of(part) if key in options}
        method = METHODS[part](widths, **taken)  # pyright: ignore[reportCallIssue]
        method.trade_off = method.trade_off if weight == "auto" else weight
        methods.append(method)
    return methods[0] if len(methods) == 1 else Combined(methods)


def is_source_free(name: str) -> bool:
    """Return whether a method looks at no source row, and so starts from the source-only model.

    >>> is_source_free("shot"), is_source_free("shot+jan")
    (True, False)
    """
    return not any(METHODS[part].uses_source for part in _parts_of(name))


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
    parts = name.split("+")
    for part in parts:
        if part not in METHODS:
            raise unknown_name("method", part, METHODS)
    return parts
