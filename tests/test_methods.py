"""One contract over all of METHODS, and each against its paper's formula."""

import math

import pytest
import reference
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from jointadapt import GaussianKernel
from jointadapt.discrepancy import jmmd_unbiased
from jointadapt.discrepancy.kernels import jan_kernels
from jointadapt.errors import UserError
from jointadapt.methods import METHODS, Needs
from jointadapt.methods.build import build_method
from jointadapt.methods.kernel_methods import ESTIMATORS
from jointadapt.methods.options import options_of
from jointadapt.networks.network import Activations
from jointadapt.networks.reversal import reverse

ADVERSARIES = {"dann", "cdan", "cdan-e", "mdd", "nwd"}
"""Their own layers descend on the term, the network ascends."""
TARGET_ALONE = {"mcc", "bnm", "im", "entropy", "fixmatch", "shot"}
SOURCE = 0
"""The seed of samples that have labels."""
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
    return seen(first, features, logits, torch.arange(rows) % 3 if seed == SOURCE else None)


CLASSIFIER = torch.randn(5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


def seen(first: Tensor, features: Tensor, logits: Tensor, labels: Tensor | None = None) -> Activations:
    """Return what a trainer would give a method that asks for everything."""
    layers = (first, features, logits.softmax(1))
    teacher = (10 * logits.detach()).softmax(1)
    return Activations(features, logits, layers, labels, reverse(features) @ CLASSIFIER, teacher)


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
    if not method.needs.target:
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
    same = seen(constant[0], features, logits, torch.arange(4) % 3)
    value = built(name)(same, same._replace(labels=None))
    if value.requires_grad:
        value.backward()
        assert all(torch.isfinite(leaf.grad).all() for leaf in (features, logits) if leaf.grad is not None)


def test_the_order_of_rows_does_not_matter(name):
    source, target = sample(8, 0), sample(8, 1, 0.5)
    turned = seen(*(leaf.flip(0) for leaf in leaves(target)))
    method = built(name)
    assert method(source, target).item() == pytest.approx(method(source, turned).item(), rel=FLOAT64, abs=FLOAT64)


def test_a_descent_step_on_the_activations_goes_where_the_network_should(name):
    """A discrepancy shrinks along the network's −gradient, the loss of an adversary grows; AFN's value never moves."""
    method, source, target = built(name), sample(8, 0), sample(8, 1, 1.0)
    if not method.needs.target or name == "mcd":  # which has terms of both kinds, and a test of its own
        return
    value = method(source, target)
    value.backward()
    step = 1e-3
    moved = []
    for activations in (source, target):
        first, features, logits = (
            (leaf - step * leaf.grad if leaf.grad is not None else leaf).detach() for leaf in leaves(activations)
        )
        moved.append(seen(first, features, logits, activations.labels))
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
    torch.manual_seed(0)  # as `built` does: "fourier" draws its frequencies
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
    method, source, target = built("dann", discriminator_width=7), sample(8, 0), sample(6, 1, 0.5)
    p_s, p_t = (torch.sigmoid(method.discriminator(a.features)) for a in (source, target))
    expected = -(p_s.log().mean() + (1 - p_t).log().mean()) / 2
    assert method(source, target).item() == pytest.approx(expected.item(), rel=FLOAT64)


def test_the_discriminator_descends_and_the_features_ascend():
    method, source, target = built("dann", discriminator_width=7), sample(8, 0), sample(6, 1, 0.5)
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
    value = built("mcc", mcc_temperature=temperature)(source, target)
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
    method, source, target = built(name_, discriminator_width=7), sample(8, 0), sample(6, 1, 0.5)
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
    method = build_method("cdan", (300, 20), {"discriminator_width": 7}).double()
    f, p = (torch.randn(5, width, dtype=torch.float64) for width in (300, 20))
    found = method._multilinear(f, p)
    expected = [
        [(f[i] @ method.R_f[:, k]) * (p[i] @ method.R_p[:, k]) / 32 for k in range(found.shape[1])] for i in range(5)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=FLOAT64, atol=FLOAT64)
    # Inner products are those of f ⊗ p in expectation: that is why they may stand in for them.
    exact = (f @ f.T) * (p @ p.T)
    assert torch.corrcoef(torch.stack([(found @ found.T).flatten(), exact.flatten()]))[0, 1] > 0.9


@pytest.mark.parametrize("kernel", ["marginal", "conditional", "weighted", "gaussian"])
def test_unified_jmmd_agrees_with_its_sums_over_classes(kernel):
    source, target = sample(8, 0), sample(6, 1, 0.5)
    hidden = [[a.layers[0].detach(), a.features.detach()] for a in (source, target)]
    expected = reference.unified_jmmd(*hidden, source.labels, target.layers[-1].detach(), kernel)
    assert built("ujmmd", label_kernel=kernel)(source, target).item() == pytest.approx(expected, rel=FLOAT64)


def test_lmmd_leaves_out_classes_that_the_source_batch_lacks():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    source = source._replace(labels=torch.tensor([0, 0, 2, 2, 0, 2, 0, 0]))
    hidden = [[a.layers[0].detach(), a.features.detach()] for a in (source, target)]
    expected = reference.unified_jmmd(*hidden, source.labels, target.layers[-1].detach(), "conditional")
    assert built("lmmd")(source, target).item() == pytest.approx(expected, rel=FLOAT64)


def test_lmmd_sees_swapped_classes_where_the_marginals_agree():
    rows = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = (rows[:, 0] > 0).long()
    wrong = 100 * torch.nn.functional.one_hot(1 - labels, 3).double()
    right = 100 * torch.nn.functional.one_hot(labels, 3).double()
    source, swapped, same = (seen(rows, rows[:, :5], z, labels) for z in (right, wrong, right))
    assert built("ujmmd", label_kernel="marginal")(source, swapped).item() == pytest.approx(0, abs=FLOAT64)
    assert built("lmmd")(source, same).item() == pytest.approx(0, abs=FLOAT64)
    assert built("lmmd")(source, swapped).item() > 0.1


def test_rtn_is_the_mmd_of_fused_layers_and_the_entropy():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    fused = [
        torch.stack([torch.kron(f, p) for f, p in zip(a.features, a.layers[-1], strict=True)]).detach()
        for a in (source, target)
    ]
    expected = reference.jmmd_unbiased([fused[0]], [fused[1]], [reference.JAN_FEATURES]).item()
    expected += sum(reference.entropy(row) for row in target.layers[-1]) / 6
    assert built("rtn")(source, target).item() == pytest.approx(expected, rel=FLOAT64)


def test_the_residual_of_rtn_starts_as_nothing_and_learns_from_the_risk():
    source = sample(8, 0)
    method = built("rtn")
    logits = method.source_logits(source)
    assert torch.equal(logits, source.logits)
    torch.nn.functional.cross_entropy(logits, source.labels).backward()
    assert method.residual[2].weight.grad.abs().sum() > 0
    with torch.no_grad():
        method.residual[2].bias += 1
    torch.testing.assert_close(method.source_logits(source), source.logits + 1)


def test_a_sum_has_the_source_classifier_and_the_needs_of_its_parts():
    source = sample(8, 0)
    method = built("rtn+mcd")
    with torch.no_grad():
        method.parts[0].residual[2].bias += 1
    torch.testing.assert_close(method.source_logits(source), source.logits + 1)
    assert method.needs == Needs(source=True, target=True, reversed_logits=True, teacher=False)
    assert built("shot").needs == Needs(source=False, target=True, reversed_logits=False, teacher=False)
    assert built("shot+fixmatch").needs == Needs(source=True, target=True, reversed_logits=False, teacher=True)


def test_mdd_agrees_with_its_equation():
    method, source, target = built("mdd", margin=3.0, second_classifier_width=7), sample(8, 0), sample(6, 1, 0.5)
    terms = []
    for activations in (source, target):
        p = method.other(activations.features).softmax(1)
        terms.append([p[i, row.argmax()].item() for i, row in enumerate(activations.logits)])
    expected = -3.0 * sum(map(math.log, terms[0])) / 8 - sum(math.log(1 - p) for p in terms[1]) / 6
    assert method(source, target).item() == pytest.approx(expected, rel=FLOAT64)


def test_the_two_classifiers_of_mcd_part_and_the_features_bring_them_together():
    method, source, target = built("mcd", second_classifier_width=7), sample(8, 0), sample(6, 1, 0.5)

    def discrepancy(features: Tensor) -> Tensor:
        p, q = (features @ CLASSIFIER).softmax(1), method.second(features).softmax(1)
        return sum((p[i, c] - q[i, c]).abs() for i in range(6) for c in range(3)) / (6 * 3)

    value = method(source, target)
    p = method.second(source.features).softmax(1)
    risk = -sum(p[i, label].log() for i, label in enumerate(source.labels)) / 8
    d = discrepancy(target.features)
    assert value.item() == pytest.approx((risk - d).item(), rel=FLOAT64)
    parameters = [CLASSIFIER, *method.parameters()]
    found = torch.autograd.grad(value, [source.features, target.features, *parameters], retain_graph=True)
    of_risk = torch.autograd.grad(risk, [source.features, target.features, *parameters], allow_unused=True)
    of_d = torch.autograd.grad(d, [source.features, target.features, *parameters], allow_unused=True)
    signs = [0, 1, *[-1 for _ in parameters]]
    for gradient, r, own, sign in zip(found, of_risk, of_d, signs, strict=True):
        expected = (0 if r is None else r) + (0 if own is None else sign * own)
        torch.testing.assert_close(gradient, expected, rtol=FLOAT64, atol=FLOAT64)


def test_nwd_is_the_gap_of_the_nuclear_norms_and_the_classifier_widens_it():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    value = built("nwd")(source, target)
    of_s, of_t = ((a.features @ CLASSIFIER).softmax(1) for a in (source, target))
    expected = reference.nuclear_norm(of_t.detach()) / 6 - reference.nuclear_norm(of_s.detach()) / 8
    assert value.item() == pytest.approx(expected, rel=FLOAT64)
    inputs = [CLASSIFIER, source.features, target.features]
    plain = torch.linalg.matrix_norm(of_t, "nuc") / 6 - torch.linalg.matrix_norm(of_s, "nuc") / 8
    found, own = (torch.autograd.grad(term, inputs) for term in (value, plain))
    for gradient, expected, sign in zip(found, own, (1, -1, -1), strict=True):
        torch.testing.assert_close(gradient, sign * expected, rtol=FLOAT64, atol=FLOAT64)


def test_fixmatch_is_the_cross_entropy_on_certain_rows():
    source, target = sample(8, 0), sample(6, 1, 0.5)
    q = target.teacher
    certain = [i for i in range(6) if q[i].max() >= 0.99]
    assert 0 < len(certain) < 6
    expected = -sum(target.layers[-1][i, q[i].argmax()].log().item() for i in certain) / 6
    assert built("fixmatch", confidence_threshold=0.99)(source, target).item() == pytest.approx(expected, rel=FLOAT64)


def test_shot_agrees_with_its_equations_over_two_batches():
    method = built("shot", pseudo_label_weight=0.4, centroid_memory=9)
    first, second = sample(6, 1, 0.5), sample(6, 3)
    method(None, first)
    value = method(None, second)
    features = torch.cat([second.features, first.features])[:9].detach()
    p = torch.cat([second.layers[-1], first.layers[-1]])[:9].detach()
    labels = reference.centroid_labels(second.features.detach(), features, p)
    own = second.layers[-1]
    expected = sum(reference.entropy(row) for row in own) / 6 - reference.entropy(own.mean(0))
    expected -= 0.4 * sum(own[i, label].log().item() for i, label in enumerate(labels)) / 6
    assert value.item() == pytest.approx(expected, rel=FLOAT64)


def test_empty_rows_of_shots_memory_add_nothing():
    target = sample(12, 1)
    values = [built("shot", centroid_memory=rows)(None, target).item() for rows in (12, 500)]
    assert values[0] == pytest.approx(values[1], rel=FLOAT64)


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
    method = built("jan-a+dann", discriminator_width=7, trade_off=[1, 0])
    assert [*options_of("jan-a+dann")] == [*options_of("jan-a"), "discriminator_width"]
    assert {len(p) for p in method.parameters()} >= {7, *WIDTHS}
    assert not built("source-only").needs.target
    assert built("source-only+mcc").needs.target


def test_a_trade_off_is_the_methods_own_unless_given():
    assert built("mcc").trade_off == METHODS["mcc"].trade_off
    assert built("mcc", trade_off="auto").trade_off == METHODS["mcc"].trade_off
    assert built("mcc", trade_off=0.25).trade_off == 0.25
    with pytest.raises(UserError, match=r"trade_off has 3 values and jan\+mcc 2 parts; give one for each part"):
        built("jan+mcc", trade_off=(1, 2, 3))


def test_reversal_keeps_values_and_turns_gradients():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse(x), x)
    (reverse(x) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, -2 * x.detach())


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'jan'"):
        options_of("jann")
    with pytest.raises(UserError, match="unknown method 'entropie'; did you mean 'entropy'"):
        options_of("jan+entropie")


