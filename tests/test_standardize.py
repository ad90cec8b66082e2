"""Columns of several units: statistics that fill values do not move, tests and trainings in one unit."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from jointadapt.data.mapped import MappedRows
from jointadapt.discrepancy import GaussianKernel
from jointadapt.discrepancy.columns import CLIP, describe_columns, fill_values
from jointadapt.two_sample import TwoSampleMethod, check_options, optimal_weights, two_sample_test

EXACT = 1e-12
SINGLE = 1e-5
METHODS: tuple[TwoSampleMethod, ...] = ("permutation", "aggregated", "cross", "fourier")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=seeded(seed))


def test_mean_and_deviation_are_those_of_numpy_in_float64() -> None:
    x = normal(500, 4) * torch.tensor([1e-3, 1.0, 1e3, 1e5]) + torch.tensor([0.0, 5.0, -1e4, 1e6])
    found = describe_columns(x, x.split(64))
    exact = x.double().numpy()
    torch.testing.assert_close(found.mean.numpy(), exact.mean(0), rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(found.deviation.numpy(), exact.std(0), rtol=EXACT, atol=EXACT)
    standardized = found.standardized(x)
    assert standardized.dtype == torch.float32
    torch.testing.assert_close(standardized.mean(0), torch.zeros(4), rtol=SINGLE, atol=SINGLE)
    torch.testing.assert_close(standardized.std(0, correction=0), torch.ones(4), rtol=SINGLE, atol=SINGLE)


@pytest.mark.parametrize("value", [-999.0, 1e6, 1e9, 3.4e38])
def test_a_fill_value_moves_neither_mean_nor_deviation_and_is_told(value: float) -> None:
    x = normal(300, 2)
    spoilt = x.clone()
    spoilt[:30, 1] = value
    clean, found = describe_columns(x, [x]), describe_columns(spoilt, [spoilt])
    assert found.deviation[1] < 6 * clean.deviation[1]
    assert found.standardized(spoilt).abs().max() <= CLIP
    told = fill_values(spoilt, found)
    assert [(fill.column, fill.rows) for fill in told] == [(1, 30)]
    assert fill_values(x, clean) == []


def test_heavy_tails_hold_no_fill_values() -> None:
    generator = np.random.default_rng(0)
    tails = [
        generator.standard_cauchy((400, 3)),
        generator.lognormal(0, 3, (400, 3)),
        generator.poisson(0.1, (400, 3)) * 1.0,
    ]
    for x in map(torch.from_numpy, tails):
        assert fill_values(x, describe_columns(x, [x])) == []


def test_constant_columns_become_zero_also_where_rounding_moves_them() -> None:
    x = torch.cat([normal(50, 1), torch.full((50, 1), 7.0), torch.full((50, 1), 0.1)], dim=1)
    x[::2, 2] = torch.nextafter(x[0, 2], torch.tensor(1.0))
    standardized = describe_columns(x, [x]).standardized(x)
    assert torch.isfinite(standardized).all()
    assert standardized[:, 1:].abs().max() == 0
    assert describe_columns(x, [x]).standardized(x + 3)[:, 1:].abs().max() == 0


def test_columns_are_mixed_where_one_is_far_larger_than_a_small_one() -> None:
    x = normal(200, 10)
    assert not describe_columns(x, [x]).mixed
    for factors in ([1e3, *[1.0] * 9], [*[1e3] * 8, 1.0, 1.0], [*[1.0] * 5, *[100.0] * 5]):
        large = x * torch.tensor(factors)
        assert describe_columns(large, [large]).mixed
    tails = torch.from_numpy(np.random.default_rng(0).standard_cauchy((200, 10)))
    assert not describe_columns(tails, [tails]).mixed


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_in_a_small_column_is_found_beside_large_ones(method: TwoSampleMethod) -> None:
    factors = torch.tensor([1.0, 1e3, 1e3, 1e4])
    x, y = normal(100, 4) * factors, normal(100, 4, 1) * factors
    y[:, 0] += 2
    assert two_sample_test(x, y, method=method).rejected
    assert not two_sample_test(x, y, method=method, standardize="no").rejected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [-999.0, 1e6, 1e9])
def test_a_fill_value_hides_no_shift_and_is_named(method: TwoSampleMethod, dtype: torch.dtype, value: float) -> None:
    x, y = normal(60, 2).to(dtype), normal(60, 2, 1).to(dtype) + 0.8
    x[0] = value
    with pytest.warns(UserWarning, match=f"column 0 holds {value:g} in 1 rows, column 1 holds".replace("+", r"\+")):
        found = two_sample_test(x, y, method=method)
    assert found.rejected
    assert [fill.column for _, fill in found.fill_values] == [0, 1]


def test_distances_beside_a_far_row_are_formed_in_float64() -> None:
    x, y = normal(60, 2), normal(60, 2, 1) + 0.8
    x[0] = 1e6
    median = GaussianKernel("median")
    single = two_sample_test(x, y, kernels=median, standardize="no")
    double = two_sample_test(x.double(), y.double(), kernels=median, standardize="no")
    assert single.rejected
    torch.testing.assert_close(single.statistic, double.statistic, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("method", ["permutation", "cross"])
def test_the_level_holds_in_one_unit(method: TwoSampleMethod) -> None:
    factors = torch.tensor([1.0, 1e3, 1e5])
    rejected = 0
    for seed in range(200):
        x = normal(80, 3, seed) * factors
        x[seed % 80] = 1e6
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rejected += two_sample_test(x[:40], x[40:], method=method, permutations=99, generator=seeded(seed)).rejected
    assert 1 <= rejected <= 20  # of 200 at 5 %: outside with probability 0.002


def test_columns_of_one_unit_and_layers_with_a_number_for_their_bandwidth_stay_as_they_are() -> None:
    x, y = normal(40, 3), normal(50, 3, 1)
    plain = two_sample_test(x, y, standardize="no")
    assert two_sample_test(x, y).statistic == plain.statistic
    factors = torch.tensor([1.0, 1e3, 1.0])
    fixed = GaussianKernel(1.68)
    kept, as_it_is = (two_sample_test(x * factors, y, kernels=fixed, standardize=s) for s in ("auto", "no"))
    assert kept.statistic == as_it_is.statistic
    assert two_sample_test(x * factors, y * factors, standardize="pooled").statistic == pytest.approx(
        two_sample_test(x, y, standardize="pooled").statistic, rel=1e-4
    )
    with pytest.raises(ValueError, match="standardize must be one of auto, pooled, no"):
        check_options("cross", 0.05, 99, "source")


def test_a_file_is_tested_in_one_unit(tmp_path) -> None:
    factors = torch.tensor([1.0, 1e3, 1e4])
    x, y = normal(6000, 3) * factors, normal(6000, 3, 1) * factors
    y[:, 0] += 0.5
    paths = [tmp_path / "x.npy", tmp_path / "y.npy"]
    for path, rows in zip(paths, (x, y), strict=True):
        np.save(path, rows.numpy())
    on_disk = [MappedRows(np.load(path, mmap_mode="r")) for path in paths]
    found = two_sample_test(*on_disk, method="fourier")
    assert found.rejected
    assert found.statistic == pytest.approx(two_sample_test(x, y, method="fourier").statistic)


def test_kernel_weights_are_learnt_in_one_unit() -> None:
    pooled = torch.cat([normal(400, 2), normal(400, 2, 1) + torch.tensor([2.0, 0.0])]) * torch.tensor([1.0, 1e4])
    same = describe_columns(pooled, [pooled]).standardized(pooled)
    assert optimal_weights(pooled[:400], pooled[400:]) == pytest.approx(optimal_weights(same[:400], same[400:]))
