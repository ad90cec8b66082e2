"""The estimators of MMD² and JMMD², each named for what it is: biased, unbiased, linear-time, block.

With S and T the source and target examples and k = ∏_ℓ k^ℓ the product of the layers' kernels, all estimate

    JMMD² = E k(s, s') + E k(t, t') − 2 E k(s, t),

which is 0 where the joint distributions of the layers agree and, for Gaussian kernels, only there. They differ in the
pairs that they average over, and so in sign, variance and cost. In training choose `jmmd_unbiased` (or `jmmd_biased`,
which is never negative) for batches, and `jmmd_linear`, `jmmd_block` or `jmmd_fourier` where N² pairs are too many.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from jointadapt.discrepancy.default_kernels import Reduce, Rows, default_kernels
from jointadapt.discrepancy.distances import squared_distances, wide
from jointadapt.discrepancy.engine import weighted_sum
from jointadapt.discrepancy.example_weights import PairWeights, Weights, paired
from jointadapt.discrepancy.kernels import Completed, GaussianKernel, Kernel, complete_kernel

Layers = Sequence[Tensor]


def mmd_biased(K: Float[Tensor, "N N"], n: int) -> Float[Tensor, ""]:
    """Return MMD² as a V-statistic: the mean of K over source pairs, plus target pairs, minus twice the cross pairs.

        1/n² Σ_ij K_ij + 1/m² Σ_kl K_kl − 2/(nm) Σ_ik K_ik,   i, j ≤ n < k, l

    Args:
        K: the Gram matrix of the pooled sample, its first n rows the source; `joint_gram` makes one.
        n: the number of source examples, 1 or more; the m others are the target.

    Sign: ≥ 0 for a positive definite kernel, as it is the squared distance of two mean embeddings. Bias: too large by
    O(1/n + 1/m), since the diagonal counts: each example is compared with itself. O(N²) time. Differentiable in K as
    often as you like. Raises a ValueError where K is not square or a sample is empty.
    Source: Gretton et al., JMLR 2012, Eq. (5).

    >>> mmd_biased(torch.eye(4), 2)
    tensor(1.)
    """
    _check_split(K, n, least=1)
    return K[:n, :n].mean() + K[n:, n:].mean() - 2 * K[:n, n:].mean()


def mmd_unbiased(K: Float[Tensor, "N N"], n: int) -> Float[Tensor, ""]:
    """Return MMD² as a U-statistic: as `mmd_biased`, without the diagonal of the source and target blocks.

        1/(n(n−1)) Σ_{i≠j} K_ij + 1/(m(m−1)) Σ_{k≠l} K_kl − 2/(nm) Σ_ik K_ik

    Args:
        K, n: as `mmd_biased`; two or more examples of each sample.

    Sign: either; its expectation is MMD², so it is negative about half of the time when both samples come from one
    distribution. Unbiased where K's bandwidth is a number; one found in the sample adds a bias of its own. Take it to
    estimate or to test, `mmd_biased` where a negative value would do harm.
    Source: Gretton et al., JMLR 2012, Eq. (3) (sizes may differ).

    >>> mmd_unbiased(torch.eye(4), 2)
    tensor(0.)
    """
    _check_split(K, n, least=2)
    m = len(K) - n
    source, target = K[:n, :n], K[n:, n:]
    within = (source.sum() - source.trace()) / (n * (n - 1)) + (target.sum() - target.trace()) / (m * (m - 1))
    return within - 2 * K[:n, n:].mean()


def jmmd_biased(
    source_layers: Layers,
    target_layers: Layers,
    kernels: Sequence[Kernel] | None = None,
    weights: Weights | None = None,
) -> Float[Tensor, ""]:
    """Return JMMD² as a V-statistic, Eq. (7) of JAN: `mmd_biased` of the product of the layers' kernels.

        1/n² Σ_ij ∏_ℓ k^ℓ(s_i, s_j) + 1/m² Σ_ij ∏_ℓ k^ℓ(t_i, t_j) − 2/(nm) Σ_ij ∏_ℓ k^ℓ(s_i, t_j)

    The product stands inside one MMD: it compares joint distributions, also where every layer alone agrees.

    Args:
        source_layers, target_layers: for each layer a matrix (n, d) and (m, d); n and m may differ. Row i of every
            layer belongs to example i.
        kernels: one `Kernel` for each layer. None: `GaussianKernel()` for each, five scales around the mean squared
            distance, and γ = 1.68 (`jan_kernels`) for the last of several where its rows are probabilities.
        weights: of the source examples (n,) and of the target examples (m,), held, of which proportions count: a mean
            over pairs becomes Σ w_i w_j K_ij / Σ w_i w_j. None, as a pair or in it: all are equal.

    Sign: ≥ 0, and 0 for equal samples (up to rounding). Bias: +O(1/n + 1/m). Differentiable once in every layer, by an
    analytic gradient; bandwidths found by a rule carry no gradient. For second derivatives: `mmd_biased(joint_gram())`.
    O(N² d) time, value and gradient in one pass; O(N · tile) memory for large samples. Half precision is computed in
    float32. Raises a TypeError for a layer that is in no list, a ValueError for layers that do not fit one another.
    Source: Long et al., ICML 2017, Eq. (7).

    >>> layers = [torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])]
    >>> jmmd_biased(layers, layers)
    tensor(0.)
    """
    kernels = check_layers(source_layers, target_layers, kernels)
    n, m = _sizes(source_layers, target_layers, least=1)
    blocks, at_zero = (1 / n**2, 1 / m**2, -1 / (n * m)), math.prod([kernel.at_zero for kernel in kernels])
    if weights is None:
        return weighted_sum(source_layers, target_layers, kernels, blocks, (1 / n + 1 / m) * at_zero)
    examples, (of_source, of_target) = PairWeights.of(weights, n, m)
    diagonal = (of_source / n**2 + of_target / m**2) * at_zero
    return weighted_sum(source_layers, target_layers, kernels, blocks, diagonal, examples=examples)


def jmmd_unbiased(
    source_layers: Layers,
    target_layers: Layers,
    kernels: Sequence[Kernel] | None = None,
    weights: Weights | None = None,
) -> Float[Tensor, ""]:
    """Return JMMD² as a U-statistic: `mmd_unbiased` of the product of the layers' kernels; arguments as `jmmd_biased`.

    Sign: either. Unbiased for bandwidths that are numbers. Complexity as `jmmd_biased`; the gradients of the two differ
    by the factors n/(n − 1) and m/(m − 1) on pairs within a sample. Needs two examples of each sample. With weights,
    pairs i ≠ j weigh w_i w_j: unbiased for the reweighted distributions where the weights are not found in the sample.
    The authors' PyTorch code trains with this form, and so do our methods by default. Source: Long et al., ICML 2017,
    Eq. (7), with the sums of Gretton et al., JMLR 2012, Eq. (3).

    >>> x, y = torch.zeros(3, 1), torch.ones(2, 1)
    >>> jmmd_unbiased([x], [y], [GaussianKernel(1.0, scales=(1.0,))])  # 1 + 1 − 2/e
    tensor(1.2642)
    """
    kernels = check_layers(source_layers, target_layers, kernels)
    n, m = _sizes(source_layers, target_layers, least=2)
    if weights is None:
        blocks = (1 / (n * (n - 1)), 1 / (m * (m - 1)), -1 / (n * m))
        return weighted_sum(source_layers, target_layers, kernels, blocks)
    examples, (of_source, of_target) = PairWeights.of(weights, n, m)
    blocks = (1 / (n**2 - of_source), 1 / (m**2 - of_target), -1 / (n * m))
    return weighted_sum(source_layers, target_layers, kernels, blocks, examples=examples)


def jmmd_linear(
    source_layers: Layers,
    target_layers: Layers,
    kernels: Sequence[Kernel] | None = None,
    weights: Weights | None = None,
) -> Float[Tensor, ""]:
    """Return JMMD² in time linear in n, Eq. (11) of JAN: the mean over n/2 disjoint pairs of both samples.

        2/n Σ_i  k(s₂ᵢ₋₁, s₂ᵢ) + k(t₂ᵢ₋₁, t₂ᵢ) − k(s₂ᵢ₋₁, t₂ᵢ) − k(s₂ᵢ, t₂ᵢ₋₁),   k = ∏_ℓ k^ℓ

    Args:
        source_layers, target_layers, kernels: as `jmmd_biased`, but of one, even, size n = m; bandwidths are found in
            the whole sample.
        weights: as `jmmd_biased`: each of the three means, within the source, within the target and across, is one over
            weighed pairs.

    Sign: either. Unbiased, with a larger variance than `jmmd_unbiased`: n/2 terms in place of n². O(n d) time and
    memory; plain autograd, so differentiable as often as the kernels are. Pairs are neighbouring rows, so shuffle
    first. Raises a ValueError for odd or unequal sizes. For batches take `jmmd_unbiased`; `jmmd_block` lies between.
    Source: Long et al., ICML 2017, Eq. (11); Gretton et al., JMLR 2012, Lemma 14.

    >>> x = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    >>> jmmd_linear([x], [x]) == 0, jmmd_linear([x], [x + 2]) > 0
    (tensor(True), tensor(True))
    """
    kernels = check_layers(source_layers, target_layers, kernels)
    n, m = len(source_layers[0]), len(target_layers[0])
    if n != m or n % 2:
        raise ValueError(
            f"jmmd_linear needs equally many source and target rows, an even number; got {n} and {m}. "
            "Drop the surplus rows or use jmmd_unbiased."
        )
    terms = None
    for kernel, source, target in zip(kernels, source_layers, target_layers, strict=True):
        bandwidth = kernel.find_bandwidth(source, target)
        source, target = wide(source), wide(target)
        (s1, s2), (t1, t2) = (source[::2], source[1::2]), (target[::2], target[1::2])
        pairs = torch.stack([s1 - s2, t1 - t2, s1 - t2, s2 - t1])
        values = kernel(pairs.square().sum(-1), bandwidth)
        terms = values if terms is None else terms * values
    assert terms is not None
    if weights is not None:
        terms = terms * _weights_of_pairs(PairWeights.of(weights, n, m).examples.to(terms))
    return (terms[0] + terms[1] - terms[2] - terms[3]).mean()


def _weights_of_pairs(examples: Tensor) -> Tensor:
    """Return the weights (4, n/2) of `jmmd_linear`'s terms, of mean 1 within source, within target, and across."""
    w, v = examples.chunk(2)
    (w1, w2), (v1, v2) = (w[::2], w[1::2]), (v[::2], v[1::2])
    return torch.cat([paired([w1 * w2]), paired([v1 * v2]), paired([w1 * v2, w2 * v1])])


