"""The estimators against `reference.py`, closed forms, laws and outsiders; gradients, tiles, compilation, devices."""

import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import reference
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jointadapt import discrepancy
from jointadapt.discrepancy import (
    engine,
    jmmd_biased,
    jmmd_block,
    jmmd_linear,
    jmmd_unbiased,
    joint_gram,
    mmd_biased,
    mmd_unbiased,
)
from jointadapt.discrepancy.kernels import GaussianKernel, jan_kernels

DOUBLE = 1e-12  # float64, relative to k(0) for values and to the uncancelled gradient for gradients
SINGLE = 1e-6  # float32, likewise
SIGMAS = 5  # how many standard errors an estimate may be off its closed form

JAN = [reference.JAN_FEATURES, reference.JAN_SOFTMAX]
Layers = list[Tensor]
QUADRATIC = [(jmmd_biased, reference.jmmd_biased), (jmmd_unbiased, reference.jmmd_unbiased)]


def sample(
    n: int, m: int, d: int, dtype: torch.dtype = torch.float64, seed: int = 0, offset: float = 0.0
) -> tuple[Layers, Layers]:
    generator = torch.Generator().manual_seed(seed)

    def layers(rows: int, shift: float) -> Layers:
        features = torch.randn(rows, d, generator=generator, dtype=torch.float64) + shift + offset
        logits = torch.randn(rows, 7, generator=generator, dtype=torch.float64) + shift
        return [features.to(dtype).requires_grad_(), logits.softmax(1).to(dtype).detach().requires_grad_()]

    return layers(n, 0.0), layers(m, 0.3)


def number(tensor: Tensor) -> float:
    return float(tensor.detach())


def gradients(value: Tensor, source: Layers, target: Layers) -> Layers:
    return list(torch.autograd.grad(value, [*source, *target]))


def doubled(layers: Layers) -> Layers:
    return [layer.detach().double().requires_grad_() for layer in layers]


def uncancelled(source: Layers, target: Layers, kernels: list[reference.Kernel]) -> list[float]:
    """The largest entry of each gradient if the pull within a sample and the push across did not cancel."""
    n, m = len(source[0]), len(target[0])
    K = reference.joint_gram(source, target, kernels)
    within, across = K[:n, :n].sum() / n**2 + K[n:, n:].sum() / m**2, 2 * K[:n, n:].sum() / (n * m)
    pull = torch.autograd.grad(within, [*source, *target], retain_graph=True)
    push = torch.autograd.grad(across, [*source, *target])
    return [number(a.abs().max() + b.abs().max()) for a, b in zip(pull, push, strict=True)]


def check(
    function: Callable, equation: Callable, source: Layers, target: Layers, tolerance: float, **tiles: Any
) -> None:
    value = function(source, target, **tiles)
    exact_source, exact_target = doubled(source), doubled(target)
    exact = equation(exact_source, exact_target, JAN)
    assert number((value.double() - exact).abs()) < tolerance * 5  # k(0) = 5
    sizes = uncancelled(exact_source, exact_target, JAN)
    pairs = zip(gradients(value, source, target), gradients(exact, exact_source, exact_target), sizes, strict=True)
    for gradient, expected, size in pairs:
        assert number((gradient.double() - expected).abs().max()) < tolerance * size


# Against the equations


@pytest.mark.parametrize(("function", "equation"), QUADRATIC)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, DOUBLE), (torch.float32, SINGLE)])
@pytest.mark.parametrize(("n", "m", "d"), [(36, 36, 64), (36, 35, 256), (2, 3, 4), (150, 130, 16)])
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_quadratic_estimators_are_the_equations(
    function: Callable,
    equation: Callable,
    dtype: torch.dtype,
    tolerance: float,
    n: int,
    m: int,
    d: int,
    offset: float,
) -> None:
    check(function, equation, *sample(n, m, d, dtype, offset=offset), tolerance)


@pytest.mark.parametrize("tile", [0, 1, 3, 7, 16, 100])
@pytest.mark.parametrize(("n", "m"), [(12, 9), (7, 14), (1, 5)])
def test_tiles_of_any_size_give_the_dense_result(tile: int, n: int, m: int) -> None:
    source, target = sample(n, m, 5)
    weights = (1 / n**2, 1 / m**2, -1 / (n * m))

    def tiled(source: Layers, target: Layers) -> Tensor:
        return engine.weighted_sum(source, target, jan_kernels(2), weights, tile=tile) + (1 / n + 1 / m) * 5

    check(tiled, reference.jmmd_biased, source, target, DOUBLE)


