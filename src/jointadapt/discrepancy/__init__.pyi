from .constants import FIVE_SCALES, SOFTMAX_BANDWIDTH, BandwidthRule
from .default_kernels import Rows
from .estimators import (
    Layers,
    jmmd_biased,
    jmmd_block,
    jmmd_linear,
    jmmd_unbiased,
    joint_gram,
    mmd_biased,
    mmd_unbiased,
)
from .fourier import jmmd_fourier
from .kernels import GaussianKernel, Kernel, jan_kernels

__all__ = [
    "FIVE_SCALES",
    "SOFTMAX_BANDWIDTH",
    "BandwidthRule",
    "GaussianKernel",
    "Kernel",
    "Layers",
    "Rows",
    "jan_kernels",
    "jmmd_biased",
    "jmmd_block",
    "jmmd_fourier",
    "jmmd_linear",
    "jmmd_unbiased",
    "joint_gram",
    "mmd_biased",
    "mmd_unbiased",
]
