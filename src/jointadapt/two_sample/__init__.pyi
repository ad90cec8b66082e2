from .result import TwoSampleTest
from .samples import Sample, Standardize
from .test import TwoSampleMethod, check_options, two_sample_test
from .weights import optimal_weights

__all__ = [
    "Sample",
    "Standardize",
    "TwoSampleMethod",
    "TwoSampleTest",
    "check_options",
    "optimal_weights",
    "two_sample_test",
]
