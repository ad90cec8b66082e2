"""torchvision, loaded without torch's compiler, on which its own import spends four fifths of its time."""

import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"


class _Later(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "is_compile_supported":  # all that torchvision asks for, when it loads, and calls when it compiles
            return _is_compile_supported
        return getattr(_real(), name)


def _is_compile_supported(device_type: str) -> bool:
    return _real().is_compile_supported(device_type)


def _real() -> ModuleType:
    if isinstance(sys.modules.get(COMPILER), _Later):
        del sys.modules[COMPILER]
    return import_module(COMPILER)


@cache
def vision() -> Any:
    """Return torchvision; of a later import of the compiler, by whomever, nothing is changed."""
    if "torchvision" in sys.modules or COMPILER in sys.modules:
        return import_module("torchvision")
    sys.modules[COMPILER] = _Later(COMPILER)
    try:
        return import_module("torchvision")
    finally:
        if isinstance(sys.modules.get(COMPILER), _Later):
            del sys.modules[COMPILER]
