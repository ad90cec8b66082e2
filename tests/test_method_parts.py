"""What methods hold, what they compute in single precision, and where their small rules turn."""

import math

import pytest
import torch
from test_methods import WIDTHS, built, leaves, sample
from torch import Tensor

from jointadapt import GaussianKernel
from jointadapt.methods import METHODS
from jointadapt.methods.base import Method
from jointadapt.methods.build import build_method
from jointadapt.methods.cdan import CDAN, MOST_INPUTS, RANDOM_INPUTS
from jointadapt.methods.coral import _covariance
from jointadapt.methods.kernels import choose_kernels, weigh_pairs
from jointadapt.methods.parts import LEAST_CERTAINTY, certainty, weighted_mean
from jointadapt.methods.weighed_kernels import FEWEST_WEIGHED, optimal_kernels
from jointadapt.networks.network import Activations

PLAIN = [
    name
    for name in METHODS
    if build_method(name, WIDTHS, {}).needs.target
    and not any(True for _ in build_method(name, WIDTHS, {}).parameters())
]
"""Methods of the target without layers of their own, which take activations of any precision."""


def rows(n: int, d: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def changed(activations: Activations, dtype: torch.dtype) -> Activations:
    """Return what a network in bfloat16 gives, its probabilities in float32 as ever, or the same numbers in a dtype."""

    def to(x: Tensor | None) -> Tensor | None:
        return x if x is None or not x.is_floating_point() else x.detach().bfloat16().to(dtype)

    names = ("features", "logits", "reversed_logits", "teacher")
    fields = {name: to(getattr(activations, name)) for name in names}
    hidden = [to(layer) for layer in activations.layers[:-1]]
    return activations._replace(**fields, layers=(*hidden, fields["logits"].float().softmax(1)))


@pytest.mark.parametrize("name", PLAIN)
def test_half_precision_is_computed_in_single(name: str) -> None:
    pair = sample(8, 0), sample(6, 1, 0.5)
    half, single = ([changed(one, dtype) for one in pair] for dtype in (torch.bfloat16, torch.float32))
    found, expected = (build_method(name, WIDTHS, {})(*each) for each in (half, single))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_class_shares_belong_to_a_run_and_not_to_its_weights(name: str) -> None:
    method = build_method(name, WIDTHS, {})
    assert method.class_shares is None
    method.class_shares = torch.ones(3, dtype=torch.float64) / 3
    assert not any(key.endswith("class_shares") for key in method.state_dict())
    assert method.float().class_shares.dtype == torch.float32  # it moves with the method


def test_a_method_of_ones_own_has_class_shares_too() -> None:
    assert Method().class_shares is None


# Weights


def test_weights_are_held() -> None:
    w = torch.tensor([1.0, 2.0, 3.0]).requires_grad_()
    assert not weighted_mean(torch.ones(3), w).requires_grad
    assert not certainty(torch.ones(3, 2).requires_grad_()).requires_grad


def test_weights_that_are_all_0_give_0() -> None:
    assert weighted_mean(torch.ones(3), torch.zeros(3)) == 0
    assert weighted_mean(torch.tensor([1.0, 3.0]).double(), torch.tensor([3.0, 1.0])) == 1.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gram_matrix_is_weighed_on_the_source_alone(dtype: torch.dtype) -> None:
    K = (rows(5, 5).square() + 1).to(dtype)
    w = torch.tensor([1.0, 2.0, 6.0])
    a = torch.tensor([1 / 3, 2 / 3, 2.0, 1.0, 1.0], dtype=torch.float64)
    found = weigh_pairs(K, 3, w)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), torch.outer(a, a) * K, rtol=1e-6, atol=1e-6)
    assert torch.equal(weigh_pairs(K, 3, None), K)


