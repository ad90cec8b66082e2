"""What estimators ask of kernels, samples and processes, each by its contract."""

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from jointadapt.discrepancy import (
    GaussianKernel,
    jmmd_biased,
    jmmd_block,
    jmmd_fourier,
    jmmd_linear,
    jmmd_unbiased,
    joint_gram,
    mmd_biased,
    mmd_unbiased,
)
from jointadapt.discrepancy.example_weights import PairWeights
from jointadapt.discrepancy.kernels import bandwidth_by_rule, complete_kernel


def rows(n: int, d: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def fourier(*layers, **options) -> Tensor:
    return jmmd_fourier(*layers, **options, features=32, generator=torch.Generator().manual_seed(0))


# Sizes


@pytest.mark.parametrize("function", [mmd_biased, mmd_unbiased])
@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (4,), (2, 4, 4)])
def test_a_gram_matrix_is_square(function: Callable, shape: tuple[int, ...]) -> None:
    plain = getattr(function, "__wrapped__", function)
    with pytest.raises(Exception, match=r"square Gram matrix|Type-check error"):
        plain(torch.zeros(shape), 2)


def test_each_sample_has_the_rows_that_the_estimate_needs() -> None:
    K = torch.eye(4)
    for n in (0, 4):
        with pytest.raises(ValueError, match="needs 1 or more rows of each sample"):
            mmd_biased(K, n)
    for n in (1, 3):
        assert mmd_biased(K, n) > 0
        with pytest.raises(ValueError, match="needs 2 or more rows of each sample"):
            mmd_unbiased(K, n)


@pytest.mark.parametrize(("n", "block"), [(4, 2), (6, 2), (10, 2), (7, 7), (9, 3), (12, 3), (16, 4), (2, 2), (3, 3)])
def test_blocks_are_of_the_largest_divisor_up_to_the_root(n: int, block: int) -> None:
    x, y, kernels = rows(n, 2), rows(n, 2, 1), [GaussianKernel(2.0)]
    assert torch.equal(jmmd_block([x], [y], kernels), jmmd_block([x], [y], kernels, block_size=block))


@pytest.mark.parametrize("features", [-2, 0, 1, 3])
def test_features_are_an_even_number(features: int) -> None:
    with pytest.raises(ValueError, match="give an even number"):
        jmmd_fourier([rows(4, 2)], [rows(4, 2)], features=features)
    jmmd_fourier([rows(4, 2)], [rows(4, 2)], features=2)


@pytest.mark.parametrize("function", [jmmd_biased, jmmd_unbiased, jmmd_linear, jmmd_block, fourier, joint_gram])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(function: Callable, dtype: torch.dtype) -> None:
    x, y = rows(12, 30).to(dtype), (1 + rows(12, 30, 1)).to(dtype)
    for kernels in (None, [GaussianKernel(20.0)]):
        found, expected = function([x], [y], kernels=kernels), function([x.float()], [y.float()], kernels=kernels)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


# Fourier features over processes


@pytest.mark.parametrize("kernel", [GaussianKernel(), GaussianKernel(3.0, (1.0,), (2.0,))], ids=["mean", "number"])
@pytest.mark.parametrize("weighed", [False, True])
def test_two_processes_with_equal_rows_are_one_with_the_rows_twice(kernel: GaussianKernel, weighed: bool) -> None:
    x, y = 100 + rows(9, 3), 100 + rows(7, 3, 1, 0.7)
    w = (torch.linspace(0.5, 2, 9).double(), torch.linspace(1, 3, 7).double()) if weighed else (None, None)
    alone = fourier([x], [y], kernels=[kernel], reduce=lambda total: total + total, weights=w if weighed else None)
    twice = [a if a is None else a.repeat(2) for a in w]
    both = fourier([x.repeat(2, 1)], [y.repeat(2, 1)], kernels=[kernel], weights=tuple(twice) if weighed else None)
    torch.testing.assert_close(alone, both, rtol=1e-9, atol=1e-12)


def test_over_processes_one_row_may_be_all_that_a_process_has() -> None:
    fourier([rows(1, 3)], [rows(1, 3, 1)], kernels=[GaussianKernel(3.0)], reduce=lambda total: 2 * total)


