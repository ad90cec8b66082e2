"""Kernels and bandwidths against float64 sums, scikit-learn and their own laws."""

import math

import pytest
import reference
import torch
from torch import Tensor

from jointadapt.discrepancy import distances
from jointadapt.discrepancy.constants import FIVE_SCALES
from jointadapt.discrepancy.distances import mean_squared_distance, median_squared_distance, squared_distances
from jointadapt.discrepancy.kernels import GaussianKernel, gaussian, jan_kernels

DOUBLE = 1e-12  # float64: rounding of sums of a few hundred terms
SINGLE = 1e-6  # float32: a few units in the last place, relative to the largest value


def rows(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64, offset: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) + offset


SCALES = [(1.0,), FIVE_SCALES, (0.3, 1.0, 2.0, 7.0), tuple(2.0**k for k in range(-6, 7)), (4.0, 0.25, 1.0, 1.0)]


@pytest.mark.parametrize("scales", SCALES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_kernel_is_the_weighted_sum_of_gaussians_and_slope_its_derivative(
    scales: tuple[float, ...], weighted: bool
) -> None:
    weights = tuple(0.5 * index for index in range(len(scales))) if weighted else (1.0,) * len(scales)
    kernel = GaussianKernel(1.7, scales, weights if weighted else None)
    distances = rows(9, 5).square().requires_grad_()
    expected = reference.kernel_values(distances, 1.7, (1.7, scales, weights))
    (derivative,) = torch.autograd.grad(expected.sum(), distances)
    value, slope = kernel.with_slope(distances.detach(), 1.7)
    assert (kernel(distances, 1.7) - expected).abs().max() < DOUBLE
    assert (value - expected).abs().max() < DOUBLE
    assert (slope + 1.7 * derivative).abs().max() < DOUBLE * max(1.0, 1 / min(scales))
    assert kernel.at_zero == pytest.approx(float(kernel(torch.zeros(1), 1.7)), rel=SINGLE)


def test_squarings_keep_float32_accurate_for_narrow_scales() -> None:
    scales = tuple(2.0**k for k in range(-6, 7))
    distances = rows(40, 40).square() * 3
    exact = gaussian(distances, 1.3, scales)
    assert (gaussian(distances.float(), 1.3, scales) - exact).abs().max() < SINGLE * len(scales)


def test_kernel_is_twice_differentiable() -> None:
    distances = rows(3, 3).square().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda D: GaussianKernel(2.0)(D, 2.0), (distances,))


def test_kernel_equals_scikit_learn() -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = rows(7, 4), rows(5, 4, seed=1)
    expected = torch.from_numpy(pairwise.rbf_kernel(x.numpy(), y.numpy(), gamma=1 / 2.5))
    assert (GaussianKernel(2.5, scales=(1.0,))(squared_distances(x, y), 2.5) - expected).abs().max() < DOUBLE
    expected = torch.from_numpy(pairwise.euclidean_distances(x.numpy(), y.numpy(), squared=True))
    assert (squared_distances(x, y) - expected).abs().max() < DOUBLE * float(expected.max())


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_distances_survive_a_large_mean_in_float32(offset: float) -> None:
    x = rows(20, 6, dtype=torch.float32, offset=offset)
    exact = reference.differences(x.double())
    assert (squared_distances(x) - exact).abs().max() < SINGLE * exact.max()
    assert (squared_distances(x, x.clone()) - exact).abs().max() < SINGLE * exact.max()
    assert (squared_distances(x).diagonal() == 0).all()


def test_distances_of_batches() -> None:
    x, y = rows(6, 4), rows(8, 4, seed=1)
    batched = squared_distances(x.unflatten(0, (2, 3)), y.unflatten(0, (2, 4)))
    for index in range(2):
        single = squared_distances(x[3 * index : 3 * index + 3], y[4 * index : 4 * index + 4])
        assert (batched[index] - single).abs().max() < DOUBLE * single.max()


def test_distances_ignore_autocast_and_half_precision() -> None:
    x = rows(10, 16, dtype=torch.float32)
    expected = squared_distances(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(squared_distances(x), expected)
    assert squared_distances(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9])
def test_bandwidth_rules(n: int) -> None:
    x = rows(n, 3, seed=n)
    found = {"mean": mean_squared_distance, "median": median_squared_distance}
    for rule, function in found.items():
        expected = reference.bandwidth(rule, x) if n > 1 else 0.0
        assert float(function(x)) == pytest.approx(expected, rel=DOUBLE)
        if n > 1:
            assert float(function(x[:1], x[1:])) == pytest.approx(expected, rel=DOUBLE)
            assert float(GaussianKernel(rule).find_bandwidth(x[:1], x[1:])) == pytest.approx(expected, rel=DOUBLE)  # pyright: ignore[reportArgumentType]


def test_bandwidth_of_equal_rows_is_exactly_0_and_the_kernel_finite() -> None:
    x = torch.full((11, 3), 0.1) * torch.tensor([1.0, 3.0, 7.0])
    for rule in (mean_squared_distance, median_squared_distance):
        assert rule(x) == 0
    assert torch.equal(GaussianKernel(scales=(1.0,))(squared_distances(x), 0.0), torch.ones(11, 11))


def test_bandwidth_carries_no_gradient() -> None:
    assert not GaussianKernel().find_bandwidth(rows(4, 2).requires_grad_()).requires_grad


def test_jan_kernels() -> None:
    *features, last = jan_kernels(3)
    assert features == [GaussianKernel("mean", FIVE_SCALES)] * 2
    assert last == GaussianKernel(1.68, scales=(1.0,))
    assert math.isclose(last.at_zero, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bandwidth": 0.0}, "positive number.*got 0.0"),
        ({"scales": ()}, "one or more positive numbers"),
        ({"scales": (1.0, -1.0)}, "one or more positive numbers"),
        ({"weights": (1.0,)}, "one weight a scale.*got 1 for 5 scales"),
        ({"scales": (1.0,), "weights": (-1.0,)}, "0 or positive"),
    ],
)
def test_kernel_errors_state_the_fix(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianKernel(**arguments)


@pytest.mark.parametrize("least", [0, 2**60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_either_library_are_the_product(
    least: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "ONEDNN_LEAST", least)
    generator = torch.Generator().manual_seed(0)
    x, y, A = (torch.randn(*shape, generator=generator, dtype=dtype) for shape in ((5, 40), (7, 40), (5, 5)))
    for left, right in ((x, y), (A, x.T), (A.T, x.T)):
        expected = left.double() @ right.double().T
        assert (distances.inner_products(left, right) - expected).abs().max() < 1e-5
    monkeypatch.setattr(distances, "HAS_ONEDNN", False)
    assert torch.equal(distances.inner_products(x, y), x @ y.T)
