"""A kernel of one's own: one bandwidth, one value and the right gradient, whichever estimator is asked."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jointadapt import jmmd_fourier, two_sample_test
from jointadapt.discrepancy import (
    GaussianKernel,
    Kernel,
    engine,
    jan_kernels,
    jmmd_biased,
    jmmd_block,
    jmmd_linear,
    jmmd_unbiased,
    joint_gram,
    mmd_biased,
    mmd_unbiased,
)
from jointadapt.discrepancy.kernels import complete_kernel
from jointadapt.two_sample import optimal_weights

DOUBLE = 1e-12  # float64: rounding of sums of a few hundred terms
FEATURES = 40_000
FOUR_SIGMA = 4 * (2 / FEATURES) ** 0.5  # of a mean of so many cosines


def rational_quadratic(D: Tensor, bandwidth: float | Tensor) -> Tensor:
    return 1 / (1 + D / bandwidth)


class OffCentre:
    """A kernel whose bandwidth is neither the mean rule's nor the same for rows that are moved."""

    def __call__(self, D: Tensor, bandwidth: float | Tensor) -> Tensor:
        return rational_quadratic(D, bandwidth)

    def find_bandwidth(self, *rows: Tensor) -> Tensor:
        assert len(rows) == 1, "the pooled sample comes as one matrix"
        assert not rows[0].requires_grad
        return 0.1 + rows[0].square().sum(1).mean()


class Widened(GaussianKernel):
    """A Gaussian with a rule of its own."""

    def find_bandwidth(self, *rows: Tensor) -> Tensor:
        return 3 * super().find_bandwidth(*rows)


class Fixed:
    """A Gaussian with a number for its bandwidth, and its frequencies."""

    at_zero = 1.0

    def __call__(self, D: Tensor, bandwidth: float | Tensor) -> Tensor:
        return (-D / bandwidth).exp()

    def find_bandwidth(self, *rows: Tensor) -> float:  # noqa: ARG002
        return 2.5

    def frequencies(self, width: int, count: int, bandwidth: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.randn(width, count, generator=generator, dtype=torch.float64) * (2 / bandwidth).sqrt()


KERNELS: dict[str, Callable[[], Kernel]] = {
    "function": lambda: rational_quadratic,
    "own rule": OffCentre,
    "derived, own rule": Widened,
    "number": Fixed,
}


def sample(n: int, m: int) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(n)
    rows = [
        torch.randn(k, d, generator=generator, dtype=torch.float64) + 0.5 * (k == m) + 1 for k in (n, m) for d in (3, 2)
    ]
    return rows[:2], rows[2:]


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest) -> list[Kernel]:
    return [KERNELS[request.param](), GaussianKernel(1.68, scales=(1.0,))]


@pytest.mark.parametrize("tile", [None, 5])
def test_every_estimator_gives_one_value(kernels: list[Kernel], tile: int | None, monkeypatch: pytest.MonkeyPatch):
    if tile:
        monkeypatch.setattr(engine, "CPU_TILE", tile)
    source, target = sample(12, 8)
    K = joint_gram(source, target, kernels)
    assert float(jmmd_biased(source, target, kernels) - mmd_biased(K, 12)) == pytest.approx(0, abs=DOUBLE)
    assert float(jmmd_unbiased(source, target, kernels) - mmd_unbiased(K, 12)) == pytest.approx(0, abs=DOUBLE)
    for method in ("permutation", "aggregated", "cross", "linear"):
        assert two_sample_test(source, target, kernels=kernels, method=method, permutations=19).p_value <= 1
    found = two_sample_test(source, target, kernels=kernels, permutations=19, tile=5)
    assert found.statistic == pytest.approx(float(mmd_unbiased(K, 12)), abs=DOUBLE)


def test_linear_and_block_estimates_have_the_bandwidth_of_the_whole_sample(kernels: list[Kernel]):
    source, target = sample(12, 12)
    K = joint_gram(source, target, kernels)
    assert float(jmmd_block(source, target, kernels, 12) - mmd_unbiased(K, 12)) == pytest.approx(0, abs=DOUBLE)
    first, second = torch.arange(0, 12, 2), torch.arange(1, 12, 2)
    within = K[first, second] + K[first + 12, second + 12]
    across = K[first, second + 12] + K[second, first + 12]
    assert float(jmmd_linear(source, target, kernels) - (within - across).mean()) == pytest.approx(0, abs=DOUBLE)


@pytest.mark.parametrize("tile", [0, 3])
def test_the_gradient_is_right(kernels: list[Kernel], tile: int):
    source, target = sample(4, 3)
    rows = [row.requires_grad_() for row in (*source, *target)]
    bandwidths = [complete_kernel(k).find_bandwidth(s, t) for k, s, t in zip(kernels, source, target, strict=True)]
    held = [complete_kernel(Held(k, float(b))) for k, b in zip(kernels, bandwidths, strict=True)]
    asked = [complete_kernel(kernel) for kernel in kernels]

    def function(*rows: Tensor) -> Tensor:
        return engine.weighted_sum(rows[:2], rows[2:], held, (0.1, 0.2, -0.3), tile=tile)

    assert torch.autograd.gradcheck(function, rows)
    ours, theirs = (
        torch.autograd.grad(engine.weighted_sum(rows[:2], rows[2:], k, (0.1, 0.2, -0.3), tile=tile), rows)
        for k in (held, asked)
    )
    assert max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) < DOUBLE