def jmmd_block(
    source_layers: Layers,
    target_layers: Layers,
    kernels: Sequence[Kernel] | None = None,
    block_size: int | None = None,
) -> Float[Tensor, ""]:
    """Return JMMD² as the mean of `jmmd_unbiased` over disjoint blocks of B examples of each sample.

        1/b Σ_{β ≤ b} JMMD²_u(S_β, T_β),   b = n/B

    Args:
        source_layers, target_layers, kernels: as `jmmd_biased`; bandwidths are found once, in the whole sample.
        block_size: B ≥ 2, a divisor of n; None gives the largest divisor up to √n.

    Sign: either (unbiased; variance between `jmmd_linear` and `jmmd_unbiased`). O(n B d) time, O(n B) memory, all
    blocks in one batched product; plain autograd. Blocks are neighbouring rows, so shuffle first. Raises a ValueError
    for unequal sizes and for a B that does not divide n. B = n is `jmmd_unbiased`; √n balances cost and variance.
    Source: Zaremba, Gretton, Blaschko, NeurIPS 2013.

    >>> x, y, kernels = torch.randn(8, 3), torch.rand(8, 3), [GaussianKernel(2.0)]
    >>> jmmd_block([x], [y], kernels, block_size=8).isclose(jmmd_unbiased([x], [y], kernels))
    tensor(True)
    """
    kernels = check_layers(source_layers, target_layers, kernels)
    n, m = len(source_layers[0]), len(target_layers[0])
    if block_size is None:
        block_size = next((size for size in range(math.isqrt(n), 1, -1) if n % size == 0), n)
    if n != m or block_size < 2 or n % block_size:
        raise ValueError(
            f"jmmd_block needs equally many source and target rows, a multiple of block_size ≥ 2; got {n} and {m} rows "
            f"and blocks of {block_size}. Drop the surplus rows or use jmmd_unbiased."
        )
    gram = None
    for kernel, source, target in zip(kernels, source_layers, target_layers, strict=True):
        blocks = torch.cat([rows.unflatten(0, (-1, block_size)) for rows in (source, target)], dim=1)
        values = kernel(squared_distances(blocks), kernel.find_bandwidth(source, target))
        gram = values if gram is None else gram * values
    assert gram is not None
    return mmd_unbiased(gram.mean(0), block_size)  # linear in K, so the mean may come first


