"""Learnt kernel weights in training: those of `optimal_weights`, and constants for the gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import jointadapt
from jointadapt.discrepancy.kernels import GaussianKernel, jan_kernels
from jointadapt.methods import METHODS
from jointadapt.methods.build import build_method
from jointadapt.methods.kernel_methods import ESTIMATORS
from jointadapt.methods.options import options_of
from jointadapt.methods.weighed_kernels import optimal_kernels
from jointadapt.networks.network import Activations
from jointadapt.two_sample import optimal_weights

LEARNERS = [name for name in METHODS if "kernel_weights" in options_of(name)]


def batch(seed: int, rows: int, shift: float = 0.0) -> Activations:
    generator = torch.Generator().manual_seed(seed)
    features = (torch.randn(rows, 6, generator=generator, dtype=torch.float64) + shift).requires_grad_()
    logits = features[:, :3] * 2
    return Activations(features, logits, (features, logits.softmax(1)))


def gradients(value: torch.Tensor, *of: Activations) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(value, [sample.features for sample in of], retain_graph=True)


def test_dan_jan_and_jan_a_learn_weights():
    assert LEARNERS == ["dan", "jan", "jan-a"]


def test_weights_are_the_optimal_ones_of_each_hidden_layer():
    source, target = batch(0, 20), batch(1, 24, 1.0)
    hidden, output = optimal_kernels(jan_kernels(2), source.layers, target.layers)
    assert hidden.weights == optimal_weights(source.features.detach(), target.features.detach())
    assert hidden.weights != (1.0,) * 5
    assert sum(hidden.weights or ()) == pytest.approx(5)
    assert output == jan_kernels(2)[1]  # one Gaussian: nothing to weigh


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_jan_has_value_and_gradient_of_its_weights_held_fixed(estimator: str):
    source, target = batch(0, 20), batch(1, 24, 1.0)
    value = build_method("jan", (6, 3), {"kernel_weights": "optimal", "estimator": estimator})(source, target)
    weights = optimal_weights(source.features.detach(), target.features.detach())
    kernels = (replace(GaussianKernel(), weights=weights), jan_kernels(2)[1])
    fixed = ESTIMATORS[estimator](source.layers, target.layers, kernels)
    assert torch.equal(value, fixed)
    for ours, theirs in zip(gradients(value, source, target), gradients(fixed, source, target), strict=True):
        assert torch.equal(ours, theirs)


def test_dan_has_value_and_gradient_of_its_weights_held_fixed():
    source, target = batch(0, 20), batch(1, 24, 1.0)
    value = build_method("dan", (6, 3), {"kernel_weights": "optimal"})(source, target)
    fixed = torch.zeros((), dtype=torch.float64)
    for s, t in zip(source.layers, target.layers, strict=True):
        kernel = replace(GaussianKernel(), weights=optimal_weights(s.detach(), t.detach()))
        fixed = fixed + jointadapt.jmmd_unbiased([s], [t], [kernel])
    torch.testing.assert_close(value, fixed, rtol=1e-12, atol=0)
    for ours, theirs in zip(gradients(value, source, target), gradients(fixed, source, target), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_batch_too_small_or_not_finite_falls_back_to_equal_weights(name: str):
    equal, optimal = (build_method(name, (6, 3), {"kernel_weights": word}).double() for word in ("equal", "optimal"))
    assert torch.equal(equal(batch(0, 3), batch(1, 8)), optimal(batch(0, 3), batch(1, 8)))
    source, target = batch(0, 8), batch(1, 8, float("nan"))
    assert optimal(source, target).isnan() == equal(source, target).isnan()


@pytest.mark.parametrize("name", LEARNERS)
def test_identical_batches_give_a_finite_value_and_gradient(name: str):
    sample = batch(0, 8)
    value = build_method(name, (6, 3), {"kernel_weights": "optimal"}).double()(sample, sample)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(value, sample))


@pytest.mark.parametrize("name", LEARNERS)
def test_training_takes_the_option_and_keeps_it(name: str):
    x = np.random.default_rng(0).normal(size=(40, 4))
    given = {"method": name, "steps": 3, "baseline": False, "batch_size": 12, "bottleneck": 0}
    run = jointadapt.train((x, x[:, 0] > 0), x + 1, kernel_weights="optimal", **given)
    assert run.model.config.method_options["kernel_weights"] == "optimal"
    equal = jointadapt.train((x, x[:, 0] > 0), x + 1, **given)
    assert run.summary.confidence != equal.summary.confidence


def test_another_word_is_refused():
    with pytest.raises(jointadapt.errors.UserError, match="kernel_weights = 'best'"):
        jointadapt.train(np.zeros((4, 2)), np.zeros((4, 2)), kernel_weights="best")
