"""Weights of examples in a discrepancy: the equations, the laws, and today's numbers where all are equal."""

from collections.abc import Callable

import pytest
import reference
import torch
from torch import Tensor

from jointadapt.discrepancy import (
    GaussianKernel,
    engine,
    jan_kernels,
    jmmd_biased,
    jmmd_fourier,
    jmmd_linear,
    jmmd_unbiased,
)
from jointadapt.discrepancy.example_weights import PairWeights

DOUBLE = 1e-12
FOURIER = 0.02  # of D = 65,536 features, against exact pairs
JAN = [reference.JAN_FEATURES, reference.JAN_SOFTMAX]
Layers = list[Tensor]
FUNCTIONS = [jmmd_biased, jmmd_unbiased, jmmd_linear]


def sample(n: int, m: int, dtype: torch.dtype = torch.float64) -> tuple[Layers, Layers, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def layers(rows: int) -> Layers:
        features, logits = (torch.randn(rows, d, generator=generator, dtype=torch.float64) for d in (5, 3))
        return [features.to(dtype).requires_grad_(), logits.softmax(1).to(dtype).requires_grad_()]

    weights = tuple(3 * torch.rand(rows, generator=generator, dtype=torch.float64) for rows in (n, m))
    weights[0][0] = 0
    return layers(n), layers(m), weights


def expected(function: Callable, source: Layers, target: Layers, weights: tuple[Tensor, Tensor]) -> Tensor:
    K, n, w = reference.joint_gram(source, target, JAN), len(source[0]), torch.cat(weights).tolist()
    if function is jmmd_linear:
        return reference.weighed_jmmd_linear(K, n, w)
    return reference.weighed_mmd(K, n, w, unbiased=function is jmmd_unbiased)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_and_gradients_are_the_equations(function):
    source, target, weights = sample(12, 12)
    value, exact = function(source, target, None, weights), expected(function, source, target, weights)
    assert abs(value - exact).item() < DOUBLE * 5
    for found, right in zip(*(torch.autograd.grad(v, [*source, *target]) for v in (value, exact)), strict=True):
        assert (found - right).abs().max() < DOUBLE


@pytest.mark.parametrize("tile", [1, 3, 7, 16])
def test_tiles_of_any_size_give_the_dense_result(tile):
    source, target, weights = sample(9, 14)
    examples, (of_source, of_target) = PairWeights.of(weights, 9, 14)
    blocks = (1 / (81 - of_source), 1 / (196 - of_target), -1 / (9 * 14))
    value = engine.weighted_sum(source, target, jan_kernels(2), blocks, tile=tile, examples=examples)
    dense = jmmd_unbiased(source, target, jan_kernels(2), weights)
    assert abs(value - dense).item() < DOUBLE
    for found, right in zip(*(torch.autograd.grad(v, [*source, *target]) for v in (value, dense)), strict=True):
        assert (found - right).abs().max() < DOUBLE


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("weights", [(None, None), (torch.full((300,), 0.1), torch.full((300,), 7.3))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_weights_give_the_same_bits(function, weights, dtype):
    source, target, _ = sample(300, 300, dtype)
    plain, weighed = function(source, target), function(source, target, None, weights)
    assert torch.equal(plain, weighed)
    for a, b in zip(*(torch.autograd.grad(v, [*source, *target]) for v in (plain, weighed)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("function", [jmmd_biased, jmmd_unbiased])
def test_an_example_of_weight_0_is_as_if_it_were_not_there(function):
    source, target, weights = sample(12, 10)
    kernels = [GaussianKernel(4.0), GaussianKernel(1.68)]
    weighed = function(source, target, kernels, weights)
    without = function([x[1:] for x in source], target, kernels, (weights[0][1:], weights[1]))
    assert abs(weighed - without).item() < DOUBLE
    (gradient,) = torch.autograd.grad(weighed, source[0])
    assert not gradient[0].any()


def test_twice_the_weight_is_an_example_twice():
    source, target, _ = sample(6, 5)
    kernels = [GaussianKernel(4.0), GaussianKernel(1.68)]
    w = torch.tensor([2.0, 1, 1, 1, 1, 1])
    twice = [torch.cat([x[:1], x]) for x in source]
    assert abs(jmmd_biased(source, target, kernels, (w, None)) - jmmd_biased(twice, target, kernels)).item() < DOUBLE


def test_weights_undo_a_label_shift():
    """Classes of the same shape in other shares: unweighed the samples differ, weighed by the ratio they do not."""
    generator = torch.Generator().manual_seed(1)
    y_s, y_t = (torch.rand(800, generator=generator) < share for share in (0.2, 0.7))
    source, target = (torch.randn(800, 2, generator=generator) + 4 * y[:, None] for y in (y_s, y_t))
    ratio = torch.where(y_s, y_t.float().mean() / y_s.float().mean(), (~y_t).float().mean() / (~y_s).float().mean())
    kernels = [GaussianKernel(8.0, (1.0,))]
    assert jmmd_unbiased([source], [target], kernels) > 0.1
    assert abs(jmmd_unbiased([source], [target], kernels, (ratio, None))) < 0.005


def test_fourier_features_weigh_likewise():
    source, target, weights = sample(40, 30)
    kernels = [GaussianKernel(8.0, (1.0,)), GaussianKernel(1.68, (1.0,))]
    exact = jmmd_unbiased(source, target, kernels, weights)
    generator = torch.Generator().manual_seed(0)
    found = jmmd_fourier(source, target, kernels, 65_536, generator, weights=weights)
    assert abs(found - exact).item() < FOURIER
    (a, b) = (torch.autograd.grad(v, source[0])[0] for v in (found, exact))
    assert (a - b).abs().max() < FOURIER * b.abs().max() * 5
    ones = (torch.ones(40), torch.ones(30))
    plain, weighed = (
        jmmd_fourier(source, target, kernels, 64, torch.Generator().manual_seed(0), weights=w) for w in (None, ones)
    )
    assert torch.equal(plain, weighed)


def test_gradcheck():
    source, target, weights = sample(5, 4)
    kernels = [GaussianKernel(3.0), GaussianKernel(1.68)]
    assert torch.autograd.gradcheck(
        lambda *rows: jmmd_unbiased(rows[:2], rows[2:], kernels, weights), (*source, *target)
    )


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (torch.ones(3), r"the source has 4 examples and weights of shape \(3,\)"),
        (torch.tensor([1.0, -1, 1, 1]), "finite and not negative; those of the source are not"),
        (torch.tensor([1.0, torch.nan, 1, 1]), "finite and not negative"),
        (torch.tensor([1.0, 0, 0, 0]), "fewer than two source examples weigh anything"),
    ],
)
@pytest.mark.parametrize("function", [*FUNCTIONS, jmmd_fourier])
def test_wrong_weights_are_told(function, w, message):
    source, target, _ = sample(4, 4)
    with pytest.raises(ValueError, match=message):
        function(source, target, weights=(w, None))
