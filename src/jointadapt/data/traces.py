"""A signal → a picture of its trace."""

import torch
from PIL import Image, ImageDraw
from torch import Tensor

SIZE = 128  # pixels
FINE = 4  # times as large while it is drawn, then made smooth
MOST_CHANNELS = 8
INK = (11, 92, 138)


def trace(signal: Tensor) -> Image.Image:
    """Return a picture of a signal (channels, time), its first eight channels one below the other, each to its scale.

    >>> trace(torch.randn(2, 1000)).size
    (128, 128)
    """
    image = Image.new("RGB", (SIZE * FINE, SIZE * FINE), "white")
    draw = ImageDraw.Draw(image)
    lanes = signal[:MOST_CHANNELS]
    height = SIZE * FINE / len(lanes)
    for number, lane in enumerate(lanes):
        low, high = lane.min(), lane.max()
        up = (lane - (low + high) / 2) / (high - low).clamp_min(1e-12)  # in [−½, ½]
        across = torch.linspace(FINE, SIZE * FINE - FINE, len(lane))
        down = (number + 0.5 - 0.9 * up) * height
        points = torch.stack([across, down], 1).flatten().tolist()
        draw.line(points if len(lane) > 1 else points * 2, fill=INK, width=FINE)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
