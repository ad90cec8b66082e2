"""Torch as it starts: what the caller has set for a program of their own does not reach a computation of ours."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_lock = threading.Lock()
_callers: list[torch.dtype] = []
"""The default dtype that each computation in progress found; the first of them is the caller's own."""


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Compute in float32, on the CPU unless said otherwise, with gradients and without autocast; then as before.

    The default dtype belongs to all threads: it is set back when the last computation in progress ends.

    >>> torch.set_default_dtype(torch.float64)
    >>> with torch.inference_mode(), torch_defaults():
    ...     torch.zeros(1, requires_grad=True).dtype
    torch.float32
    >>> torch.get_default_dtype()
    torch.float64
    >>> torch.set_default_dtype(torch.float32)
    """
    with _float32(), torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        if torch.get_default_device().type != "cpu":  # a context slows every call a little
            stack.enter_context(torch.device("cpu"))
        for device in ("cpu", "cuda", "mps"):
            if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def _float32() -> Iterator[None]:
    with _lock:
        _callers.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _lock:
            before = _callers.pop()
            torch.set_default_dtype(before)