def test_a_weighed_covariance_counts_rows_as_often_as_they_weigh() -> None:
    """1 − Σ w² is what makes it unbiased; equal weights give the plain one, a single row that weighs gives none."""
    x = rows(6, 3)
    torch.testing.assert_close(_covariance(x, torch.full((6,), 0.3)), x.T.cov())
    w = torch.tensor([1.0, 2.0, 1.0, 4.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(_covariance(x, w), torch.cov(x.T, aweights=w))
    assert not _covariance(x, torch.tensor([1.0, 0, 0, 0, 0, 0])).any()


@pytest.mark.parametrize("classes", [2, 5])
def test_certainty_runs_from_its_least_to_1(classes: int) -> None:
    logits = torch.zeros(3, classes)
    logits[1, 0] = 99.0
    logits[2, :2] = 99.0  # two of them equally likely
    found = certainty(logits)
    expected = [LEAST_CERTAINTY, 1.0, max(1 - math.log(2) / math.log(classes), LEAST_CERTAINTY)]
    torch.testing.assert_close(found, torch.tensor(expected))


# Kernels


def test_kernels_of_ones_own_are_one_a_layer_or_one_for_all_hidden() -> None:
    default, own, output = GaussianKernel(), GaussianKernel(2.0), GaussianKernel(1.68)
    assert choose_kernels(None, default, 2) == (default, default)
    assert choose_kernels(None, default, 2, output) == (default, default, output)
    assert choose_kernels(own, default, 2, output) == (own, own, output)
    assert choose_kernels([own, default, own], default, 2, output) == (own, default, own)


@pytest.mark.parametrize(("rows_", "weighed"), [(FEWEST_WEIGHED - 1, False), (FEWEST_WEIGHED, True)])
def test_kernels_of_few_rows_are_not_weighed(rows_: int, weighed: bool) -> None:
    for n, m in ((rows_, 9), (9, rows_)):
        (found,) = optimal_kernels([GaussianKernel()], [rows(n, 2)], [rows(m, 2, 1)])
        assert (found.weights is not None) == weighed


@pytest.mark.parametrize("side", [0, 1])
def test_rows_that_are_not_finite_weigh_no_kernel(side: int) -> None:
    pair = [rows(9, 2), rows(9, 2, 1)]
    pair[side][3, 1] = math.nan
    assert optimal_kernels([GaussianKernel()], pair[:1], pair[1:]) == (GaussianKernel(),)


def test_weighing_kernels_leaves_no_trace_in_the_gradient() -> None:
    pair = [rows(9, 2).requires_grad_(), rows(9, 2, 1).requires_grad_()]
    (found,) = optimal_kernels([GaussianKernel()], pair[:1], pair[1:])
    assert all(type(weight) is float for weight in found.weights)


# The adversaries


@pytest.mark.parametrize("name", ["cdan", "cdan-e"])
def test_the_predictions_of_cdan_carry_no_gradient(name: str) -> None:
    source, target = sample(8, 0), sample(6, 1, 0.5)
    built(name)(source, target).backward()
    for activations in (source, target):
        _, features, logits = leaves(activations)
        assert features.grad is not None
        assert logits.grad is None


@pytest.mark.parametrize(("features", "randomised"), [(MOST_INPUTS // 4, False), (MOST_INPUTS // 4 + 1, True)])
def test_cdan_draws_products_where_there_are_more_than_most(features: int, randomised: bool) -> None:
    method = CDAN((features, 4), discriminator_width=8)
    assert method.discriminator[0].in_features == (RANDOM_INPUTS if randomised else features * 4)
    assert (method.R_f is not None) == (method.R_p is not None) == randomised
    f, p = rows(3, features).float(), rows(3, 4).float().softmax(1)
    plain = torch.einsum("nf,nc->nfc", f, p).flatten(1)
    if randomised:
        plain = torch.einsum("nf,fr,nc,cr->nr", f, method.R_f, p, method.R_p) / 32
    torch.testing.assert_close(method._multilinear(f, p), plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("threshold", "counted"), [(0.75, True), (0.76, False)])
def test_fixmatch_counts_rows_of_the_least_confidence(threshold: float, counted: bool) -> None:
    target = sample(4, 1)._replace(teacher=torch.tensor([[0.75, 0.25, 0.0]] * 4))
    assert (built("fixmatch", confidence_threshold=threshold)(sample(6, 0), target) > 0) == counted


def test_the_weights_of_mcc_are_held() -> None:
    """Eq. (5) weighs rows by 1 + exp(−H), without gradient: that of the loss is that of the confusion alone."""
    logits = rows(6, 3).requires_grad_()
    target = sample(6, 1)._replace(logits=logits)
    (found,) = torch.autograd.grad(built("mcc", mcc_temperature=2.0)(sample(6, 0), target), logits)
    p, plain = (logits / 2).softmax(1), (logits.detach() / 2).softmax(1)
    weights = 1 + (plain * plain.log()).sum(1).exp()
    C = p.T @ (weights[:, None] * p)
    C = C / C.sum(1, keepdim=True)
    (expected,) = torch.autograd.grad((C.sum() - C.trace()) / 3, logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["mcd", "mdd"])
def test_second_classifiers_in_half_precision_take_their_loss_in_single(name: str) -> None:
    torch.manual_seed(0)
    method = build_method(name, WIDTHS, {}).bfloat16()
    source, target = (changed(sample(rows_, seed), torch.bfloat16) for rows_, seed in ((8, 0), (6, 1)))
    assert method(source, target).dtype == torch.float32


# Class by class


def test_a_class_of_one_source_row_counts_and_one_that_no_target_row_has_gives_no_nan() -> None:
    source, target = sample(4, 0), sample(6, 1)
    source = source._replace(labels=torch.tensor([0, 0, 0, 1]))
    sure = torch.zeros(6, 3, dtype=torch.float64)
    sure[:, 0] = 1.0
    target = target._replace(layers=(*target.layers[:-1], sure))
    found = built("lmmd", bandwidth=4.0, scales=(1.0,))(source, target)
    x, y = (torch.cat(one.layers[:-1], 1).detach() for one in (source, target))
    gram = torch.exp(-torch.cdist(torch.cat([x, y]), torch.cat([x, y])).square() / 4)
    w = torch.zeros(2, 10, dtype=torch.float64)  # a class's mean in the source, less that in the target
    w[0, :3], w[0, 4:], w[1, 3] = 1 / 3, -1 / 6, 1.0
    torch.testing.assert_close(found, sum(row @ gram @ row for row in w) / 2)


@pytest.mark.parametrize("name", ["lmmd", "ujmmd"])
def test_predicted_labels_of_the_target_are_held(name: str) -> None:
    source, target = sample(8, 0), sample(6, 1)
    built(name)(source, target).backward()
    assert leaves(target)[2].grad is None
    assert leaves(target)[1].grad is not None


def test_only_source_only_looks_at_no_target_and_only_shot_at_no_source() -> None:
    assert [name for name in METHODS if not METHODS[name].needs.target] == ["source-only"]
    assert [name for name in METHODS if not METHODS[name].needs.source] == ["shot"]
