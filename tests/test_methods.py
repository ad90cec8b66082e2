"""One contract over all of METHODS, and each against its paper's formula."""

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
        assert activations.features.grad is not None
        assert activations.features.grad.abs().sum() > 0
        assert all(torch.isfinite(leaf.grad).all() for leaf in leaves(activations) if leaf.grad is not None)


def test_identical_activations_give_finite_gradients(name):
    constant = torch.ones(4, 6, dtype=torch.float64), torch.zeros(4, 5, dtype=torch.float64)
    logits = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    features = constant[1].requires_grad_()
    same = Activations(features, logits, (constant[0], features, logits.softmax(1)))
    value = built(name)(same, same)
    if value.requires_grad:
        value.backward()
        assert torch.isfinite(features.grad).all()


def test_the_order_of_rows_does_not_matter(name):
    source, target = sample(8, 0), sample(8, 1, 0.5)
    turned = Activations(
        target.features.flip(0), target.logits.flip(0), tuple(layer.flip(0) for layer in target.layers)
    )
    method = built(name)
    assert method(source, target).item() == pytest.approx(method(source, turned).item(), rel=FLOAT64, abs=FLOAT64)


def test_a_descent_step_on_the_activations_goes_where_the_network_should(name):
    """A discrepancy shrinks along the network's −gradient; DANN's network makes its discriminator's loss larger."""
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
    assert (after > value) if name == "dann" else (after < value)


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


def test_reversal_keeps_values_and_turns_gradients():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse(x), x)
    (reverse(x) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, -2 * x.detach())


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'jan'"):
        options_of("jann")


def test_the_reference_is_independent():
    assert "jointadapt" not in vars(reference)
