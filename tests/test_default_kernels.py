"""Without kernels: features get the mean squared distance wherever they stand, and only probabilities γ = 1.68."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.utils.checkpoint

from jointadapt.discrepancy import (
    GaussianKernel,
    jan_kernels,
    jmmd_biased,
    jmmd_block,
    jmmd_fourier,
    jmmd_linear,
    jmmd_unbiased,
    joint_gram,
)
from jointadapt.discrepancy.default_kernels import (
    HIDDEN,
    SOFTMAX,
    _are_probabilities,
    _Either,
    _hold_probabilities,
    default_kernels,
)
from jointadapt.two_sample import two_sample_test

JAN, FEATURES = ["mean", 1.68], ["mean", "mean"]


def fourier(*layers, **options):
    return jmmd_fourier(*layers, **options, generator=torch.Generator().manual_seed(0))


ESTIMATORS = [jmmd_biased, jmmd_unbiased, jmmd_linear, jmmd_block, fourier, joint_gram]


def rows(n: int, d: int, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize("function", ESTIMATORS)
@pytest.mark.parametrize("width", [1, 64, 2048])
def test_a_single_layer_is_measured_by_its_own_distances(function: Callable, width: int) -> None:
    source, target = rows(12, width).requires_grad_(), rows(12, width, 1, 1.0)
    value = function([source], [target])
    assert torch.equal(value, function([source], [target], kernels=[GaussianKernel()]))
    assert value.sum() > 0.01
    (gradient,) = torch.autograd.grad(value.sum(), source)
    assert gradient.abs().sum() > 1e-3


@pytest.mark.parametrize("function", ESTIMATORS)
def test_the_last_layer_is_a_softmax_layer_where_it_is_one(function: Callable) -> None:
    features, logits = ([rows(12, 64, seed), rows(12, 64, seed + 2, 0.5)] for seed in (0, 7))
    hidden = [[f, z] for f, z in zip(features, logits, strict=True)]
    softmax = [[f, z.softmax(1)] for f, z in zip(features, logits, strict=True)]
    assert torch.equal(function(*softmax), function(*softmax, kernels=jan_kernels(2)))
    assert torch.equal(function(*hidden), function(*hidden, kernels=[GaussianKernel()] * 2))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (rows(20, 5).softmax(1), JAN),
        (rows(20, 1000).softmax(1).bfloat16(), JAN),
        (rows(20, 345).softmax(1).half(), JAN),
        (rows(20, 3).softmax(1).double().round(decimals=3), JAN),
        (torch.nn.functional.one_hot(torch.arange(20) % 4), JAN),
        (rows(20, 5), FEATURES),
        (rows(20, 5).softmax(1) - 0.01, FEATURES),
        (torch.cat([rows(19, 5).softmax(1), rows(1, 5)]), FEATURES),
        (torch.cat([rows(19, 2).softmax(1), torch.tensor([[1.5, -0.5]])]), FEATURES),
        (1 + 1e-3 * rows(20, 1), FEATURES),  # a measurement near 1
        (torch.full((20, 5), float("nan")), FEATURES),
    ],
    ids=["softmax", "bfloat16", "half", "rounded", "one-hot", "features", "moved", "one row", "negative", "one column",
         "NaN"],
)  # fmt: skip
def test_what_counts_as_probabilities(last: torch.Tensor, expected: list) -> None:
    for pair in ((last, last), (last, rows(20, last.shape[1]).softmax(1))):
        found = default_kernels([rows(20, 3), pair[0]], [rows(20, 3), pair[1]])
        assert [kernel.bandwidth for kernel in found] == expected


@pytest.mark.parametrize("least", [0.0, -1e-9])
@pytest.mark.parametrize("total", [0.985, 0.995, 1.005, 1.015])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_rows_that_are_not_waited_for_are_judged_as_all_are(columns: int, total: float, least: float) -> None:
    """In compiled code and on a GPU the answer is a tensor: the same one. Each bound decides once."""
    last = torch.cat([torch.full((3, columns - 1), least), torch.full((3, 1), total)], 1).double()
    expected = columns > 1 and 0.99 < total < 1.01 and (least == 0)
    for rows_last in (last, torch.cat([last, torch.full_like(last[:1], 1 / columns)])):
        assert bool(_are_probabilities(rows_last)) == _hold_probabilities(rows_last) == expected


def test_no_rows_are_no_probabilities() -> None:
    assert not _are_probabilities(torch.zeros(0, 3))
    assert not _hold_probabilities(torch.zeros(0, 3))


@pytest.mark.parametrize(("softmax", "kernel"), [(True, SOFTMAX), (False, HIDDEN)])
def test_a_kernel_that_is_one_or_the_other_by_a_tensor_is_it(softmax: bool, kernel: GaussianKernel) -> None:
    either, x = _Either(torch.tensor(softmax)), rows(9, 4).double()
    distances = torch.cdist(x, x).square()
    bandwidth = either.find_bandwidth(x)
    torch.testing.assert_close(bandwidth.double(), kernel.find_bandwidth(x).double())
    assert float(either.at_zero) == kernel.at_zero
    assert either.at_zero.dtype == torch.float64
    assert torch.equal(either(distances, 2.5), kernel(distances, 2.5))
    gamma, generators = torch.tensor(2.5).double(), [torch.Generator().manual_seed(0) for _ in range(2)]
    drawn = either.frequencies(4, 6, gamma, generators[0])
    (of_softmax, of_hidden) = (each.frequencies(4, 6, gamma, generators[1]) for each in (SOFTMAX, HIDDEN))
    assert torch.equal(drawn, of_softmax if softmax else of_hidden)
    for found, expected in zip(either.with_slope(distances, 2.5), kernel.with_slope(distances, 2.5), strict=True):
        assert torch.equal(found, expected)


def test_probabilities_of_one_domain_alone_are_no_softmax_layer() -> None:
    logits = rows(20, 5)
    found = default_kernels([logits, logits.softmax(1)], [logits, logits])
    assert [kernel.bandwidth for kernel in found] == FEATURES


def test_over_processes_one_that_sees_features_decides() -> None:
    logits = rows(20, 5)
    layers = [logits, logits.softmax(1)]
    found = default_kernels(layers, layers, lambda missed: missed + 1)
    assert [kernel.bandwidth for kernel in found] == FEATURES


@pytest.mark.parametrize("waited", [True, False], ids=["eager", "compiled"])
@pytest.mark.parametrize(("source", "target"), [(True, True), (True, False), (False, True), (False, False)])
def test_over_processes_that_agree_the_answer_is_their_own(
    source: bool, target: bool, waited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = rows(20, 5)
    samples = [[logits, logits, logits.softmax(1) if probabilities else logits] for probabilities in (source, target)]
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: not waited)

    def total(missed: torch.Tensor) -> torch.Tensor:
        assert missed.dtype == torch.float32
        return missed + missed

    kernels = [GaussianKernel(), GaussianKernel(), SOFTMAX if source and target else HIDDEN]
    for reduce in (None, total):
        found = default_kernels(*samples, reduce)
        assert len(found) == 3
        for kernel, expected in zip(found, kernels, strict=True):
            assert torch.equal(kernel(logits.square(), 2.0), expected(logits.square(), 2.0))
    missed_elsewhere = default_kernels(*samples, lambda missed: missed + 1)
    assert torch.equal(missed_elsewhere[-1](logits.square(), 2.0), HIDDEN(logits.square(), 2.0))


class Slices:
    """A file of rows."""

    def __init__(self, held: torch.Tensor) -> None:
        self.held, self.shape = held, held.shape

    def __getitem__(self, rows: slice, /) -> torch.Tensor:
        return self.held[rows]


def test_rows_of_a_file_are_looked_at_as_those_in_memory() -> None:
    features, probabilities = rows(3000, 4), rows(3000, 4).softmax(1)
    last_spoilt = torch.cat([probabilities[:-1], features[-1:]])
    first_spoilt = torch.cat([features[:1], probabilities[1:]])
    for last, expected in ((probabilities, JAN), (last_spoilt, FEATURES), (first_spoilt, FEATURES)):
        layers = [Slices(features), Slices(last)]
        assert [kernel.bandwidth for kernel in default_kernels(layers, layers)] == expected


@pytest.mark.parametrize("method", ["permutation", "aggregated", "cross", "fourier", "linear"])
def test_two_sample_tests_choose_as_the_estimators(method: str) -> None:
    source, target = ([rows(40, 64, seed), rows(40, 30, seed + 1, seed / 30)] for seed in (0, 9))
    options = {"method": method, "permutations": 99}
    given = two_sample_test(source, target, kernels=[GaussianKernel()] * 2, **options)
    assert two_sample_test(source, target, **options).statistic == given.statistic
    softmax = [[x, z.softmax(1)] for x, z in (source, target)]
    given = two_sample_test(*softmax, kernels=jan_kernels(2), **options)
    assert two_sample_test(*softmax, **options).statistic == given.statistic


COMPILED = """
import sys, torch
from jointadapt.discrepancy import jmmd_biased, jmmd_block, jmmd_linear, jmmd_unbiased
torch.manual_seed(0)
features = [torch.randn(6, 4, dtype=torch.float64).requires_grad_() for _ in range(2)]
for lasts in ([x * 1 for x in features], [x.softmax(1) for x in features]):
    layers = [[x, last.detach()] for x, last in zip(features, lasts)]
    for function in (jmmd_biased, jmmd_unbiased, jmmd_linear, jmmd_block):
        value, expected = torch.compile(function, fullgraph=True, backend="aot_eager")(*layers), function(*layers)
        assert value.dtype == expected.dtype
        assert abs(value - expected) < 1e-12, function
        single = [[layer.float() for layer in sample] for sample in layers]
        assert torch.compile(function, fullgraph=True, backend="aot_eager")(*single).dtype == torch.float32
        for got, wanted in zip(torch.autograd.grad(value, features), torch.autograd.grad(expected, features)):
            assert (got - wanted).abs().max() < 1e-12, function
