"""One contract over all of METHODS, and each against its paper's formula."""

import math

import pytest
import reference
import torch
from torch import Tensor

from jointadapt import GaussianKernel
from jointadapt.discrepancy import jmmd_unbiased
from jointadapt.errors import UserError
from jointadapt.kernels import jan_kernels
from jointadapt.methods import ESTIMATORS, METHODS, build_method, options_of
from jointadapt.networks import Activations, reverse

ADVERSARIES = {"dann", "cdan", "cdan-e"}
"""Their own layers descend on the term, the network ascends."""
TARGET_ALONE = {"mcc", "bnm", "im", "entropy"}
WIDTHS = (6, 5, 3)
SIZES = (8, 6)
FLOAT64 = 1e-10
"""Relative error that sums of some hundred float64 terms may differ by."""


def sample(rows: int, seed: int, shift: float = 0.0) -> Activations:
    generator = torch.Generator().manual_seed(seed)
    first, features, logits = (
        (torch.randn(rows, width, generator=generator, dtype=torch.float64) + shift).requires_grad_()
        for width in WIDTHS
    )
    return Activations(features, logits, (first, features, logits.softmax(1)))


def leaves(activations: Activations) -> list[Tensor]:
    return [activations.layers[0], activations.features, activations.logits]


@pytest.fixture(params=METHODS)
def name(request) -> str:
    return request.param


def built(name: str, **options):
    torch.manual_seed(0)
    return build_method(name, WIDTHS, options).double()


def test_a_method_gives_one_finite_scalar_for_unequal_batches(name):
    value = built(name)(sample(SIZES[0], 0), sample(SIZES[1], 1, 0.5))
    assert value.shape == ()
    assert torch.isfinite(value)


