"""Joint adaptation networks: labelled source + unlabelled target data → a classifier that works on the target."""

from typing import TYPE_CHECKING

from jointadapt.discrepancy import jmmd_biased, jmmd_linear, jmmd_unbiased, mmd_biased, mmd_unbiased
from jointadapt.kernels import GaussianKernel

if TYPE_CHECKING:
    from jointadapt.experiment import resume, train
    from jointadapt.model import Model

__version__ = "0.1.0"

__all__ = [
    "GaussianKernel",
    "Model",
    "jmmd_biased",
    "jmmd_linear",
    "jmmd_unbiased",
    "mmd_biased",
    "mmd_unbiased",
    "resume",
    "train",
]


def __getattr__(name: str) -> object:
    """Load what needs the networks only when it is asked for: `import jointadapt` for a loss stays light."""
    if name in ("train", "resume"):
        from jointadapt import experiment

        return getattr(experiment, name)
    if name == "Model":
        from jointadapt.model import Model

        return Model
    raise AttributeError(f"module 'jointadapt' has no attribute {name!r}")
