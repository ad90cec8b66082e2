"""JMMD² from random Fourier features: unbiased, its error falls as 1/√D, and it needs sums alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from jointadapt import GaussianKernel, jmmd_fourier, jmmd_unbiased, two_sample_test
from jointadapt.data import arrays, read_domain
from jointadapt.data.mapped import MappedRows
from jointadapt.discrepancy import fourier
from jointadapt.discrepancy.kernels import jan_kernels

FLOAT64 = 1e-10
"""Relative error that sums of some hundred float64 terms may differ by."""
FOUR_SIGMA = 4.0
"""Standard errors that a mean of independent draws may be off by: passed but for 6 in 100,000 seeds."""
DRAWS = 300


def sample(rows: int, seed: int, shift: float = 0.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 5, generator=generator, dtype=torch.float64) + shift
    logits = torch.randn(rows, 3, generator=generator, dtype=torch.float64) + shift * torch.arange(3)
    return [features, logits.softmax(1)]


SOURCE, TARGET = sample(40, 0), sample(30, 1, 0.6)


def estimate(source, target, features: int, seed: int, **options) -> torch.Tensor:
    return jmmd_fourier(source, target, features=features, generator=torch.Generator().manual_seed(seed), **options)


def errors(features: int) -> torch.Tensor:
    exact = jmmd_unbiased(SOURCE, TARGET)
    return torch.stack([estimate(SOURCE, TARGET, features, seed) - exact for seed in range(DRAWS)])


def test_the_mean_over_draws_is_the_unbiased_estimate() -> None:
    found = errors(64)
    assert found.mean().abs() < FOUR_SIGMA * found.std() / DRAWS**0.5
    assert found.std() > 0


def test_the_error_falls_with_the_root_of_the_features() -> None:
    roots = [errors(features).square().mean().sqrt() for features in (32, 512)]
    assert roots[0] / roots[1] == pytest.approx((512 / 32) ** 0.5, rel=0.2)


def test_weighted_and_single_kernels_too() -> None:
    kernels = [GaussianKernel(4.0, (0.5, 2.0), (0.3, 1.2)), GaussianKernel("median", (1.0,))]
    exact = jmmd_unbiased(SOURCE, TARGET, kernels)
    draws = torch.stack([estimate(SOURCE, TARGET, 128, seed, kernels=kernels) for seed in range(DRAWS)])
    assert (draws.mean() - exact).abs() < FOUR_SIGMA * draws.std() / DRAWS**0.5


def test_gradients() -> None:
    source, target = ([layer[:6].clone().requires_grad_() for layer in layers] for layers in (SOURCE, TARGET))
    kernels = [GaussianKernel(3.0), GaussianKernel(1.68, (1.0,))]

    def value(*rows: torch.Tensor) -> torch.Tensor:
        return estimate(rows[:2], rows[2:], 16, 0, kernels=kernels)

    assert torch.autograd.gradcheck(value, (*source, *target))


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for tile in (fourier.FOURIER_TILE, 7):
        monkeypatch.setattr(fourier, "FOURIER_TILE", tile)
        source, target = ([layer.clone().requires_grad_() for layer in layers] for layers in (SOURCE, TARGET))
        value = estimate(source, target, 64, 0)
        found.append([value.detach(), *torch.autograd.grad(value, [*source, *target])])
    torch.testing.assert_close(*found, rtol=FLOAT64, atol=FLOAT64)


def test_identical_rows_give_zero_and_a_finite_gradient() -> None:
    rows = torch.full((4, 3), 7.0, requires_grad=True)
    value = jmmd_fourier([rows], [rows.detach()], [GaussianKernel()])
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert rows.grad is not None
    assert not rows.grad.any()


def test_a_shift_of_both_samples_changes_nothing() -> None:
    shifted = [[layer + 1000.0 for layer in sample] for sample in (SOURCE, TARGET)]
    expected, found = (estimate(*samples, 64, 0, kernels=jan_kernels(2)) for samples in ((SOURCE, TARGET), shifted))
    assert found.item() == pytest.approx(expected.item(), rel=1e-8)


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="give an even number; got 5"):
        jmmd_fourier(SOURCE, TARGET, features=5)
    with pytest.raises(ValueError, match="needs 2 or more rows of each sample; got 1 and 30"):
        jmmd_fourier([layer[:1] for layer in SOURCE], TARGET)
    with pytest.raises(ValueError, match="the bandwidth must be a number or 'mean'"):
        jmmd_fourier(SOURCE, TARGET, [GaussianKernel("median")] * 2, reduce=torch.clone)


def test_the_test_sees_a_joint_difference_that_no_marginal_shows() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 1, generator=generator)
    labels = torch.stack([x[:, 0] > 0, x[:, 0] <= 0], 1).float()
    kernels = [GaussianKernel(2.0, (1.0,)), GaussianKernel(1.0, (1.0,))]
    options = {"kernels": kernels, "method": "fourier"}
    swapped = two_sample_test([x[:300], labels[:300]], [x[300:], 1 - labels[300:]], **options)
    same = two_sample_test([x[:300], labels[:300]], [x[300:], labels[300:]], **options)
    assert swapped.p_value < 1e-6
    assert not same.rejected


def test_the_test_is_the_cross_test_in_the_limit_of_many_features() -> None:
    x, y = SOURCE[0], TARGET[0]
    turned = [torch.cat([rows[::2], rows[1::2]]) for rows in (x, y)]  # the halves that a cross test would draw
    kernel = GaussianKernel(10.0, (1.0,))
    halves = [[rows[: len(rows) // 2], rows[len(rows) // 2 :]] for rows in turned]
    found = two_sample_test(x, y, kernels=kernel, method="fourier", features=40_000)
    other = torch.cat([halves[0][1], halves[1][1]])
    K = [kernel(torch.cdist(half, other).square(), 10.0) for half in (halves[0][0], halves[1][0])]
    n = len(halves[0][1])
    witness = [k[:, :n].mean(1) - k[:, n:].mean(1) for k in K]
    assert found.statistic == pytest.approx(float(witness[0].mean() - witness[1].mean()), abs=0.02)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (201, 150)])
def test_the_level_holds(n: int, m: int) -> None:
    generator = torch.Generator().manual_seed(n)
    draws = 200
    rejected = sum(
        two_sample_test(
            torch.randn(n, 3, generator=generator),
            torch.randn(m, 3, generator=generator),
            method="fourier",
            features=64,
            generator=generator,
        ).rejected
        for _ in range(draws)
    )
    assert rejected <= binom.ppf(0.9999, draws, 0.05)


def test_rows_on_disk_are_tested_as_rows_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(301, 4, generator=generator), torch.randn(200, 4, generator=generator) + 0.4
    expected = two_sample_test(x, y, method="fourier")
    assert expected.rejected
    for name, rows in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", rows.numpy())
    monkeypatch.setattr(arrays, "IN_MEMORY", 1000)
    mapped = [read_domain(tmp_path / f"{name}.npy").content for name in "xy"]
    assert all(isinstance(rows, MappedRows) for rows in mapped)
    opened = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    for samples in (mapped, opened):
        found = two_sample_test(*samples, method="fourier")
        assert found.statistic == expected.statistic
        assert torch.equal(found.source_contributions, expected.source_contributions)
    found = estimate([mapped[0]], [mapped[1]], 64, 0, kernels=[GaussianKernel()])
    assert found.item() == pytest.approx(estimate([x], [y], 64, 0, kernels=[GaussianKernel()]).item(), abs=1e-6)


def test_rows_that_are_no_numbers_are_told() -> None:
    x, y = torch.randn(10, 2), torch.randn(10, 2)
    y[3, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        two_sample_test(x, y, method="fourier")