def test_the_mean_rule_of_passing_rows_is_the_mean_squared_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far from zero, in float32, in tiles: γ to single precision, and the features differ by no more."""
    x, y = (1e4 + rows(40, 3)).float(), (1e4 + rows(30, 3, 1, 1.0)).float()
    gamma = bandwidth_by_rule("mean", x.double(), y.double()).item()
    expected = fourier([x], [y], kernels=[GaussianKernel(gamma)])
    for tile in (2048, 7):
        monkeypatch.setattr("jointadapt.discrepancy.fourier.FOURIER_TILE", tile)
        torch.testing.assert_close(fourier([x], [y], kernels=[GaussianKernel()]), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-3, 1.0])
def test_the_bandwidth_of_passing_rows_is_held_in_any_unit(unit: float) -> None:
    x, y = (unit * rows(9, 3)).requires_grad_(), unit * rows(7, 3, 1, 0.7)
    gamma = bandwidth_by_rule("mean", x, y).item()
    found, held = (fourier([x], [y], kernels=[GaussianKernel(bandwidth)]) for bandwidth in ("mean", gamma))
    torch.testing.assert_close(found, held)
    torch.testing.assert_close(*(torch.autograd.grad(value, x)[0] for value in (found, held)))


def test_weights_of_passing_rows_are_held_and_pass_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows(9, 3).requires_grad_(), rows(11, 3, 1)
    w = torch.linspace(0.5, 2, 9).double().requires_grad_()
    found = []
    for tile in (2048, 4):
        monkeypatch.setattr("jointadapt.discrepancy.fourier.FOURIER_TILE", tile)
        value = fourier([x], [y], kernels=[GaussianKernel(3.0)], weights=(w, None))
        of_x, of_w = torch.autograd.grad(value, [x, w], allow_unused=True)
        assert of_w is None
        found.append([value.detach(), of_x])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


# Weights


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200, 1e306])
def test_the_unit_of_the_weights_does_not_matter(unit: float) -> None:
    w = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(PairWeights.of((unit * w, None), 3, 2).examples[:3], w * 3 / 7, rtol=1e-12, atol=0)


def test_weights_are_held_in_float64_and_two_must_count() -> None:
    found = PairWeights.of((torch.ones(3).requires_grad_(), None), 3, 2)
    assert not found.examples.requires_grad
    assert found.examples.dtype == PairWeights.of((None, None), 3, 2).examples.dtype == torch.float64
    PairWeights.of((torch.tensor([1.0, 1.0, 0.0]), None), 3, 2)
    PairWeights.of((torch.tensor([1.0]), None), 1, 2)
    with pytest.raises(ValueError, match="fewer than two source examples"):
        PairWeights.of((torch.tensor([1.0, 0.0, 0.0]), None), 3, 2)


# Kernels


@pytest.mark.parametrize(
    "arguments",
    [
        {"bandwidth": math.inf},
        {"bandwidth": math.nan},
        {"scales": (1.0, 0.0)},
        {"scales": (math.inf,)},
        {"scales": (1.0, 2.0), "weights": (1.0, -1.0)},
        {"scales": (1.0, 2.0), "weights": (1.0, math.nan)},
    ],
)
def test_numbers_that_make_no_kernel_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match="positive"):
        GaussianKernel(**arguments)


class Own:
    """A kernel that answers whatever it is told to."""

    def __init__(self, bandwidth: object = 2.0, **supplied: object) -> None:
        self.answer = bandwidth
        vars(self).update(supplied)

    def __call__(self, squared_distances: Tensor, bandwidth: float | Tensor) -> Tensor:
        return torch.exp(-squared_distances / bandwidth) / 3

    def find_bandwidth(self, *parts: Tensor) -> object:
        assert len(parts) == 1
        assert parts[0].dtype in (torch.float32, torch.float64)
        assert not parts[0].requires_grad
        return self.answer


@pytest.mark.parametrize("answer", [2, 2.0, np.float32(2), torch.tensor([2.0]), torch.tensor([[2.0]]).double()])
def test_a_kernel_may_give_its_bandwidth_as_any_one_number(answer: object) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        found = complete_kernel(Own(answer)).find_bandwidth(rows(3, 2).to(dtype).requires_grad_(), rows(2, 2).to(dtype))
        assert found.shape == ()
        assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert found == 2


def test_a_bandwidth_of_0_that_a_kernel_finds_becomes_a_tiny_one() -> None:
    found = complete_kernel(Own(0.0)).find_bandwidth(rows(3, 2))
    assert 0 < found < 1e-150
    assert torch.isfinite(1 / found)


def test_the_diagonal_is_what_the_kernel_says_or_gives_in_float64() -> None:
    assert complete_kernel(Own()).at_zero == 1 / 3
    supplied = complete_kernel(Own(at_zero=torch.tensor(0.25))).at_zero
    assert (supplied, type(supplied)) == (0.25, float)


def test_frequencies_of_a_kernel_come_in_the_precision_of_its_bandwidth() -> None:
    kernel = complete_kernel(Own(frequencies=lambda width, count, bandwidth, generator: torch.ones(width, count)))  # noqa: ARG005
    assert kernel.frequencies(2, 3, torch.tensor(1.0, dtype=torch.float64)).dtype == torch.float64
    for dtype in (torch.float32, torch.float64):
        assert GaussianKernel().frequencies(2, 3, torch.tensor(1.0, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("rule", ["mean", "median", 2.0])
def test_a_rule_gives_single_precision_or_wider(rule: str | float) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        expected = torch.float64 if dtype == torch.float64 else torch.float32
        assert bandwidth_by_rule(rule, rows(3, 2).to(dtype)).dtype == expected


def test_a_slope_by_autograd_needs_no_graph_around_it() -> None:
    distances = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    value, slope = complete_kernel(Own()).with_slope(distances, 2.0)
    assert not value.requires_grad
    assert not slope.requires_grad
    torch.testing.assert_close(slope, torch.tensor([0.0, math.exp(-0.5) / 3], dtype=torch.float64))


class Derived(GaussianKernel):
    """Another function than GaussianKernel's, with a bandwidth of its own; its slope is not the inherited one."""

    def __call__(self, squared_distances: Tensor, bandwidth: float | Tensor) -> Tensor:
        return 1 / (1 + squared_distances / bandwidth)

    def find_bandwidth(self, *parts: Tensor) -> Tensor:
        return sum(len(part) for part in parts) * torch.ones((), dtype=parts[0].dtype)


