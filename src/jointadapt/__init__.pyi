from .data.arrays import from_arrays
from .data.own_datasets import from_dataset
from .data.reading import read_domain
from .discrepancy.estimators import jmmd_biased, jmmd_block, jmmd_linear, jmmd_unbiased, mmd_biased, mmd_unbiased
from .discrepancy.fourier import jmmd_fourier
from .discrepancy.kernels import GaussianKernel
from .estimator import AdaptedClassifier, whole
from .experiment import resume, train
from .experiment.annotated import adapt_anndata
from .exporting.card import model_card
from .exporting.export import export
from .exporting.hub import HubModel
from .networks.backbone import Backbone
from .runs.model import Model
from .two_sample.test import two_sample_test
from .version import __version__

__all__ = [
    "AdaptedClassifier",
    "Backbone",
    "GaussianKernel",
    "HubModel",
    "Model",
    "__version__",
    "adapt_anndata",
    "export",
    "from_arrays",
    "from_dataset",
    "jmmd_biased",
    "jmmd_block",
    "jmmd_fourier",
    "jmmd_linear",
    "jmmd_unbiased",
    "mmd_biased",
    "mmd_unbiased",
    "model_card",
    "read_domain",
    "resume",
    "train",
    "two_sample_test",
    "whole",
]
