"""Distances, bandwidth rules and the linear classifier: signs, precision, no gradient, and the formulas themselves."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
import torch
from scipy.optimize import minimize
from scipy.special import expit

from jointadapt.discrepancy import GaussianKernel, jmmd_biased, jmmd_unbiased
from jointadapt.discrepancy.distances import (
    centre,
    mean_squared_distance,
    median_squared_distance,
    positive,
    squared_distances,
)
from jointadapt.discrepancy.domain_classifier import density_ratio, fit_linear
from jointadapt.discrepancy.each import can_be_batched
from jointadapt.discrepancy.engine import weighted_sum

RULES = (centre, mean_squared_distance, median_squared_distance)


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(5))
def test_rounding_makes_no_distance_negative(seed: int) -> None:
    x = 1e3 * rows(50, 300, seed)
    assert squared_distances(x, x.clone()).min() >= 0
    assert squared_distances(x.repeat(2, 1)).min() >= 0


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_both_rules_are_those_of_the_pairs(n: int) -> None:
    x = rows(n, 3).double()
    assert float(mean_squared_distance(x)) == pytest.approx(reference.bandwidth("mean", x))
    assert float(median_squared_distance(x)) == pytest.approx(reference.bandwidth("median", x))
    parts = x.tensor_split([n // 2])
    assert float(mean_squared_distance(*parts)) == pytest.approx(reference.bandwidth("mean", x))
    assert float(median_squared_distance(*parts)) == pytest.approx(reference.bandwidth("median", x))


@pytest.mark.parametrize("rule", RULES)
def test_what_is_held_has_no_gradient(rule: Callable[..., torch.Tensor]) -> None:
    assert not rule(rows(5, 2).requires_grad_()).requires_grad


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(rule: Callable[..., torch.Tensor], dtype: torch.dtype) -> None:
    x = rows(200, 4).to(dtype)
    found = rule(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rule(x.double()).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(squared_distances(x), squared_distances(x.float()), rtol=0, atol=0)


@pytest.mark.parametrize("rule", [mean_squared_distance, median_squared_distance])
def test_a_single_row_and_equal_rows_have_no_distance(rule: Callable[..., torch.Tensor]) -> None:
    assert rule(torch.full((1, 3), 0.1)) == 0
    assert rule(torch.full((7, 3), 0.1)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bandwidth_of_0_becomes_one_whose_reciprocal_is_finite(dtype: torch.dtype) -> None:
    for bandwidth in (0.0, torch.zeros((), dtype=dtype)):
        gamma = torch.as_tensor(positive(bandwidth, dtype), dtype=dtype)
        assert 0 < gamma < 1e-15
        assert torch.isfinite(1 / (gamma * 0.25))
        assert torch.exp(-torch.zeros(1, dtype=dtype) / gamma) == 1


@pytest.mark.parametrize("function", [jmmd_biased, jmmd_unbiased])
@pytest.mark.parametrize("wide", [0, 1, 2, 3])
def test_one_layer_in_float64_makes_all_so(function: Callable[..., torch.Tensor], wide: int) -> None:
    layers = [rows(8, 3, seed) for seed in range(4)]
    layers[wide] = layers[wide].double()
    kernels = [GaussianKernel(2.0), GaussianKernel(1.0, (1.0,))]
    found = function(layers[:2], layers[2:], kernels)
    exact = function([x.double() for x in layers[:2]], [x.double() for x in layers[2:]], kernels)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


def test_a_constant_of_another_precision_is_added_in_that_of_the_sum() -> None:
    layers, kernels, blocks = ([rows(4, 2)], [rows(5, 2, 1)]), [GaussianKernel(1.0)], (0.1, 0.2, -0.3)
    plain = weighted_sum(*layers, kernels, blocks)
    found = weighted_sum(*layers, kernels, blocks, torch.tensor(2.0, dtype=torch.float64))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain + 2)


def test_weights_of_rows_are_held() -> None:
    layers, kernels, blocks = ([rows(4, 2)], [rows(5, 2, 1)]), [GaussianKernel(1.0)], (0.1, 0.2, -0.3)
    a = torch.linspace(0.5, 1.5, 9).requires_grad_()
    assert not weighted_sum(*layers, kernels, blocks, examples=a).requires_grad


def test_every_kernel_must_be_gaussian_to_be_batched() -> None:
    mixed = [GaussianKernel(), lambda D, bandwidth: (-D / bandwidth).exp()]
    assert not can_be_batched(jmmd_unbiased, mixed)
    assert can_be_batched(jmmd_biased, [GaussianKernel()] * 2)
    assert not can_be_batched(weighted_sum, [GaussianKernel()])


# The linear classifier


def penalised(x: np.ndarray, labels: np.ndarray, strength: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the score of the minimiser of ½ ‖w‖² + C Σ log-loss, b free, on standardised columns."""
    mean, deviation = x.mean(0), x.std(0)
    z, sign = (x - mean) / deviation, 2 * labels - 1

    def loss(wb: np.ndarray) -> tuple[float, np.ndarray]:
        margins = sign * (z @ wb[:-1] + wb[-1])
        slope = -strength * sign * expit(-margins)
        value = wb[:-1] @ wb[:-1] / 2 + strength * np.logaddexp(0, -margins).sum()
        return value, np.append(wb[:-1] + slope @ z, slope.sum())

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return lambda new: (new - mean) / deviation @ found[:-1] + found[-1]


@pytest.mark.parametrize(("n", "m"), [(5, 12), (12, 5), (6, 6)])
def test_the_density_ratio_is_that_of_a_penalised_regression(n: int, m: int) -> None:
    source, target, new = rows(n, 2).double(), rows(m, 2, 1).double() + 1, rows(7, 2, 2).double()
    score = penalised(torch.cat([source, target]).numpy(), np.arange(n + m) >= n, 0.01)
    expected = n / m * np.exp(score(new.numpy()))
    np.testing.assert_allclose(density_ratio(source, target, new).numpy(), expected, rtol=1e-4)


def test_the_density_ratio_of_far_rows_is_finite() -> None:
    x = rows(20, 1).double()
    found = density_ratio(x, x[:10] + 1, torch.tensor([[1e9], [-1e9]], dtype=torch.float64))
    torch.testing.assert_close(found.log(), np.log(2) + torch.tensor([50.0, -50.0], dtype=torch.float64))


def test_single_precision_is_classified_in_double() -> None:
    x, labels = 1e3 + rows(30, 3), torch.arange(30) % 2
    single, double = (fit_linear(x.to(dtype), labels).decision_function(x.double().numpy()) for dtype in
                      (torch.float32, torch.float64))  # fmt: skip
    np.testing.assert_array_equal(single, double)
    assert torch.equal(density_ratio(x[:9], x[9:], x), density_ratio(x[:9].double(), x[9:].double(), x.double()))


def test_a_regression_that_does_not_converge_is_stopped_without_a_warning() -> None:
    x = rows(40, 5)
    model = fit_linear(x, (x[:, 0] > 0).long(), strength=1e9, iterations=2)
    assert model[-1].n_iter_[0] == 2
