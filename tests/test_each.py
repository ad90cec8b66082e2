"""JMMD² of K pairs of samples at once is that of each pair alone, and so is its gradient."""

import pytest
import torch

from jointadapt.discrepancy import GaussianKernel, jan_kernels
from jointadapt.discrepancy.each import BATCHED

CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5}
RULES = ["mean", "median", 2.5]


def _layers(n: int, dtype: torch.dtype, pairs: int = 3) -> list[torch.Tensor]:
    rows = torch.randn(pairs, n, 5, dtype=dtype) * torch.tensor([1.0, 3.0, 0.2], dtype=dtype)[:pairs, None, None]
    return [rows.requires_grad_(), torch.randn(pairs, n, 4, dtype=dtype).softmax(-1).requires_grad_()]


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("alone", BATCHED)
@pytest.mark.parametrize("sizes", [(6, 9), (130, 126)])
def test_each_value_and_gradient_is_the_pairs_own(alone, rule, dtype, sizes) -> None:
    source, target = _layers(sizes[0], dtype), _layers(sizes[1], dtype)
    kernels, factors = jan_kernels(2, rule), torch.tensor([0.5, -2.0, 1.0], dtype=dtype)
    together = BATCHED[alone](source, target, kernels)
    gradients = torch.autograd.grad((factors * together).sum(), [*source, *target])
    pairs = [([x[k] for x in source], [x[k] for x in target]) for k in range(3)]
    own = torch.stack([alone(s, t, kernels) for s, t in pairs])
    expected = torch.autograd.grad((factors * own).sum(), [*source, *target])
    close = {"rtol": CLOSE[dtype], "atol": CLOSE[dtype]}
    torch.testing.assert_close(together, own, **close)
    for gradient, one in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, one, **close)


@pytest.mark.parametrize("alone", BATCHED)
def test_gradient_is_that_of_finite_differences(alone) -> None:
    kernels = [GaussianKernel(2.0), GaussianKernel(1.68, (1.0,))]
    source, target = _layers(4, torch.float64, 2), _layers(3, torch.float64, 2)

    def value(*rows: torch.Tensor) -> torch.Tensor:
        return BATCHED[alone](rows[:2], rows[2:], kernels)

    assert torch.autograd.gradcheck(value, (*source, *target))


@pytest.mark.parametrize("alone", BATCHED)
def test_a_second_derivative_is_refused(alone) -> None:
    source, target = _layers(4, torch.float64), _layers(3, torch.float64)
    (gradient,) = torch.autograd.grad(
        BATCHED[alone](source, target, jan_kernels(2)).sum(), source[0], create_graph=True
    )
    with pytest.raises(RuntimeError, match="joint_gram"):
        gradient.sum().backward()


@pytest.mark.parametrize("alone", BATCHED)
def test_identical_rows_give_0_and_a_finite_gradient(alone) -> None:
    rows = torch.ones(2, 6, 3, requires_grad=True)
    together = BATCHED[alone]([rows[:, :3]], [rows[:, 3:]], [GaussianKernel()])
    assert together.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    together.sum().backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_half_precision_goes_one_by_one_in_float32() -> None:
    (alone, each) = next(iter(BATCHED.items()))
    source, target = torch.randn(2, 6, 3).bfloat16(), torch.randn(2, 5, 3).bfloat16()
    own = torch.stack([alone([s], [t], [GaussianKernel()]) for s, t in zip(source, target, strict=True)])
    assert torch.equal(each([source], [target], [GaussianKernel()]), own)
