"""JAN's kernels in numbers, in a module that loads no torch, so that options and their help can name them."""

from typing import Literal

BandwidthRule = Literal["mean", "median"]
"""How γ is found in a pooled sample: the mean or the median squared distance of distinct pairs."""
FIVE_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the bandwidth on a hidden layer. Source: Long et al., ICML 2015, and the authors' code."""
SOFTMAX_BANDWIDTH = 1.68
"""γ on the softmax layer. Source: the authors' code of JAN (github.com/thuml/Xlearn, loss.py)."""
