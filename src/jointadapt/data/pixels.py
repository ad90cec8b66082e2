"""Arrays of images → channels first, white 1: which axis holds the channels and what value white has is never guessed.

Where the array leaves a doubt that its shape and values settle, a note says how it was read; where they don't settle
it, that is an error.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jointadapt.errors import UserError

CHANNELS = (1, 3, 4)  # grey, colour, colour with opacity
WHITE = 255.0
WHITE_16 = 65535.0
BRIGHT = 127  # floating-point values above it are of pixels from 0 to 255


class Pixels(NamedTuple):
    """Images (n, channels, h, w), what value had been white and is 1 now (1: values are as they were), and notes."""

    images: Tensor
    white: float
    notes: tuple[str, ...] = ()


def as_pixels(x: np.ndarray, name: str, said: bool) -> Pixels:
    """Return images of an array (n, h, w), (n, h, w, channels) or (n, channels, h, w).

    Integers are divided by what white is for them: 255, or 65,535 where 16 bits hold more. Floating-point values are
    divided by 255 where they reach from 0 to nearly that, and are left as they are else.

    Args:
        x: numbers.
        name: what people call the domain.
        said: the user says that these are images. Else three axes may be those of signals, and only values as images
            have them pass.

    >>> as_pixels(np.full((2, 8, 8, 3), 255, np.uint8), "photos", said=False).images.shape
    torch.Size([2, 3, 8, 8])
    """
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    white = _white(x, low, high)
    if x.ndim == 3 and not said and not (x.dtype.kind in "ub" or (white != 1 or 0 <= low <= high <= 1)):
        raise UserError(
            f"{name}: an array of shape {x.shape} with values from {low:g} to {high:g} may hold images (n, h, w) or "
            'signals (n, channels, time); say kind="images" or kind="signal" (--kind in the command line).'
        )
    axis = 3 if x.ndim == 3 else _channel_axis(x.shape, name)
    images = torch.from_numpy(np.ascontiguousarray(x[..., None] if x.ndim == 3 else np.moveaxis(x, axis, 1), "f4"))
    images = images.movedim(3, 1).contiguous() if x.ndim == 3 else images
    notes = tuple(_notes(x, axis, white, low, high, said))
    return Pixels(images / white if white != 1 else images, white, tuple(f"{name}: {note}" for note in notes))


def _white(x: np.ndarray, low: float, high: float) -> float:
    """Return the value of white; 1 where values are no integers of pixels, or are left as they are."""
    if low < 0 or high <= 1 or x.dtype.kind == "b":
        return 1.0
    if x.dtype.kind == "f":
        return WHITE if BRIGHT < high <= WHITE else 1.0
    return WHITE if high <= WHITE else WHITE_16 if x.dtype == np.uint16 else 1.0


def _channel_axis(shape: Sequence[int], name: str) -> int:
    """Return which of four axes is that of the channels: the one of 1, 3 or 4 values, or else the one beside a square.

    >>> _channel_axis((9, 3, 8, 8), "photos"), _channel_axis((9, 8, 8, 13), "satellite")
    (1, 3)
    """
    _, first, middle, last = shape
    found = [axis for axis in (1, 3) if shape[axis] in CHANNELS]
    if len(found) != 1:
        found = [axis for axis, square in ((1, middle == last != first), (3, first == middle != last)) if square]
    if len(found) != 1:
        raise UserError(
            f"{name}: which axis of {tuple(shape)} holds the channels? Images have shape (n, h, w, channels) or "
            "(n, channels, h, w) with 1, 3 or 4 channels, or are square; of grey ones leave that axis out, (n, h, w)."
        )
    return found[0]


def _notes(x: np.ndarray, axis: int, white: float, low: float, high: float, said: bool) -> list[str]:
    """Return how images were read, where that is not what such an array means anyway."""
    notes = []
    if axis == 1:
        notes.append(f"read as images of {x.shape[2]} × {x.shape[3]} pixels with {x.shape[1]} channels, these first.")
    elif x.shape[-1] not in CHANNELS and x.ndim == 4:
        notes.append(f"read as images of {x.shape[1]} × {x.shape[2]} pixels with {x.shape[3]} channels, these last.")
    elif x.ndim == 3 and not said and x.dtype.kind not in "ub":
        notes.append(
            f'read as grey images of {x.shape[1]} × {x.shape[2]} pixels; if they are signals, say kind="signal".'
        )
    if white != 1 and x.dtype != np.uint8:
        notes.append(f"values from {low:g} to {high:g} of type {x.dtype} were divided by {white:g}, as of pixels.")
    elif x.dtype.kind in "iu" and white == 1 and (low, high) != (0, 0):
        notes.append(f"integers from {low:g} to {high:g} were left as they are.")
    return notes
