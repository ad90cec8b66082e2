"""Moves of moments against NumPy and SciPy."""

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power

from jointadapt.discrepancy.moments import RIDGE, Moments, find_moments, match_columns, match_covariances


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    mixed = torch.randn(d, d, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) @ mixed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_are_those_of_numpy_also_far_from_zero(dtype: torch.dtype) -> None:
    x = (rows(50, 3) + 1e5).to(dtype)
    exact = x.double().numpy()
    for found in (find_moments(x.split(7), whole=True), find_moments(x.split(50), whole=True)):
        np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.spread, np.cov(exact.T, bias=True), rtol=1e-6)
    np.testing.assert_allclose(find_moments(x.split(7)).spread, exact.var(0), rtol=1e-6)


def test_columns_get_the_mean_and_deviation_of_the_target() -> None:
    x, y = 0.01 * rows(40, 3), 0.1 * rows(30, 3, 1) + 5
    x[:, 2] = 7.0
    moved = match_columns(find_moments([x]), find_moments([y]))(x)
    torch.testing.assert_close(moved.mean(0), y.mean(0))
    torch.testing.assert_close(moved.std(0, correction=0)[:2], y.std(0, correction=0)[:2])
    torch.testing.assert_close(moved[:, 2], y[:, 2].mean().expand(40))


def test_a_variance_that_rounding_made_negative_is_none() -> None:
    negative = Moments(torch.zeros(1).double(), torch.tensor([-1e-20], dtype=torch.float64))
    positive = Moments(torch.ones(1).double(), torch.tensor([4.0], dtype=torch.float64))
    for source, target in ((negative, positive), (positive, negative)):
        assert match_columns(source, target)(torch.tensor([[3.0]])).item() == target.mean.item()


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize(("unit", "factor"), [(1.0, 1.0), (1.0, 100.0), (1e-3, 1.0)])
def test_covariances_are_whitened_and_coloured_by_the_papers_formula(columns: int, unit: float, factor: float) -> None:
    x, y = unit * rows(40, columns), unit * factor * rows(30, columns, 1)
    source, target = (find_moments([sample], whole=True) for sample in (x, y))
    variances = [moments.spread.diagonal().mean().item() for moments in (source, target)]
    ridge = RIDGE * np.mean(variances) * np.eye(columns)
    white = fractional_matrix_power(source.spread.numpy() + ridge, -0.5)
    found = match_covariances(source, target)
    np.testing.assert_allclose(
        found.linear, white @ fractional_matrix_power(target.spread.numpy() + ridge, 0.5), rtol=1e-9
    )
    assert torch.equal(found(source.mean[None])[0], target.mean)


def test_two_constant_samples_are_moved_by_their_means() -> None:
    x = torch.ones(5, 3, dtype=torch.float64)
    found = match_covariances(find_moments([x], whole=True), find_moments([4 * x], whole=True))
    assert torch.equal(found(x + 1), 4 * x + 1)
    assert found.linear.dtype == torch.float64
