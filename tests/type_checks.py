"""Check the types of arguments and results as jaxtyping's import hook does, at less cost.

The hook (`--jaxtyping-packages`) checks arguments twice and binds each call to its signature, so that shapes agree
among arguments and result. A function without a shape in its signature needs none of it: beartype alone checks it.
"""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, get_args, get_origin

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

_by_shape = jaxtyping.jaxtyped
_by_type = beartype(conf=BeartypeConf(violation_type=TypeError))


def install() -> None:
    """Take the place of what the hook puts above each function and class."""
    jaxtyping.jaxtyped = _checked


def _checked(checked: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    if checked is None:
        return partial(_checked, typechecker=typechecker)
    if inspect.isclass(checked):
        made = vars(checked).get("__init__")
        if dataclasses.is_dataclass(checked) and made is not None and not hasattr(made, "__wrapped__"):
            checked.__init__ = _checked(made, typechecker=typechecker)
        return checked
    if inspect.isfunction(checked) and not any(map(_needs_shapes, checked.__annotations__.values())):
        return _by_type(checked)
    return _by_shape(checked, typechecker=typechecker)


def _needs_shapes(hint: Any) -> bool:
    """Tell whether a shape is in a hint, or may be: in quotes a name may be imported for the type checker alone."""
    if isinstance(hint, str):
        return True
    if get_origin(hint) is Literal:
        return False
    parts = hint if isinstance(hint, list) else get_args(hint)[: 1 if get_origin(hint) is Annotated else None]
    return (inspect.isclass(hint) and issubclass(hint, AbstractArray)) or any(map(_needs_shapes, parts))
