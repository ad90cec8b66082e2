"""The states of all random generators that a training may draw from."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_turns = threading.RLock()


def rng_state() -> dict[str, Any]:
    """Return the states of all generators that a training may draw from: torch's on each device, NumPy's, Python's."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": (name, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "python": random.getstate(),
    }


def set_rng_state(states: dict[str, Any]) -> None:
    """Set the generators back to these states; those of CUDA only on a machine with as many devices.

    >>> before = rng_state()
    >>> drawn = torch.rand(()).item(), np.random.rand(), random.random()
    >>> set_rng_state(before)
    >>> drawn == (torch.rand(()).item(), np.random.rand(), random.random())
    True
    """
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))


@contextmanager
def preserved_rng_state() -> Iterator[None]:
    """Leave the caller's generators as they were, whatever is drawn or seeded within.

    All threads share the generators, so that threads which do this take turns.

    >>> before = torch.get_rng_state()
    >>> with preserved_rng_state():
    ...     drawn = torch.manual_seed(0), torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    with _turns:
        state = rng_state()
        try:
            yield
        finally:
            set_rng_state(state)
