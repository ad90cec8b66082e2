"""Statistics of columns against plain NumPy, and the rules that are read off them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from jointadapt.discrepancy.columns import (
    CLIP,
    CODES,
    FENCE,
    MIXED,
    REPEATED,
    SPARSE,
    Columns,
    describe_columns,
    fill_values,
)

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def lower_median(values: np.ndarray) -> float:
    return float(np.sort(values)[(len(values) - 1) // 2])


def reference(column: np.ndarray, rounding: float) -> dict[str, float | bool]:
    """Return the definitions in the docstring of `Columns`, one column, in float64."""
    middle = lower_median(column)
    off = column - middle
    reach = FENCE * lower_median(np.abs(off[off != 0])) if off.any() else np.inf
    held = np.clip(column, middle - reach, middle + reach)
    constant = held.std() <= 2 * rounding * abs(middle)
    moved = held[held != middle] - middle
    return {
        "middle": middle,
        "low": middle - reach,
        "high": middle + reach,
        "mean": held.mean(),
        "deviation": 0.0 if constant else held.std(),
        "size": 0.0 if constant or not len(moved) else np.sqrt(np.mean(moved**2)),
        "differing": float(np.mean(column != middle)),
        "two_valued": len(np.unique(column)) <= 2,
    }


def strange_columns(rows: int = 60) -> np.ndarray:
    """Columns of one unit and another, mostly zero, of two values, with far values, and constant but for rounding."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 8))
    x[:, 1] = x[:, 1] * 1e3 - 5e4
    x[:, 2] = generator.poisson(0.4, rows)
    x[:, 3] = np.arange(rows) % 5 == 0
    x[:7, 4] = 1e9
    x[7:9, 4] = -1e7
    x[:, 5] = -7.0
    x[::2, 5] = np.nextafter(-7.0, 0.0)
    x[:, 6] = 0.0
    x[:, 7] = np.arange(rows) == 5
    return x


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_columns_are_described_as_defined(dtype: torch.dtype) -> None:
    x = torch.from_numpy(strange_columns()).to(dtype)
    found = describe_columns(x, x.split(13))
    rounding = torch.finfo(dtype).eps
    for column, values in enumerate(x.double().numpy().T):
        for name, expected in reference(values, rounding).items():
            np.testing.assert_allclose(
                getattr(found, name)[column].item(), expected, rtol=1e-9, atol=1e-9, err_msg=name
            )


@pytest.mark.parametrize(("roundings", "constant"), [(2, True), (4, True), (5, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_that_varies_by_twice_its_rounding_is_constant(roundings: int, constant: bool, sign: int) -> None:
    """Half of the values are 1, half 1 + r ε: their deviation is r ε / 2."""
    x = torch.ones(20, 1)
    x[::2] += roundings * torch.finfo(x.dtype).eps
    x *= sign
    found = describe_columns(x, [x])
    assert (found.deviation.item() == 0) == constant
    assert (found.size.item() == 0) == constant


def test_values_are_held_within_the_fences_and_then_within_ten_deviations() -> None:
    x = torch.ones(100, 2, dtype=torch.float64)
    x[::2] = -1
    x[:20, 0] = torch.tensor([-20.0, 20.0], dtype=torch.float64).repeat(10)  # wide: a fence is near in deviations
    found = describe_columns(x, [x])
    far = torch.full((1, 2), 1e6, dtype=torch.float64)
    at_fence = (found.high - found.mean) / found.deviation
    assert at_fence[0] < CLIP < at_fence[1]
    torch.testing.assert_close(found.standardized(far)[0], at_fence.clamp_max(CLIP), **EXACT)
    torch.testing.assert_close(
        found.standardized(-far)[0], ((found.low - found.mean) / found.deviation).clamp_min(-CLIP)
    )


def columns_with(**fields: Tensor) -> Columns:
    """Return statistics of which only those given matter."""
    width = len(next(iter(fields.values())))
    x = torch.arange(6.0)[:, None].repeat(1, width)
    return replace(describe_columns(x, [x]), **fields)


@pytest.mark.parametrize(
    ("small", "rest", "mixed"),
    [
        (2, 18, True),  # of 20 columns one is a tenth of the other 19: the second smallest counts
        (1, 19, False),
        (2, 19, False),  # of 21 the third
        (3, 18, True),
        (3, 28, False),
    ],
)
def test_a_tenth_of_small_columns_makes_no_mixture(small: int, rest: int, mixed: bool) -> None:
    sizes = torch.tensor([0.0] * 3 + [1e-3] * small + [1.0] * rest)
    assert columns_with(size=sizes).mixed == mixed


@pytest.mark.parametrize(("largest", "mixed"), [(MIXED, False), (MIXED + 0.01, True)])
def test_mixed_is_over_so_many_times(largest: float, mixed: bool) -> None:
    assert columns_with(size=torch.tensor([0.0, 1.0, largest], dtype=torch.float64)).mixed is mixed


@pytest.mark.parametrize(
    ("differing", "two_valued", "sparse"),
    [
        ((0.5, 0.5), (False, False), False),
        ((0.1, 0.2), (False, False), True),
        ((0.1, 0.4), (False, False), False),
        ((0.1, 0.9), (False, True), True),
        ((0.0, 0.0), (True, True), False),
        ((1 - SPARSE,), (False,), False),
    ],
)
def test_sparse_is_the_mean_of_the_columns_of_more_than_two_values(
    differing: tuple[float, ...], two_valued: tuple[bool, ...], sparse: bool
) -> None:
    found = columns_with(differing=torch.tensor(differing, dtype=torch.float64), two_valued=torch.tensor(two_valued))
    assert found.sparse is sparse


@pytest.mark.parametrize(("count", "told"), [(REPEATED, True), (REPEATED - 1, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_fill_value_is_repeated_and_beyond_a_fence(count: int, told: bool, sign: int) -> None:
    x = torch.zeros(30, 1, dtype=torch.float64)
    x[:count] = sign * 7.5
    found = columns_with(low=torch.tensor([-7.0]).double(), high=torch.tensor([7.0]).double())
    assert [(fill.value, fill.rows) for fill in fill_values(x, found)] == [(sign * 7.5, count)] * told
    at_fence = columns_with(low=torch.tensor([-7.5]).double(), high=torch.tensor([7.5]).double())
    assert fill_values(x, at_fence) == []


def test_usual_codes_are_nines_powers_of_ten_and_the_ends_of_integers() -> None:
    nines = {int("9" * digits) for digits in range(2, 13)}
    ends = {2**15, 2**16, 2**31, 2**32, 2**63} | {2**15 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1}
    expected = nines | {10**power for power in range(3, 31)} | ends
    assert {float(code) for code in expected} | {-float(code) for code in expected} == CODES
    assert all(type(code) is float for code in CODES)
    assert not CODES & {9.0, 10.0, 100.0, 98.0, 255.0}