@pytest.mark.parametrize("tile", [0, 4])
def test_many_layers_weights_and_scales(tile: int) -> None:
    (a, b), (c, d) = sample(9, 8, 5)
    source, target = [a, b, a.detach().sin().requires_grad_()], [c, d, c.detach().sin().requires_grad_()]
    specs: list[reference.Kernel] = [
        ("median", (0.3, 1.0, 2.0), (0.2, 0.0, 1.5)),
        (0.7, (2.0, 1.0, 0.5), (1.0, 2.0, 3.0)),
        ("mean", (2.0,), (0.5,)),
    ]
    kernels = [GaussianKernel(*spec) for spec in specs]  # pyright: ignore[reportArgumentType]
    weights = (1 / 72, 1 / 56, -1 / 72)
    value = engine.weighted_sum(source, target, kernels, weights, tile=tile)
    exact = reference.jmmd_unbiased(source, target, specs)
    assert number((value - exact).abs()) < DOUBLE
    pairs = zip(gradients(value, source, target), gradients(exact, source, target), strict=True)
    assert max(number((ours - theirs).abs().max()) for ours, theirs in pairs) < DOUBLE


def test_linear_and_block_are_the_equations() -> None:
    source, target = sample(12, 12, 5)
    functions = [
        (jmmd_linear(source, target), reference.jmmd_linear(source, target, JAN)),
        (jmmd_block(source, target, block_size=4), reference.jmmd_block(source, target, JAN, 4)),
        (jmmd_block(source, target), reference.jmmd_block(source, target, JAN, 3)),
        (jmmd_block(source, target, block_size=12), reference.jmmd_unbiased(source, target, JAN)),
    ]
    for value, exact in functions:
        assert number((value - exact).abs()) < DOUBLE
        pairs = zip(gradients(value, source, target), gradients(exact, source, target), strict=True)
        assert max(number((ours - theirs).abs().max()) for ours, theirs in pairs) < DOUBLE


def test_gram_and_its_statistics() -> None:
    source, target = sample(6, 5, 4)
    K = joint_gram(source, target)
    exact = reference.joint_gram(source, target, JAN)
    assert number((K - exact).abs().max()) < DOUBLE
    assert number((mmd_biased(K, 6) - reference.mmd_biased(exact, 6)).abs()) < DOUBLE
    assert number((mmd_unbiased(K, 6) - reference.mmd_unbiased(exact, 6)).abs()) < DOUBLE


# Laws


@pytest.mark.parametrize("n", [20, 200])
def test_laws(n: int) -> None:
    source, target = sample(n, n - 3, 6)
    value = jmmd_biased(source, target)
    assert value > 0
    assert number((jmmd_biased(target, source) - value).abs()) < DOUBLE
    order, other = torch.randperm(n), torch.randperm(n - 3)
    permuted = jmmd_biased([layer[order] for layer in source], [layer[other] for layer in target])
    assert number((permuted - value).abs()) < DOUBLE
    broken = jmmd_biased([source[0][order], source[1]], target)  # the pairing of the layers is what is compared
    assert number((broken - value).abs()) > 1e-5
    assert number(jmmd_biased(source, [layer[order] for layer in source]).abs()) < DOUBLE


def test_gaussian_closed_form() -> None:
    d, n, sigma, gamma, shift = 3, 1500, 0.8, 2.0, 1.0
    generator = torch.Generator().manual_seed(3)
    x, y = (sigma * torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2))
    y[:, 0] += shift
    kernel = [GaussianKernel(gamma, scales=(1.0,))]
    exact = reference.gaussian_mmd(shift, sigma, gamma, d)
    blocks = torch.stack([jmmd_unbiased([a], [b], kernel) for a, b in zip(x.split(50), y.split(50), strict=True)])
    error = number(blocks.std()) / math.sqrt(
        len(blocks)
    )  # standard error of the block estimate; the full one is smaller
    assert abs(number(jmmd_unbiased([x], [y], kernel)) - exact) < SIGMAS * error
    assert abs(number(jmmd_block([x], [y], kernel, block_size=50)) - exact) < SIGMAS * error
    assert error < exact / 10  # else this test says nothing
    assert number(jmmd_block([x], [y], kernel, block_size=50)) == pytest.approx(number(blocks.mean()), rel=DOUBLE)
    quads = 4 / math.sqrt(n / 2)  # the terms of Eq. (11) lie in [−2, 2]
    assert abs(number(jmmd_linear([x], [y], kernel)) - exact) < quads


