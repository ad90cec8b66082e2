"""Two samples of layers → do their distributions differ? A statistic, a p-value, and the examples that say so.

Five methods, one result (`TwoSampleTest`): "permutation" (exact at any size), "aggregated" (exact, over several
bandwidths without a split), "cross", "fourier" and "linear" (a normal threshold in place of permutations, for many
examples). `optimal_weights` finds the weights of a multi-kernel that give the highest test power.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
