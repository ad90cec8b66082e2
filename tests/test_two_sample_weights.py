"""Kernel weights of highest test power against brute force over all directions."""

import itertools

import numpy as np
import pytest
import torch

from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.two_sample import optimal_weights, two_sample_test
from jointadapt.two_sample.samples import shuffled
from jointadapt.two_sample.weights import maximise_ratio

EXACT = 1e-10


@pytest.fixture(autouse=True)
def one_thread():
    """Small tests gain nothing from threads, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ratio(beta, eta, covariance):
    return eta @ beta / np.sqrt(beta @ covariance @ beta)


SIMPLEX = [
    np.array([a, b, 40 - a - b]) / 40 for a, b in itertools.product(range(41), repeat=2) if a + b <= 40
]  # every direction of the positive octant, 1/40 apart


@pytest.mark.parametrize("sign", ["mixed", "positive", "negative"])
@pytest.mark.parametrize("seed", range(8))
def test_no_direction_on_a_grid_has_a_better_ratio(sign, seed):
    rng = np.random.default_rng(seed)
    eta, root = rng.normal(size=3), rng.normal(size=(3, 4))
    eta = {"mixed": eta, "positive": abs(eta), "negative": -abs(eta)}[sign]
    covariance = root @ root.T
    beta = np.array(maximise_ratio(eta, covariance))
    assert (beta >= 0).all()
    assert beta.sum() == pytest.approx(3)
    assert ratio(beta, eta, covariance) >= max(ratio(b, eta, covariance) for b in SIMPLEX) - EXACT
    if eta.max() > 0:  # and the grid comes near it: the bound is not idle
        assert ratio(beta, eta, covariance) <= 1.02 * max(ratio(b, eta, covariance) for b in SIMPLEX)


def test_the_ridge_is_part_of_the_ratio():
    eta, covariance = np.array([1.0, 1.0]), np.diag([1e-6, 1.0])
    assert maximise_ratio(eta, covariance)[0] > 1.99
    assert maximise_ratio(eta, covariance, ridge=1e3) == pytest.approx((1.0, 1.0), abs=1e-3)


def test_weights_come_from_the_linear_time_terms_of_each_scale():
    source = torch.randn(30, 2, generator=seeded(1), dtype=torch.float64)
    target = torch.randn(27, 2, generator=seeded(2), dtype=torch.float64) * 1.5
    kernel = GaussianKernel(3.0, scales=(0.1, 1.0, 10.0))
    draw = seeded(7)
    s, t = source[shuffled(30, draw)[:26]], target[shuffled(27, draw)[:26]]
    terms = []
    for scale in kernel.scales:
        k = [
            torch.exp(-((a - b) ** 2).sum(1) / (3.0 * scale))
            for a, b in ((s[:13], s[13:]), (t[:13], t[13:]), (s[:13], t[13:]), (s[13:], t[:13]))
        ]
        terms.append((k[0] + k[1] - k[2] - k[3]).numpy())
    h = np.stack(terms)
    expected = maximise_ratio(h.mean(1), (h - h.mean(1, keepdims=True)) @ (h - h.mean(1, keepdims=True)).T / 12, 1e-4)
    assert optimal_weights(source, target, kernel, generator=seeded(7)) == pytest.approx(expected, abs=1e-8)


def test_weights_are_plain_numbers_repeat_and_carry_no_gradient():
    source = torch.randn(64, 8, generator=seeded(1)).requires_grad_()
    target = torch.randn(50, 8, generator=seeded(2)) + 1
    weights = optimal_weights(source, target)
    assert weights == optimal_weights(source, target)
    assert all(type(weight) is float and weight >= 0 for weight in weights)
    assert sum(weights) == pytest.approx(5)
    assert weights == optimal_weights(source.detach().numpy(), target.numpy())
    assert optimal_weights(source, target, GaussianKernel(scales=(2.0,))) == (1.0,)


def test_weights_go_to_the_scale_that_sees_the_difference():
    """A comb against a normal differs only in detail finer than its teeth; a shift, only at large."""
    rows = torch.randn(8000, 1, generator=seeded(1), dtype=torch.float64)
    kernel = GaussianKernel(1.0, scales=(1e-3, 1.0))
    fine = optimal_weights(rows[:4000], (rows[4000:] * 4).round() / 4, kernel)
    large = optimal_weights(rows[:4000], rows[4000:] + 1, kernel)
    assert fine[0] > 1.5
    assert large[1] > 1.5


def test_rows_are_needed_to_estimate_a_variance():
    with pytest.raises(ValueError, match="target has 3 rows; expected 4 or more"):
        optimal_weights(torch.zeros(8, 2), torch.zeros(3, 2))


def test_weights_of_half_the_rows_serve_a_test_on_the_other_half():
    rows = torch.randn(1200, 1, generator=seeded(3), dtype=torch.float64)
    source, target = rows[:600], (rows[600:] * 4).round() / 4
    kernel = GaussianKernel(1.0, scales=(1e-3, 1.0, 4.0))
    weights = optimal_weights(source[:300], target[:300], kernel)
    learned = GaussianKernel(1.0, kernel.scales, weights)
    plain, better = (
        two_sample_test(source[300:], target[300:], kernels=k, permutations=200) for k in (kernel, learned)
    )
    assert better.p_value <= plain.p_value
    assert better.rejected