def test_a_method_sends_finite_gradients_to_both_domains_if_it_uses_the_target(name):
    method, source, target = built(name), sample(SIZES[0], 0), sample(SIZES[1], 1, 0.5)
    value = method(source, target)
    if not method.uses_target:
        assert not value.requires_grad
        return
    value.backward()
    for activations in (source, target):
        gradients = [leaf.grad for leaf in leaves(activations) if leaf.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        used = activations is target or name not in TARGET_ALONE
        assert (sum(gradient.abs().sum().item() for gradient in gradients) > 0) == used


def test_identical_activations_give_finite_gradients(name):
    constant = torch.ones(4, 6, dtype=torch.float64), torch.zeros(4, 5, dtype=torch.float64)
    logits = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    features = constant[1].requires_grad_()
    same = Activations(features, logits, (constant[0], features, logits.softmax(1)))
    value = built(name)(same, same)
    if value.requires_grad:
        value.backward()
        assert all(torch.isfinite(leaf.grad).all() for leaf in (features, logits) if leaf.grad is not None)


def test_the_order_of_rows_does_not_matter(name):
    source, target = sample(8, 0), sample(8, 1, 0.5)
    turned = Activations(
        target.features.flip(0), target.logits.flip(0), tuple(layer.flip(0) for layer in target.layers)
    )
    method = built(name)
    assert method(source, target).item() == pytest.approx(method(source, turned).item(), rel=FLOAT64, abs=FLOAT64)


def test_a_descent_step_on_the_activations_goes_where_the_network_should(name):
    """A discrepancy shrinks along the network's −gradient, the loss of an adversary grows; AFN's value never moves."""
    method, source, target = built(name), sample(8, 0), sample(8, 1, 1.0)
    if not method.uses_target:
        return
    value = method(source, target)
    value.backward()
    step = 1e-3
    moved = []
    for activations in (source, target):
        first, features, logits = (
            (leaf - step * leaf.grad if leaf.grad is not None else leaf).detach() for leaf in leaves(activations)
        )
        moved.append(Activations(features, logits, (first, features, logits.softmax(1))))
    after = method(*moved)
    if name == "afn":
        assert after.item() == pytest.approx(value.item(), rel=FLOAT64)
    else:
        assert (after > value) if name in ADVERSARIES else (after < value)


def test_ddc_is_the_mmd_of_the_features_with_one_kernel():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    expected = jmmd_unbiased([source.features], [target.features], [GaussianKernel(scales=(1.0,))])
    assert built("ddc")(source, target).item() == pytest.approx(expected.item(), rel=FLOAT64)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_jan_is_jmmd_of_all_layers(estimator):
    source, target = sample(8, 0), sample(8, 1, 0.5)
    value = built("jan", estimator=estimator)(source, target)
    expected = ESTIMATORS[estimator](source.layers, target.layers, jan_kernels(3))
    assert value.item() == pytest.approx(expected.item(), rel=FLOAT64)


def test_jan_passes_its_options_on():
    source, target = sample(8, 0), sample(8, 1, 0.5)
    method = built("jan", bandwidth=3.0, scales=(1.0, 2.0), output_bandwidth=0.7)
    kernels = [GaussianKernel(3.0, (1.0, 2.0)), GaussianKernel(3.0, (1.0, 2.0)), GaussianKernel(0.7, (1.0,))]
    expected = jmmd_unbiased(source.layers, target.layers, kernels)
    assert method(source, target).item() == pytest.approx(expected.item(), rel=FLOAT64)


def test_dan_is_the_sum_of_the_layers_own_mmd():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    expected = sum(
        jmmd_unbiased([s], [t], [GaussianKernel()]).item() for s, t in zip(source.layers, target.layers, strict=True)
    )
    assert built("dan")(source, target).item() == pytest.approx(expected, rel=FLOAT64)


def test_dann_is_the_cross_entropy_of_its_discriminator():
    method, source, target = built("dann", hidden=7), sample(8, 0), sample(6, 1, 0.5)
    p_s, p_t = (torch.sigmoid(method.discriminator(a.features)) for a in (source, target))
    expected = -(p_s.log().mean() + (1 - p_t).log().mean()) / 2
    assert method(source, target).item() == pytest.approx(expected.item(), rel=FLOAT64)


def test_the_discriminator_descends_and_the_features_ascend():
    method, source, target = built("dann", hidden=7), sample(8, 0), sample(6, 1, 0.5)
    method(source, target).backward()
    reversed_ = source.features.grad.clone()
    weights = [p.grad.clone() for p in method.parameters()]
    method.zero_grad()
    source.features.grad = None
    scores = [method.discriminator(a.features) for a in (source, target)]
    plain = -(torch.sigmoid(scores[0]).log().mean() + (1 - torch.sigmoid(scores[1])).log().mean()) / 2
    plain.backward()
    torch.testing.assert_close(reversed_, -source.features.grad, rtol=FLOAT64, atol=FLOAT64)
    for found, parameter in zip(weights, method.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=FLOAT64, atol=FLOAT64)


def test_jan_a_starts_as_jan():
    gradients = []
    for name in ("jan", "jan-a"):
        source, target = sample(8, 0), sample(8, 1, 0.5)
        value = built(name)(source, target)
        value.backward()
        gradients.append((value.detach(), source.features.grad, target.logits.grad))
    for plain, adversarial in zip(*gradients, strict=True):
        torch.testing.assert_close(adversarial, plain, rtol=FLOAT64, atol=FLOAT64)


def test_theta_of_jan_a_ascends():
    method = built("jan-a")
    value = method(sample(8, 0), sample(8, 1, 0.5))
    value.backward()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter -= 1e-3 * parameter.grad  # what an optimizer does
    assert method(sample(8, 0), sample(8, 1, 0.5)) > value


def test_jan_agrees_with_the_sums_written_from_equation_7():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    value = built("jan", estimator="biased", bandwidth=2.0, scales=(1.0,), output_bandwidth=0.5)(source, target)

    def kernel(i: int, j: int) -> float:
        pooled = [torch.cat([s, t]) for s, t in zip(source.layers, target.layers, strict=True)]
        result = 1.0
        for rows, gamma in zip(pooled, (2.0, 2.0, 0.5), strict=True):
            result *= torch.exp(-(rows[i] - rows[j]).square().sum() / gamma).item()
        return result

    S, T = range(8), range(8, 14)
    within = sum(kernel(i, j) for i in S for j in S) / 64 + sum(kernel(i, j) for i in T for j in T) / 36
    across = sum(kernel(i, j) for i in S for j in T) / 48
    assert value.item() == pytest.approx(within - 2 * across, rel=FLOAT64)


def test_coral_agrees_with_its_equations():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    expected = reference.coral(source.features, target.features)
    assert built("coral")(source, target).item() == pytest.approx(expected, rel=FLOAT64)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_mcc_agrees_with_its_equations(temperature):
    source, target = sample(8, 0), sample(6, 1, 0.5)
    value = built("mcc", temperature=temperature)(source, target)
    assert value.item() == pytest.approx(reference.mcc(target.logits, temperature), rel=FLOAT64)


def test_mcc_runs_from_certain_and_told_apart_to_not_told_apart():
    def value(logits: Tensor) -> float:
        return built("mcc")(sample(8, 0), Activations(logits, logits, (logits.softmax(1),))).item()

    assert value(1000 * torch.eye(3, dtype=torch.float64)) == pytest.approx(0, abs=FLOAT64)
    assert value(torch.zeros(3, 3, dtype=torch.float64)) == pytest.approx(2 / 3, rel=FLOAT64)


def test_bnm_agrees_with_its_equation():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    expected = -reference.nuclear_norm(target.layers[-1]) / 6
    assert built("bnm")(source, target).item() == pytest.approx(expected, rel=FLOAT64)


@pytest.mark.parametrize(("name_", "balanced"), [("im", True), ("entropy", False)])
def test_entropies_agree_with_their_equations(name_, balanced):
    source, target = sample(8, 0), sample(6, 1, 0.5)
    probabilities = target.layers[-1]
    expected = sum(reference.entropy(row) for row in probabilities) / 6
    expected -= reference.entropy(probabilities.mean(0)) if balanced else 0
    assert built(name_)(source, target).item() == pytest.approx(expected, rel=FLOAT64)


@pytest.mark.parametrize("name_", ["mcc", "im", "entropy", "cdan-e"])
def test_certain_predictions_give_finite_gradients(name_):
    source, target = sample(8, 0), sample(6, 1)
    logits = (1000 * torch.eye(3, dtype=torch.float64)[[0, 0, 1, 1, 1, 1]]).requires_grad_()
    certain = Activations(target.features, logits, (target.features, logits.softmax(1)))
    built(name_)(source, certain).backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in (logits, target.features) if leaf.grad is not None)


