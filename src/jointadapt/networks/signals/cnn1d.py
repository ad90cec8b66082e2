"""A small convolutional network whose first kernel is wide, as machine signals want it."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

FIRST_STRIDE = 16  # of a first kernel four times as long
WIDTHS = (16, 32, 64, 64)
POOLED = 4


def cnn1d(channels: int, time: int) -> tuple[nn.Sequential, Sequence[int]]:
    """Return a network of rows (channels, time), and the width of the one layer that it gives.

    Its first kernel spans 64 samples, so that it acts as a bank of band-pass filters and does not learn the noise;
    three narrow convolutions follow, each halving the time. Shorter series get a shorter first kernel and stride, so
    that some 32 samples or more are left after it. Source: WDCNN, Zhang, Peng, Li, Chen and Zhang, Sensors 2017.

    >>> import torch
    >>> network, widths = cnn1d(2, 1024)
    >>> network(torch.randn(3, 2, 1024)).shape[1], widths
    (256, (256,))
    """
    stride = max(1, min(FIRST_STRIDE, time // 32))
    first = nn.Conv1d(channels, WIDTHS[0], 4 * stride, stride, padding=2 * stride, bias=False)
    stages = [_stage(first, WIDTHS[0])]
    for before, width in pairwise(WIDTHS):
        stages += [nn.MaxPool1d(2, ceil_mode=True), _stage(nn.Conv1d(before, width, 3, padding=1, bias=False), width)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool1d(POOLED), nn.Flatten()), (WIDTHS[-1] * POOLED,)


def _stage(convolution: nn.Conv1d, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm1d(width), nn.ReLU(inplace=True))
