"""Joint adaptation networks: labelled source + unlabelled target data → a classifier that works on the target."""

from importlib import import_module
from typing import TYPE_CHECKING

from jointadapt.discrepancy import (
    jmmd_biased,
    jmmd_block,
    jmmd_fourier,
    jmmd_linear,
    jmmd_unbiased,
    mmd_biased,
    mmd_unbiased,
)
from jointadapt.kernels import GaussianKernel
from jointadapt.two_sample import two_sample_test

if TYPE_CHECKING:
    from jointadapt.data import from_arrays, read_domain
    from jointadapt.estimator import AdaptedClassifier
    from jointadapt.experiment import resume, train
    from jointadapt.model import Model

__version__ = "0.1.0"

__all__ = [
    "AdaptedClassifier",
    "GaussianKernel",
    "Model",
    "from_arrays",
    "jmmd_biased",
    "jmmd_block",
    "jmmd_fourier",
    "jmmd_linear",
    "jmmd_unbiased",
    "mmd_biased",
    "mmd_unbiased",
    "read_domain",
    "resume",
    "train",
    "two_sample_test",
]

_LATER = {
    "AdaptedClassifier": "estimator",
    "train": "experiment",
    "resume": "experiment",
    "Model": "model",
    "read_domain": "data",
    "from_arrays": "data",
}


def __getattr__(name: str) -> object:
    """Load what needs the networks only when it is asked for: `import jointadapt` for a loss stays light."""
    if name not in _LATER:
        raise AttributeError(f"module 'jointadapt' has no attribute {name!r}")
    return getattr(import_module(f"jointadapt.{_LATER[name]}"), name)