def test_afn_makes_every_norm_grow_by_equation_6s_gradient():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    value = built("afn", norm_step=0.7)(source, target)
    value.backward()
    assert value.item() == pytest.approx(2 * 0.7**2, rel=FLOAT64)
    for activations in (source, target):
        for row, gradient in zip(activations.features.detach(), activations.features.grad, strict=True):
            expected = -2 * 0.7 / len(activations.features) * row / row.square().sum().sqrt()
            torch.testing.assert_close(gradient, expected, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize("name_", ["cdan", "cdan-e"])
def test_cdan_is_the_weighted_cross_entropy_on_the_products(name_):
    method, source, target = built(name_, hidden=7), sample(8, 0), sample(6, 1, 0.5)
    terms = []
    for activations, sign in ((source, 1), (target, -1)):
        products = torch.stack(
            [torch.outer(f, p).flatten() for f, p in zip(activations.features, activations.layers[-1], strict=True)]
        )
        losses = [-torch.sigmoid(sign * score).log().item() for score in method.discriminator(products)[:, 0]]
        weights = [1 + math.exp(-reference.entropy(p)) if name_ == "cdan-e" else 1 for p in activations.layers[-1]]
        terms.append(sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights))
    assert method(source, target).item() == pytest.approx(sum(terms) / 2, rel=FLOAT64)


def test_cdan_sees_random_products_of_many():
    torch.manual_seed(0)
    method = build_method("cdan", (300, 20), {"hidden": 7}).double()
    f, p = (torch.randn(5, width, dtype=torch.float64) for width in (300, 20))
    found = method._multilinear(f, p)
    expected = [
        [(f[i] @ method.R_f[:, k]) * (p[i] @ method.R_p[:, k]) / 32 for k in range(found.shape[1])] for i in range(5)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=FLOAT64, atol=FLOAT64)
    # Inner products are those of f ⊗ p in expectation: that is why they may stand in for them.
    exact = (f @ f.T) * (p @ p.T)
    assert torch.corrcoef(torch.stack([(found @ found.T).flatten(), exact.flatten()]))[0, 1] > 0.9


def test_a_sum_is_its_parts_each_with_its_own_trade_off():
    source, target = sample(8, 0), sample(8, 1, 0.5)
    parts = {name: built(name)(source, target).item() for name in ("jan", "mcc", "bnm")}
    own, given, one = (
        built("jan+mcc+bnm", **options)(source, target).item()
        for options in ({}, {"trade_off": (0.1, 0.2, 0.3)}, {"trade_off": 2.0})
    )
    defaults = {name: METHODS[name].trade_off for name in parts}
    assert own == pytest.approx(sum(defaults[name] * value for name, value in parts.items()), rel=FLOAT64)
    assert given == pytest.approx(0.1 * parts["jan"] + 0.2 * parts["mcc"] + 0.3 * parts["bnm"], rel=FLOAT64)
    assert one == pytest.approx(2 * sum(parts.values()), rel=FLOAT64)


def test_a_sum_passes_each_part_its_options_and_trains_its_layers():
    method = built("jan-a+dann", hidden=7, trade_off=[1, 0])
    assert options_of("jan-a+dann") == (*options_of("jan-a"), "hidden")
    assert {len(p) for p in method.parameters()} >= {7, *WIDTHS}
    assert not built("source-only").uses_target
    assert built("source-only+mcc").uses_target


def test_a_trade_off_is_the_methods_own_unless_given():
    assert built("mcc").trade_off == METHODS["mcc"].trade_off
    assert built("mcc", trade_off="auto").trade_off == METHODS["mcc"].trade_off
    assert built("mcc", trade_off=0.25).trade_off == 0.25
    with pytest.raises(UserError, match=r"--trade-off has 3 values for jan\+mcc; give one for each of its 2 parts"):
        built("jan+mcc", trade_off=(1, 2, 3))


def test_reversal_keeps_values_and_turns_gradients():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse(x), x)
    (reverse(x) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, -2 * x.detach())


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'jan'"):
        options_of("jann")
    with pytest.raises(UserError, match="unknown method 'mc'; did you mean 'mcc'"):
        options_of("jan+mc")


def test_the_reference_is_independent():
    assert "jointadapt" not in vars(reference)
