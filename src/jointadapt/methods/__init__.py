"""Methods: one file each; `METHODS` is the only registry."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from jointadapt.errors import unknown_name
from jointadapt.methods.contract import ESTIMATORS, Method
from jointadapt.methods.dan import DAN
from jointadapt.methods.dann import DANN
from jointadapt.methods.ddc import DDC
from jointadapt.methods.jan import JAN
from jointadapt.methods.jan_a import JANA
from jointadapt.methods.source_only import SourceOnly

METHODS: dict[str, type[Method]] = {
    "source-only": SourceOnly,
    "ddc": DDC,
    "dan": DAN,
    "dann": DANN,
    "jan": JAN,
    "jan-a": JANA,
}

__all__ = ["ESTIMATORS", "METHODS", "Method", "build_method", "options_of"]


def options_of(name: str) -> tuple[str, ...]:
    """Return the names of a method's options.

    >>> options_of("dann")
    ('hidden',)
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    parameters = inspect.signature(METHODS[name].__init__).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def build_method(name: str, widths: Sequence[int], options: Mapping[str, Any]) -> Method:
    """Return the method of that name for layers of these widths, with those of the options that it has."""
    taken = {key: options[key] for key in options_of(name) if key in options}
    return METHODS[name](widths, **taken)  # pyright: ignore[reportCallIssue]
