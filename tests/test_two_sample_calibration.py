"""The level holds when the distributions agree. The campaign of many draws is benchmarks/two_sample_calibration.py."""

import pytest
import torch
from scipy.stats import binom

from jointadapt.two_sample import two_sample_test


@pytest.fixture(autouse=True)
def one_thread():
    """Small tests gain nothing from threads, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rejections(method, n, m, d, draws, permutations=99, shift=0.0):
    generator = torch.Generator().manual_seed(n + 100 * m + 10_000 * d)
    return sum(
        two_sample_test(
            torch.randn(n, d, generator=generator),
            torch.randn(m, d, generator=generator) + shift,
            method=method,
            permutations=permutations,
            generator=generator,
        ).rejected
        for _ in range(draws)
    )


def interval(draws, coverage=0.999):
    return binom.interval(coverage, draws, 0.05)


@pytest.mark.parametrize("method", ["permutation", "aggregated"])
@pytest.mark.parametrize(("n", "m"), [(20, 20), (12, 30)])
def test_level_of_permutation_tests_in_short(method, n, m):
    low, high = interval(200)
    assert low <= rejections(method, n, m, 2, 200) <= high


@pytest.mark.parametrize("method", ["cross", "linear"])
def test_level_of_normal_thresholds_in_short(method):
    low, high = interval(300)
    assert low <= rejections(method, 200, 150, 2, 300) <= high


@pytest.mark.slow
@pytest.mark.parametrize("method", ["permutation", "aggregated"])
def test_level_over_a_thousand_draws(method):
    low, high = interval(1000)
    assert low <= rejections(method, 20, 50, 5, 1000) <= high


def test_power_against_a_known_shift():
    """0.7 standard deviations in each of two dimensions, 50 + 50 rows: Hotelling's T² has 0.995 there."""
    assert rejections("permutation", 50, 50, 2, 50, shift=0.7) >= 46
    assert rejections("aggregated", 50, 50, 2, 50, shift=0.7) >= 40
