"""One thread in the numerical libraries below NumPy and scikit-learn, where sums are to come in one order."""

import sys
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Return a context within which BLAS and OpenMP work in one thread: the same sums to the bit on every call."""
    return _controller(len(sys.modules)).limit(limits=1)


@lru_cache(maxsize=1)
def _controller(modules: int) -> ThreadpoolController:  # noqa: ARG001
    """Return what was found among the loaded libraries; looking takes milliseconds, so only after imports."""
    return ThreadpoolController()