class Held:
    """A kernel whose bandwidth is held, as gradients hold it."""

    def __init__(self, kernel: Kernel, bandwidth: float) -> None:
        self.kernel, self.bandwidth = kernel, bandwidth

    def __call__(self, D: Tensor, bandwidth: float | Tensor) -> Tensor:
        return self.kernel(D, bandwidth)

    def find_bandwidth(self, *rows: Tensor) -> float:  # noqa: ARG002
        return self.bandwidth


def test_a_kernel_with_a_kink_at_0_has_a_finite_gradient():
    (x, *_), (y, *_) = sample(5, 4)
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(jmmd_biased([x], [y], [lambda D, bandwidth: (-(D / bandwidth).sqrt()).exp()]), x)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_random_features_ask_for_a_spectral_measure():
    source, target = sample(12, 8)
    exact = float(jmmd_unbiased(source[:1], target[:1], [Fixed()]))
    options = {"features": FEATURES, "generator": torch.Generator().manual_seed(0)}
    assert float(jmmd_fourier(source[:1], target[:1], [Fixed()], **options)) == pytest.approx(exact, abs=FOUR_SIGMA)
    widened = float(jmmd_fourier(source[:1], target[:1], [Widened()], **options))
    assert widened == pytest.approx(float(jmmd_unbiased(source[:1], target[:1], [Widened()])), abs=5 * FOUR_SIGMA)
    with pytest.raises(ValueError, match="rational_quadratic has none"):
        jmmd_fourier(source[:1], target[:1], [rational_quadratic])
    with pytest.raises(ValueError, match="OffCentre has none"):
        two_sample_test(*sample(40, 35), kernels=[OffCentre(), OffCentre()], method="fourier")  # 30 rows or more


def test_what_a_derived_kernel_inherits_of_another_function_is_not_used():
    class Rational(GaussianKernel):
        def __call__(self, squared_distances: Tensor, bandwidth: float | Tensor) -> Tensor:
            return rational_quadratic(squared_distances, bandwidth)

    source, target = sample(6, 5)
    x = source[0].requires_grad_()
    for kernel in (rational_quadratic, Rational()):
        value = jmmd_biased([x], target[:1], [kernel])
        (gradient,) = torch.autograd.grad(value, x)
        plain = mmd_biased(joint_gram([x], target[:1], [kernel]), 6)
        (expected,) = torch.autograd.grad(plain, x)
        assert (value - plain).item() == pytest.approx(0, abs=DOUBLE)
        assert float((gradient - expected).abs().max()) < DOUBLE
    with pytest.raises(ValueError, match="Rational has none"):
        jmmd_fourier(source[:1], target[:1], [Rational()])


def test_identical_rows_give_0_and_a_gradient_of_0():
    layers = [torch.full((4, 3), 0.1).requires_grad_() for _ in range(2)]
    value = jmmd_biased(layers[:1], layers[1:], [rational_quadratic])
    assert value.item() == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(value, layers))


def test_mistakes_are_told():
    class Many(Fixed):
        def find_bandwidth(self, *rows: Tensor) -> Any:
            return rows[0]

    source, target = sample(5, 4)
    with pytest.raises(ValueError, match=r"find_bandwidth of Many must give one number; got \(9, 3\)"):
        joint_gram(source[:1], target[:1], [Many()])
    with pytest.raises(TypeError, match="a kernel is a function of squared distances and a bandwidth; got"):
        complete_kernel.__wrapped__(2.0)  # pyright: ignore[reportFunctionMemberAccess]
    with pytest.raises(ValueError, match="over several processes the bandwidth must be a number or 'mean'"):
        jmmd_fourier(source[:1], target[:1], [Widened()], reduce=torch.clone)
    assert optimal_weights(source[0], target[0], Widened()) != optimal_weights(source[0], target[0])


def test_scales_and_weights_may_be_lists():
    kernel = GaussianKernel(np.float64(2.0), [1.0, np.float64(2.0)], [0.5, 1.5])
    assert kernel == GaussianKernel(2.0, (1.0, 2.0), (0.5, 1.5))
    assert hash(kernel) == hash(GaussianKernel(2.0, (1.0, 2.0), (0.5, 1.5)))
    assert all(type(number) is float for number in (kernel.bandwidth, *kernel.scales, *(kernel.weights or ())))
    assert jan_kernels(2, scales=[1.0, 2.0]) == jan_kernels(2, scales=(1.0, 2.0))


def test_a_method_takes_a_list_of_scales():
    """In a process of its own: under pytest the annotations are checked first."""
    code = "print(METHODS['jan']([4, 2], scales=[1.0, 2]).kernels[0].scales)"
    done = subprocess.run(
        [sys.executable, "-c", f"from jointadapt.methods import METHODS; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(1.0, 2.0)\n"
