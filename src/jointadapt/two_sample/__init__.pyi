from .result import TwoSampleTest
from .samples import Sample
from .test import Method, check_options, two_sample_test
from .weights import optimal_weights

__all__ = ["Method", "Sample", "TwoSampleTest", "check_options", "optimal_weights", "two_sample_test"]