def joint_gram(
    source_layers: Layers, target_layers: Layers, kernels: Sequence[Kernel] | None = None
) -> Float[Tensor, "N N"]:
    """Return K = ∏_ℓ k^ℓ over the pooled sample, source rows first; arguments as `jmmd_biased`.

    Every statistic of this package is read off K; it has the kernels' k(0) on its diagonal and is positive definite if
    they are (Schur's product theorem). O(N² d) time, O(N²) memory; plain autograd, so differentiable as often as the
    kernels are. For K itself, a second derivative or a statistic of your own; for the values of the named ones, the
    functions of their names need less memory and one pass.

    >>> x, y = torch.zeros(1, 1), torch.ones(2, 1)
    >>> joint_gram([x], [y], [GaussianKernel(1.0, scales=(1.0,))])
    tensor([[1.0000, 0.3679, 0.3679],
            [0.3679, 1.0000, 1.0000],
            [0.3679, 1.0000, 1.0000]])
    """
    kernels = check_layers(source_layers, target_layers, kernels)
    gram = None
    for kernel, source, target in zip(kernels, source_layers, target_layers, strict=True):
        rows = torch.cat([source, target])
        values = kernel(squared_distances(rows), kernel.find_bandwidth(rows))
        gram = values if gram is None else gram * values
    assert gram is not None
    return gram