"""


@pytest.mark.slow
def test_compiled_code_tells_them_apart_too() -> None:
    """In a process of its own, since the runtime shape checks of this test run cannot be traced."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILED], check=True, timeout=300)


# Transforms


def quadratic(function: Callable, kernels: list | None, target: torch.Tensor) -> Callable:
    return lambda x: function([x], [target], kernels)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # forward-mode's own
@pytest.mark.parametrize("function", [jmmd_biased, jmmd_unbiased])
@pytest.mark.parametrize("kernels", [None, [GaussianKernel(3.0)]], ids=["rule", "number"])
@pytest.mark.parametrize("m", [10, 300], ids=["dense", "tiled"])
def test_transforms_give_what_autograd_gives(function: Callable, kernels: list | None, m: int) -> None:
    x, f = rows(12, 5).double(), quadratic(function, kernels, rows(m, 5, 1, 0.5).double())
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(f(leaf), leaf)
    both, values = torch.stack([x, x + 1]), torch.stack([f(x), f(x + 1)])
    torch.testing.assert_close(torch.func.grad(f)(x), expected)
    torch.testing.assert_close(torch.func.vmap(f)(both), values)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(f))(both)[0], expected)
    torch.testing.assert_close(torch.func.jacrev(f)(x), expected)
    torch.testing.assert_close(torch.func.jacfwd(f)(x), expected)
    torch.testing.assert_close(torch.func.jvp(f, (x,), (x,))[1], (expected * x).sum())


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
def test_a_directional_derivative_is_along_both_samples() -> None:
    x, y = rows(12, 5).double().requires_grad_(), rows(10, 5, 1, 0.5).double().requires_grad_()

    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return jmmd_unbiased([x], [y], [GaussianKernel(3.0)])

    along = torch.autograd.grad(f(x, y), (x, y))
    x, y = x.detach(), y.detach()
    expected = (along[0] * x).sum() + (along[1] * y).sum()
    torch.testing.assert_close(torch.func.jvp(f, (x, y), (x, y))[1], expected)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