class LinearOnSphere(GaussianKernel):
    """⟨x, y⟩ = 1 − D/2 for rows of length 1: a kernel of one's own, through the contract of four names."""

    def __call__(self, squared_distances: Tensor, bandwidth: float | Tensor) -> Tensor:  # noqa: ARG002
        return 1 - squared_distances / 2

    def with_slope(self, squared_distances: Tensor, bandwidth: float | Tensor) -> tuple[Tensor, Tensor]:
        return self(squared_distances, bandwidth), torch.full_like(squared_distances, 0.5) * bandwidth


@pytest.mark.parametrize("tile", [None, 3])
def test_equation_8_linear_kernel_and_one_hot_predictions_compare_class_by_class(
    monkeypatch: pytest.MonkeyPatch, tile: int | None
) -> None:
    if tile:
        monkeypatch.setattr(engine, "CPU_TILE", tile)
    generator = torch.Generator().manual_seed(0)
    n, m, classes = 11, 9, 4
    x, y = (
        torch.nn.functional.normalize(torch.randn(k, 5, generator=generator, dtype=torch.float64)).requires_grad_()
        for k in (n, m)
    )
    labels_x, labels_y = (torch.randint(classes, (k,), generator=generator) for k in (n, m))
    one_hot = [torch.nn.functional.one_hot(labels, classes).double() for labels in (labels_x, labels_y)]
    kernels = [LinearOnSphere(1.5, scales=(1.0,)), LinearOnSphere(2.5, scales=(1.0,))]
    value = jmmd_biased([x, one_hot[0]], [y, one_hot[1]], kernels)
    expected = torch.zeros((), dtype=torch.float64)
    for c in range(classes):
        gap = x[labels_x == c].sum(0) / n - y[labels_y == c].sum(0) / m
        expected = expected + gap.square().sum()
    assert number((value - expected).abs()) < DOUBLE
    # On the sphere the two differ as functions of D by a radial term only: compare the tangential parts.
    for ours, theirs, rows in zip(*(torch.autograd.grad(v, [x, y]) for v in (value, expected)), (x, y), strict=True):
        gap = ours - theirs
        tangential = gap - (gap * rows).sum(1, keepdim=True) * rows
        assert number(tangential.detach().abs().max()) < DOUBLE


@pytest.mark.parametrize("repeats", [1, 40])
def test_equal_marginals_and_different_joints_are_told_apart(repeats: int) -> None:
    features = torch.tensor([[-1.0], [-1.2], [1.0], [1.2]], dtype=torch.float64).repeat(repeats, 1)
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64).repeat(repeats, 1)
    source, target = [features, labels], [features, labels.flip(1)]
    marginals = [jmmd_biased([s], [t], [k]) for s, t, k in zip(source, target, jan_kernels(2), strict=True)]
    assert max(number(value.abs()) for value in marginals) < DOUBLE
    assert jmmd_biased(source, target) > 0.1
    assert jmmd_unbiased(source, target) > 0.1 or repeats == 1


@pytest.mark.parametrize("n", [6, 200])
@pytest.mark.parametrize("rule", ["mean", "median"])
@pytest.mark.parametrize("function", [jmmd_biased, jmmd_unbiased, jmmd_linear, jmmd_block])
def test_identical_rows_give_0_and_a_gradient_of_0(n: int, rule: Any, function: Callable) -> None:
    layers = [torch.tensor([[0.1, 0.7, -3.3]]).repeat(n, 1).requires_grad_() for _ in range(2)]
    value = function(layers[:1], layers[1:], [GaussianKernel(rule)])
    assert number(value.detach().abs()) < 5 * SINGLE
    for gradient in torch.autograd.grad(value, layers):
        assert torch.equal(gradient, torch.zeros(n, 3))


def test_one_row_each() -> None:
    x, y = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    value = jmmd_biased([x], [y], [GaussianKernel(2.0, scales=(1.0,))])
    assert number(value) == pytest.approx(2 - 2 * math.exp(-0.5), rel=SINGLE)


# Gradients