def test_the_reference_is_independent():
    assert "jointadapt" not in vars(reference)


WEIGHED = ("ddc", "dan", "dann", "jan", "jan-a", "rtn", "ujmmd", "coral", "cdan", "cdan-e", "mcd", "mdd")


def weighted(activations: Activations, weights: Tensor) -> Activations:
    return activations._replace(weights=weights)


@pytest.mark.parametrize("name_", WEIGHED)
def test_equal_source_weights_change_nothing_and_others_do(name_):
    method, source, target = built(name_), sample(SIZES[0], 0), sample(SIZES[1], 1, 0.5)
    plain = method(source, target)
    equal = method(weighted(source, torch.full((SIZES[0],), 3.0, dtype=torch.float64)), target)
    torch.testing.assert_close(equal, plain, rtol=FLOAT64, atol=FLOAT64)
    uneven = method(weighted(source, torch.arange(1.0, SIZES[0] + 1, dtype=torch.float64)), target)
    assert abs(uneven - plain) > FLOAT64


@pytest.mark.parametrize("name_", ["ddc", "dann", "jan", "coral", "cdan", "mcd", "mdd"])
def test_a_source_row_of_weight_nought_counts_for_nothing(name_):
    kernel = {"bandwidth": 2.0} if name_ in ("ddc", "jan") else {}
    method, source, target = built(name_, **kernel), sample(SIZES[0], 0), sample(SIZES[1], 1, 0.5)
    weights = torch.ones(SIZES[0], dtype=torch.float64)
    weights[5:] = 0
    shorter = Activations(
        *(x if x is None else x[:5] if torch.is_tensor(x) else tuple(layer[:5] for layer in x) for x in source)
    )
    if "estimator" in options_of(name_):
        biased = {**kernel, "estimator": "biased"}
        method = built(name_, **biased)
    torch.testing.assert_close(method(weighted(source, weights), target), method(shorter, target))