def _check_split(K: Tensor, n: int, least: int) -> None:
    """Raise a ValueError where K is not square, or its first n rows leave a sample too small."""
    if K.ndim != 2 or K.shape[0] != K.shape[1]:
        raise ValueError(f"K must be the square Gram matrix of the pooled sample; got shape {tuple(K.shape)}.")
    check_sizes(n, len(K) - n, least)


def _sizes(source_layers: Layers, target_layers: Layers, least: int) -> tuple[int, int]:
    """Return n and m, each `least` or more."""
    n, m = source_layers[0].shape[0], target_layers[0].shape[0]
    check_sizes(n, m, least)
    return n, m


def check_sizes(n: int, m: int, least: int) -> None:
    """Raise a ValueError where a sample has fewer rows than an estimator needs.

    >>> check_sizes(2, 3, least=2)
    """
    if n < least or m < least:
        raise ValueError(f"this estimator needs {least} or more rows of each sample; got {n} and {m}.")


def check_layers(
    source_layers: Sequence[Rows],
    target_layers: Sequence[Rows],
    kernels: Sequence[Kernel] | None,
    total: Reduce | None = None,
) -> Sequence[Completed]:
    """Return the kernels, `default_kernels` where there are none, after checking that both samples have equal layers.

    Every estimator begins here: kernels from outside are completed, so that what follows may ask each for its slope,
    its k(0) and its bandwidth. Raises a TypeError for a layer or a kernel in no list and for layers that are no
    tensors, a ValueError that names the layers which are no matrices, which have unequal rows within a sample or
    unequal columns across the two, and for too few kernels. `total` is a sum over processes, as `jmmd_fourier` has it.

    >>> len(check_layers([torch.zeros(3, 2), torch.zeros(3, 4)], [torch.zeros(5, 2), torch.zeros(5, 4)], None))
    2
    """
    _check_sample("source", source_layers)
    _check_sample("target", target_layers)
    if len(source_layers) != len(target_layers):
        raise ValueError(
            f"both samples need the same one or more layers; got {len(source_layers)} and {len(target_layers)}."
        )
    for index, (source, target) in enumerate(zip(source_layers, target_layers, strict=True)):
        if source.shape[1] != target.shape[1]:
            raise ValueError(f"layer {index} has {source.shape[1]} columns in source and {target.shape[1]} in target.")
    if kernels is None:
        return default_kernels(source_layers, target_layers, total)
    if not isinstance(kernels, Sequence):
        raise TypeError(f"kernels holds one kernel a layer; put a single one into a list: [kernel]. Got {kernels!r}.")
    if len(kernels) != len(source_layers):
        raise ValueError(f"one kernel a layer is needed; got {len(kernels)} kernels for {len(source_layers)} layers.")
    return [k if type(k) is GaussianKernel else complete_kernel(k) for k in kernels]


def _check_sample(sample: str, layers: Sequence[Rows]) -> None:
    """Raise a TypeError for what is no list of tensors, a ValueError for other shapes than matrices of equal rows."""
    if isinstance(layers, Tensor) or not isinstance(layers, Sequence):
        raise TypeError(
            f"{sample}_layers is a list of matrices (tensors), one a layer; put a single layer into a list: [layer]. "
            f"Got a {type(layers).__name__}."
        )
    if not layers:
        raise ValueError(f"both samples need one or more layers; {sample}_layers is empty.")
    for index, layer in enumerate(layers):
        if not isinstance(layer, Tensor) and (isinstance(layer, np.ndarray) or not isinstance(layer, Rows)):
            raise TypeError(
                f"{sample} layer {index} is a {type(layer).__module__}.{type(layer).__name__}; expected a tensor: "
                "torch.as_tensor(rows). (jointadapt.two_sample takes arrays as they are.)"
            )
        if isinstance(layer, Tensor) and (layer.is_complex() or layer.layout is not torch.strided):
            raise TypeError(
                f"{sample} layer {index} is {layer.dtype} and {layer.layout}; expected dense real numbers: "
                "to_dense(), or the real and imaginary parts side by side."
            )
    rows = layers[0].shape[:1]
    if any(len(layer.shape) != 2 or layer.shape[:1] != rows for layer in layers):
        shapes = [tuple(layer.shape) for layer in layers]
        raise ValueError(f"each {sample} layer must be a matrix with one row an example; got shapes {shapes}.")