@pytest.mark.parametrize("tile", [0, 2])
@pytest.mark.parametrize("frozen", [(), (0,), (1, 2)])
def test_gradcheck(tile: int, frozen: tuple[int, ...]) -> None:
    source, target = sample(4, 3, 3)
    rows = [row.detach().requires_grad_(index not in frozen) for index, row in enumerate([*source, *target])]
    kernels = (GaussianKernel(3.0, (0.5, 1.0, 3.0), (1.0, 0.5, 2.0)), GaussianKernel(0.5, scales=(1.0,)))

    def function(*rows: Tensor) -> Tensor:
        return 3 * engine.weighted_sum(rows[:2], rows[2:], kernels, (0.1, 0.2, -0.3), tile=tile)

    assert torch.autograd.gradcheck(function, rows)


def test_double_backward_is_refused() -> None:
    source, target = sample(4, 4, 3)
    (gradient,) = torch.autograd.grad(jmmd_biased(source, target), source[0], create_graph=True)
    with pytest.raises(RuntimeError, match=r"cannot be differentiated again.*joint_gram"):
        gradient.square().sum().backward()
    (gradient,) = torch.autograd.grad(jmmd_biased(source, target), source[0], create_graph=True)
    with pytest.raises(RuntimeError, match=r"cannot be differentiated again.*joint_gram"):
        torch.autograd.grad(gradient.sum() + target[0].sum(), target[0])


