"""A method's name and options → the method, for layers of these widths; the sum of several. It loads no torch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jointadapt.errors import UserError
from jointadapt.methods.options import options_of
from jointadapt.methods.registry import METHODS, parts_of

if TYPE_CHECKING:
    from torch import Tensor

    from jointadapt.methods.base import Method


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


def check_method(name: str, trade_off: Any) -> tuple[Sequence[str], Sequence[Any]]:
    """Return the parts of a method and their trade-offs; a `UserError` for a name or a number of them that cannot be.

    >>> check_method("jan+mcc", "auto")
    (['jan', 'mcc'], ['auto', 'auto'])
    """
    parts = parts_of(name)
    if not isinstance(trade_off, Sequence) or isinstance(trade_off, str):
        return parts, [trade_off] * len(parts)
    if len(trade_off) != len(parts):
        raise UserError(
            f"trade_off has {len(trade_off)} values and {name} {len(parts)} part{'s'[: len(parts) > 1]}; give one for "
            "each part, or one for all."
        )
    return parts, trade_off
