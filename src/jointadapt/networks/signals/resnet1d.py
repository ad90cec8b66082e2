"""A small residual network of series."""

from collections.abc import Sequence

from torch import Tensor, nn

WIDTHS = (16, 32, 32)
KERNELS = (7, 5, 3)
LONGEST = 128  # samples that the blocks see at most; a first convolution strides over longer ones


class ResidualBlock(nn.Module):
    """Three convolutions beside a shortcut, then a ReLU. Source: Wang, Yan and Oates, IJCNN 2017, Fig. 1(c)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, kernel in enumerate(KERNELS):
            before = width if number else inputs
            layers += [nn.Conv1d(before, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm1d(width)]
            layers += [nn.ReLU(inplace=True)] if number < len(KERNELS) - 1 else []
        self.convolutions = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv1d(inputs, width, 1, bias=False), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width, time)."""
        return (self.convolutions(x) + self.shortcut(x)).relu()


def resnet1d(channels: int, time: int) -> tuple[nn.Sequential, Sequence[int]]:
    """Return a network of rows (channels, time), and the width of the one layer that it gives.

    A first convolution with a stride leaves at most 128 samples; three residual blocks, each halving the time, and the
    mean over time follow. Source: Wang, Yan and Oates, IJCNN 2017, a quarter as wide and with strides, for a CPU.

    >>> import torch
    >>> network, widths = resnet1d(2, 300)
    >>> network(torch.randn(3, 2, 300)).shape[1], widths
    (32, (32,))
    """
    stride = -(-time // LONGEST)
    first = nn.Conv1d(channels, WIDTHS[0], 4 * stride + 3, stride, padding=2 * stride + 1, bias=False)
    stages: list[nn.Module] = [first, nn.BatchNorm1d(WIDTHS[0]), nn.ReLU(inplace=True)]
    for before, width in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False):
        stages += [ResidualBlock(before, width), nn.MaxPool1d(2, ceil_mode=True)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool1d(1), nn.Flatten()), (WIDTHS[-1],)