class Slopeless(GaussianKernel):
    def with_slope(self, squared_distances: Tensor, bandwidth: float | Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        raise AssertionError("gradient work for a layer that needs none")


@pytest.mark.parametrize("n", [4, 200])
def test_no_gradient_work_where_none_is_needed(n: int) -> None:
    source, target = sample(n, n, 3)
    frozen = [source[0], source[1].detach()], [target[0], target[1].detach()]
    kernels = [GaussianKernel(), Slopeless()]
    (gradient,) = torch.autograd.grad(jmmd_biased(*frozen, kernels), [source[0]])
    expected = reference.jmmd_biased(*frozen, [reference.JAN_FEATURES, reference.JAN_FEATURES])
    assert number((gradient - torch.autograd.grad(expected, [source[0]])[0]).abs().max()) < DOUBLE
    with torch.no_grad():
        value = jmmd_biased(source, target, [Slopeless(), Slopeless()])
    assert not value.requires_grad
    with pytest.raises(AssertionError, match="gradient work"):
        jmmd_biased(source, target, kernels)


def test_one_sample_frozen() -> None:
    source, target = sample(5, 6, 3)
    constant = [layer.detach() for layer in target]
    got = torch.autograd.grad(jmmd_biased(source, constant), source)
    expected = torch.autograd.grad(jmmd_biased(source, target), source)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


# Precision


@pytest.mark.parametrize("n", [12, 150])
def test_autocast_does_not_reach_the_distances(n: int) -> None:
    source, target = sample(n, n, 16, torch.float32)
    expected = [f(source, target) for f in (jmmd_biased, jmmd_unbiased, jmmd_linear, jmmd_block)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = [f(source, target) for f in (jmmd_biased, jmmd_unbiased, jmmd_linear, jmmd_block)]
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_half_precision_and_mixed_layers() -> None:
    source, target = sample(8, 8, 16, torch.float32)
    half = [s.detach().bfloat16().requires_grad_() for s in source], [t.detach().bfloat16() for t in target]
    value = jmmd_biased(*half)
    assert torch.equal(value, jmmd_biased(*([layer.float() for layer in layers] for layers in half)))
    value.backward()
    assert half[0][0].grad is not None
    assert half[0][0].grad.dtype == torch.bfloat16
    mixed = jmmd_biased([source[0], source[1].double()], [target[0], target[1].double()])
    assert mixed.dtype == torch.float64


# Size


class Largest(TorchDispatchMode):
    """Remember the largest tensor that any operation allocates."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return out


def test_large_samples_never_form_a_gram_matrix() -> None:
    N, d, tile = 1200, 8, engine.CPU_TILE
    source, target = sample(N // 2, N // 2, d, torch.float32)
    with Largest() as largest:
        gradients(jmmd_biased(source, target), source, target)
    assert largest.numbers == max(tile**2, N * d)
    with Largest() as largest:
        gradients(jmmd_biased(source[:1], [target[0][:5]]), source[:1], [target[0]])
    assert largest.numbers <= max(tile**2, N * d)


# Compilation


COMPILE = """
import sys, torch
from jointadapt.discrepancy import jmmd_block, jmmd_linear, jmmd_unbiased
from jointadapt.discrepancy.engine import weighted_sum
from jointadapt.discrepancy.kernels import jan_kernels
torch.manual_seed(0)
kernels = jan_kernels(2)
layers = [[torch.randn(8, k, dtype=torch.float64).requires_grad_() for k in (4, 3)] for _ in range(2)]
rows = [*layers[0], *layers[1]]
def tiled(source, target):
    return weighted_sum(source, target, kernels, (0.1, 0.2, -0.3), tile=8)
for function in (jmmd_unbiased, jmmd_linear, jmmd_block, tiled):
    value, expected = torch.compile(function, fullgraph=True, backend=sys.argv[1])(*layers), function(*layers)
    assert abs(value - expected) < float(sys.argv[2]), function
    for got, wanted in zip(torch.autograd.grad(value, rows), torch.autograd.grad(expected, rows)):
        assert (got - wanted).abs().max() < float(sys.argv[2]), function
"""


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_into_one_graph(backend: str) -> None:
    """In a process of its own, since the runtime shape checks of this test run cannot be traced."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILE, backend, str(DOUBLE)], check=True, timeout=300)


# Outsiders


def outsider(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.split(".")[0], exc_type=ImportError)
        return import_module(name)


@pytest.mark.parametrize(("kind", "function"), [("quadratic", jmmd_unbiased), ("linear", jmmd_linear)])
def test_pytorch_adapt_computes_the_same(kind: str, function: Callable) -> None:
    """Its "quadratic" is unbiased, its "linear" Eq. (11); it averages Gaussians and its scales multiply 1/γ.

    Its default bandwidth, the median over the source with the diagonal, is not the paper's, so γ is given.
    """
    theirs = outsider("pytorch_adapt.layers").MMDLoss(
        kernel_scales=1 / torch.tensor([0.5, 1.0, 2.0]), mmd_type=kind, bandwidth=2.0
    )
    source, target = sample(8, 8, 5, torch.float32)
    kernels = [GaussianKernel(2.0, (0.5, 1.0, 2.0), (1 / 3,) * 3)] * 2
    expected = theirs(*([layer.detach() for layer in layers] for layers in (source, target)))
    assert number((function(source, target, kernels) - expected).abs()) < SINGLE


def test_skada_computes_the_same_estimator_of_another_kernel() -> None:
    """Its `dan_loss` is the biased estimator, of exp(−‖x − y‖/σ): the distance there is not squared."""
    theirs = outsider("skada.deep.losses").dan_loss
    source, target = sample(8, 6, 5, torch.float32)
    x, y = source[0].detach(), target[0].detach()
    rows = torch.cat([x, y])
    K = torch.exp(-torch.cdist(rows, rows) / 2) + torch.exp(-torch.cdist(rows, rows) / 4)
    assert number((mmd_biased(K, 8) - theirs(x, y, sigmas=[2.0, 4.0])).abs()) < SINGLE


@pytest.mark.parametrize("sizes", [(12, 12), (12, 7)])
def test_alibi_detect_computes_the_same(sizes: tuple[int, int]) -> None:
    """Its MMD is the unbiased one; exp(−D/(2σ²)) makes γ = 2σ², and it averages the Gaussians of several σ."""
    numpy, drift = import_module("numpy"), outsider("alibi_detect.cd").MMDDrift
    x, y = (layers[0].detach() for layers in sample(*sizes, 5, torch.float32))
    test = drift(
        x.numpy(), backend="pytorch", sigma=numpy.array([1.0, 2.0]), n_permutations=2, device="cpu",
        configure_kernel_from_x_ref=False,
    )  # fmt: skip
    expected = test.predict(y.numpy())["data"]["distance"]
    value = jmmd_unbiased([x], [y], [GaussianKernel(2.0, (1.0, 4.0), (0.5, 0.5))])
    assert number(value) == pytest.approx(expected, abs=SINGLE)


def test_hyppo_computes_the_unbiased_estimate_times_a_constant() -> None:
    """The constant holds norms of K and of the labels' kernel, which no relabelling of the rows changes."""
    statistic = outsider("hyppo.ksample").MMD("rbf", gamma=0.5).statistic
    source, target = sample(12, 7, 3)
    rows = torch.cat([source[0], target[0]]).detach()
    ours, theirs = [], []
    for seed in range(6):
        x, y = rows[torch.randperm(19, generator=torch.Generator().manual_seed(seed))].split((12, 7))
        ours.append(number(jmmd_unbiased([x], [y], [GaussianKernel(2.0, scales=(1.0,))])))
        theirs.append(float(statistic(x.numpy(), y.numpy())))
    constant = theirs[0] / ours[0]
    assert theirs == pytest.approx([constant * value for value in ours], abs=DOUBLE)
    assert constant < 0.5


def test_scikit_learn_gram() -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    source, target = sample(6, 5, 4)
    rows = [torch.cat(pair).detach().numpy() for pair in zip(source, target, strict=True)]
    K = torch.from_numpy(pairwise.rbf_kernel(rows[0], gamma=1 / 3) * pairwise.rbf_kernel(rows[1], gamma=1 / 2))
    kernels = [GaussianKernel(3.0, scales=(1.0,)), GaussianKernel(2.0, scales=(1.0,))]
    assert number((jmmd_biased(source, target, kernels) - mmd_biased(K, 6)).abs()) < DOUBLE


# Errors


@pytest.mark.parametrize(
    ("function", "n", "m", "message"),
    [
        (jmmd_unbiased, 1, 4, "2 or more rows of each sample; got 1 and 4"),
        (jmmd_biased, 4, 0, "1 or more rows of each sample; got 4 and 0"),
        (jmmd_linear, 36, 35, "equally many.*even number; got 36 and 35.*Drop"),
        (jmmd_linear, 35, 35, "even number; got 35 and 35.*Drop"),
        (jmmd_block, 6, 4, "multiple of block_size.*got 6 and 4 rows.*Drop"),
    ],
)
def test_errors_of_size_state_the_fix(function: Callable, n: int, m: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function([torch.zeros(n, 2)], [torch.zeros(m, 2)])


def test_errors_of_shape_state_the_fix() -> None:
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="blocks of 3"):
        jmmd_block([x], [x], block_size=3)
    with pytest.raises(ValueError, match="same one or more layers; got 1 and 2"):
        jmmd_biased([x], [x, x])
    with pytest.raises(ValueError, match="layer 0 has 2 columns in source and 3 in target"):
        jmmd_biased([x], [torch.zeros(4, 3)])
    with pytest.raises(ValueError, match="got 2 kernels for 1 layers"):
        jmmd_biased([x], [x], jan_kernels(2))
    with pytest.raises(ValueError, match="one row an example"):
        jmmd_biased([x, x[:3]], [x, x])


def test_global_settings_stay() -> None:
    before = torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu"), torch.get_default_dtype()
    source, target = sample(4, 4, 3, torch.float32)
    jmmd_biased(source, target).backward()
    after = torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu"), torch.get_default_dtype()
    assert before == after


def test_public_names() -> None:
    assert set(discrepancy.__all__) >= {
        "jmmd_biased", "jmmd_unbiased", "jmmd_linear", "jmmd_block", "joint_gram", "mmd_biased", "mmd_unbiased"
    }  # fmt: skip


# CUDA

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ESTIMATORS = [jmmd_biased, jmmd_unbiased, jmmd_linear, jmmd_block]


def on_cuda(layers: Layers) -> Layers:
    return [layer.detach().cuda().requires_grad_() for layer in layers]


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("function", ESTIMATORS)
@pytest.mark.parametrize("n", [36, 1200])
def test_cuda_equals_cpu(function: Callable, n: int) -> None:
    source, target = sample(n, n, 16)
    cuda_source, cuda_target = on_cuda(source), on_cuda(target)
    value, expected = function(cuda_source, cuda_target), function(source, target)
    assert number((value.cpu() - expected).abs()) < DOUBLE
    pairs = zip(gradients(value, cuda_source, cuda_target), gradients(expected, source, target), strict=True)
    assert max(number((a.cpu() - b).abs().max()) for a, b in pairs) < DOUBLE


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("function", ESTIMATORS)
@pytest.mark.parametrize("n", [36, 1200])
def test_cuda_never_waits_for_the_device(function: Callable, n: int) -> None:
    source, target = (on_cuda(layers) for layers in sample(n, n, 16, torch.float32))
    gradients(function(source, target), source, target)
    torch.cuda.set_sync_debug_mode("error")
    try:
        gradients(function(source, target), source, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("function", ESTIMATORS)
def test_cuda_graph(function: Callable) -> None:
    source, target = (on_cuda(layers) for layers in sample(36, 36, 16, torch.float32))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            gradients(function(source, target), source, target)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = function(source, target)
        captured = gradients(value, source, target)
    with torch.no_grad():
        source[0].add_(torch.randn_like(source[0]))
    graph.replay()
    fresh = function(source, target)
    assert number((value - fresh).abs()) < SINGLE * 5
    pairs = zip(captured, gradients(fresh, source, target), strict=True)
    assert max(number((a - b).abs().max()) for a, b in pairs) < SINGLE
