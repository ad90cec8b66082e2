"""A small InceptionTime: convolutions of several lengths side by side."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FILTERS = 8  # of each branch
KERNELS = (5, 11, 23)
MODULES = 3
LONGEST = 128  # samples that the modules see at most


class InceptionModule(nn.Module):
    """A bottleneck, then convolutions of three lengths and a pooled branch side by side.

    Source: Fawaz et al., Data Mining and Knowledge Discovery 2020, Fig. 2.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(inputs, FILTERS, 1, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv1d(FILTERS, FILTERS, kernel, padding=kernel // 2, bias=False) for kernel in KERNELS
        )
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, padding=1), nn.Conv1d(inputs, FILTERS, 1, bias=False))
        self.norm = nn.BatchNorm1d(FILTERS * (len(KERNELS) + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 32, time)."""
        narrow = self.bottleneck(x)
        return self.norm(torch.cat([*(branch(narrow) for branch in self.branches), self.pooled(x)], 1)).relu()


class Inception(nn.Module):
    """Three modules beside one shortcut, and the mean over time."""

    def __init__(self, channels: int, time: int) -> None:
        super().__init__()
        stride, width = -(-time // LONGEST), FILTERS * (len(KERNELS) + 1)
        first = nn.Conv1d(channels, width, 4 * stride + 3, stride, padding=2 * stride + 1, bias=False)
        self.first = nn.Sequential(first, nn.BatchNorm1d(width), nn.ReLU(inplace=True))
        self.inception = nn.Sequential(*(InceptionModule(width) for _ in range(MODULES)))
        self.shortcut = nn.Sequential(nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 32)."""
        x = self.first(x)
        return (self.inception(x) + self.shortcut(x)).relu().mean(2)


def inception1d(channels: int, time: int) -> tuple[nn.Module, Sequence[int]]:
    """Return a network of rows (channels, time), and the width of the one layer that it gives.

    A first convolution with a stride leaves at most 128 samples. Source: InceptionTime, Fawaz et al., Data Mining and
    Knowledge Discovery 2020, a quarter as wide and half as deep, and one network instead of five, for a CPU.

    >>> network, widths = inception1d(2, 300)
    >>> network(torch.randn(3, 2, 300)).shape[1], widths
    (32, (32,))
    """
    return Inception(channels, time), (FILTERS * (len(KERNELS) + 1),)