def test_certain_target_rows_count_for_more_and_carry_no_gradient_of_it():
    source, target = sample(SIZES[0], 0), sample(SIZES[1], 1, 0.5)
    sure = target._replace(logits=torch.cat([1e3 * target.logits[:3], 0 * target.logits[3:]]))
    found = built("ddc", target_weights="certainty", estimator="biased", bandwidth=1.0)(source, sure)
    first = Activations(target.features[:3], target.logits[:3], tuple(layer[:3] for layer in target.layers))
    expected = built("ddc", estimator="biased", bandwidth=1.0)(source, first)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert torch.autograd.grad(found, target.logits, allow_unused=True) == (None,)


@pytest.mark.parametrize("name_", ["im", "shot"])
def test_the_balance_that_is_wanted_is_that_of_the_class_shares(name_):
    shares = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    rows = one_hot(torch.repeat_interleave(torch.arange(3), torch.tensor([7, 2, 1])), 3).double()
    features = torch.cat([rows, rows[:, :2]], 1)
    target = seen(rows, features, (50 * rows).requires_grad_())
    source = sample(SIZES[0], 0)
    even, own = (build_method(name_, WIDTHS, {}, given).double() for given in (torch.ones(3) / 3, shares))
    assert own(source, target) < even(source, target)
    torch.testing.assert_close(even(source, target), built(name_)(source, target))
