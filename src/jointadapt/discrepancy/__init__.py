"""Two samples of layers → one number that is small when their joint distributions agree.

A sample of layers is a sequence of matrices whose row i belongs to example i: hidden features first, then softmax
probabilities. The pooled joint Gram matrix K = ∏_ℓ k^ℓ (source rows first) is the one currency: every estimator is read
off it, in `estimators.py`; `engine.py` forms the quadratic ones and their gradients over tiles of K.
"""

from jointadapt.discrepancy.estimators import (
    Layers,
    jmmd_biased,
    jmmd_block,
    jmmd_linear,
    jmmd_unbiased,
    joint_gram,
    mmd_biased,
    mmd_unbiased,
)

__all__ = [
    "Layers",
    "jmmd_biased",
    "jmmd_block",
    "jmmd_linear",
    "jmmd_unbiased",
    "joint_gram",
    "mmd_biased",
    "mmd_unbiased",
]