def test_a_derived_kernel_keeps_what_it_defines_itself() -> None:
    kernel, D = complete_kernel(Derived()), torch.tensor([0.0, 5.0], dtype=torch.float64)
    assert kernel.at_zero == 1
    assert kernel.find_bandwidth(rows(3, 2), rows(2, 2)) == 5
    torch.testing.assert_close(kernel.with_slope(D, 5.0)[1], torch.tensor([0.0, 0.25], dtype=torch.float64))


class Drawing(Derived):
    """One that also knows its spectral measure."""

    def frequencies(self, width: int, count: int, *_: object) -> Tensor:
        return torch.full((width, count), 7.0)


def test_a_derived_kernel_may_supply_its_frequencies() -> None:
    assert (complete_kernel(Drawing()).frequencies(2, 3, torch.tensor(1.0)) == 7).all()


@pytest.mark.parametrize("n", [20, 300], ids=["dense", "tiled"])
@pytest.mark.parametrize("function", [jmmd_biased, jmmd_unbiased])
def test_a_kernel_of_roots_is_given_no_negative_distance(function: Callable, n: int) -> None:
    x = 1e3 * rows(n // 2, 300).float().repeat(2, 1)  # each row twice: a distance of 0, and of rounding
    x.requires_grad_()
    value = function([x], [x.detach()[: n // 2]], [lambda D, bandwidth: torch.exp(-(D / bandwidth).sqrt())])
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, x)[0]).all()


@pytest.mark.parametrize("function", [jmmd_biased, jmmd_unbiased])
def test_a_gradient_that_keeps_its_graph_is_that_of_the_multiple(function: Callable) -> None:
    x, y = rows(6, 2).requires_grad_(), rows(5, 2, 1)
    (plain,) = torch.autograd.grad(function([x], [y]), x)
    (kept,) = torch.autograd.grad(3 * function([x], [y]), x, create_graph=True)
    torch.testing.assert_close(kept.detach(), 3 * plain)
    torch.testing.assert_close(torch.func.grad(lambda z: 3 * function([z], [y]))(x.detach()), 3 * plain)


UNCHECKED = """
import numpy as np, torch
from jointadapt.discrepancy import *
from jointadapt.two_sample import two_sample_test
x = torch.randn(12, 5)
cases = (
    (lambda: GaussianKernel("middle"), ValueError, "'mean' or 'median'; got 'middle'"),
    (lambda: mmd_biased(torch.zeros(4, 5), 2), ValueError, "got shape (4, 5)"),
    (lambda: mmd_biased(torch.zeros(4), 2), ValueError, "got shape (4,)"),
    (lambda: mmd_unbiased(torch.zeros(2, 4, 4), 2), ValueError, "got shape (2, 4, 4)"),
    (lambda: jmmd_biased([x, x], [x]), ValueError, "same one or more layers; got 2 and 1"),
    (lambda: jmmd_biased([], []), ValueError, "source_layers is empty"),
    (lambda: jmmd_biased([x], []), ValueError, "target_layers is empty"),
    (lambda: jmmd_biased([x], [x[0]]), ValueError, "each target layer must be a matrix"),
    (lambda: jmmd_biased([x, x[1:]], [x, x]), ValueError, "got shapes [(12, 5), (11, 5)]"),
    (lambda: two_sample_test(x, x, standardize="yes"), ValueError, "standardize"),
    (lambda: two_sample_test(x, x, level=0.0), ValueError, "level"),
    (lambda: two_sample_test(x, x, level=1.0), ValueError, "level"),
)
for call, kind, message in cases:
    try:
        call()
    except kind as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
"""


def test_what_a_type_checker_would_refuse_is_told_without_one() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", UNCHECKED], check=True, timeout=100)