def test_second_derivatives_by_transforms_are_refused_too() -> None:
    f, grad = quadratic(jmmd_unbiased, None, rows(10, 5, 1)), torch.func.grad
    for twice in (torch.func.hessian(f), grad(lambda x: grad(f)(x).sum()), torch.func.jacfwd(torch.func.jacfwd(f))):
        with pytest.raises(RuntimeError, match=r"cannot be differentiated again.*joint_gram"):
            twice(rows(12, 5))


def test_vmap_over_several_layers_asks_for_kernels() -> None:
    target = [rows(12, 5, 1), rows(12, 5, 1).softmax(1)]
    both = torch.stack([rows(12, 5), rows(12, 5, 2)])
    with pytest.raises(ValueError, match="name the kernels: jan_kernels"):
        torch.func.vmap(lambda x: jmmd_unbiased([x, x.softmax(1)], target))(both)
    torch.func.vmap(lambda x: jmmd_unbiased([x, x.softmax(1)], target, jan_kernels(2)))(both)


# Mistakes

TOLD = """
import numpy as np, torch
from jointadapt.discrepancy import *
x, kernel = torch.randn(12, 5), GaussianKernel()
cases = (
    ((x, x), "put a single layer into a list: [layer]. Got a Tensor"),
    (([x.numpy()], [x.numpy()]), "source layer 0 is a numpy.ndarray; expected a tensor: torch.as_tensor(rows)"),
    (([x], [x.numpy()]), "target layer 0 is a numpy.ndarray"),
    ((x.numpy(), x.numpy()), "put a single layer into a list: [layer]. Got a ndarray"),
    (((layer for layer in [x]), [x]), "Got a generator"),
    (([[1.0, 2.0]], [x]), "source layer 0 is a builtins.list"),
    (([x], [x], kernel), "put a single one into a list: [kernel]"),
    (([x.to_sparse()], [x]), "source layer 0 is torch.float32 and torch.sparse_coo; expected dense real numbers"),
    (([x], [torch.complex(x, x)]), "target layer 0 is torch.complex64"),
)
for function in (jmmd_biased, jmmd_unbiased, jmmd_linear, jmmd_block, jmmd_fourier, joint_gram):
    for arguments, message in cases:
        try:
            function(*arguments)
        except TypeError as error:
            assert message in str(error), error
        else:
            raise AssertionError(message)
"""


def test_what_is_no_list_of_tensors_is_told() -> None:
    """In a process of its own, since this test run checks types before the function does."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", TOLD], check=True, timeout=100)


def test_activation_checkpointing() -> None:
    leaf, target = rows(12, 5).requires_grad_(), rows(10, 5, 1, 0.5)
    (expected,) = torch.autograd.grad(jmmd_unbiased([leaf], [target]), leaf)
    again = torch.utils.checkpoint.checkpoint(lambda x: jmmd_unbiased([x], [target]), leaf, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(again, leaf)[0], expected)
