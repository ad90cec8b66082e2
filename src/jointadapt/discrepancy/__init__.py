"""Two samples of layers → one number that is small when their joint distributions agree.

A sample of layers is a sequence of matrices whose row i belongs to example i: hidden features first, then softmax
probabilities. The pooled joint Gram matrix K = ∏_ℓ k^ℓ (source rows first) is the one currency: every estimator is read
off it, in `estimators.py`; `engine.py` forms the quadratic ones and their gradients over tiles of K; `fourier.py` stays
without K: sums of random features whose products are K's values in the mean.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
