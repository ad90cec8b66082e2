"""The literature's estimators against plain computations from their equations."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize_scalar

from jointadapt.diagnostics.accuracy.estimators import (
    accuracy_of,
    agreement,
    average_thresholded_confidence,
    confidence_optimal_transport,
    counts_of,
    difference_of_confidences,
    mean_confidence,
    scaled,
)

EXACT, BY_SEARCH = 1e-9, 1e-4
CLASSES = 3


def some(rows: int, seed: int, sharp: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return probabilities, and labels drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    p = (sharp * torch.randn(rows, CLASSES, generator=generator)).softmax(1)
    return p, torch.multinomial(p, 1, generator=generator)[:, 0]


def test_thresholded_confidence_counts_the_rows_above_the_source_s_threshold():
    (p, y), (q, _) = some(50, 0), some(70, 1)

    def certain(rows: torch.Tensor) -> list[float]:
        return [sum(float(v) * np.log(float(v)) for v in row) for row in rows.double()]

    wrong = sum(int(row.argmax()) != int(label) for row, label in zip(p, y, strict=True))
    threshold = sorted(certain(p))[wrong]  # so many lie below it as are wrong
    assert sum(value < threshold for value in certain(p)) == wrong
    expected = sum(value >= threshold - EXACT for value in certain(q)) / len(q)
    assert average_thresholded_confidence(p, y, q) == pytest.approx(expected, abs=EXACT)


def test_on_the_source_itself_each_gives_the_source_s_accuracy():
    p, y = some(60, 2)
    assert average_thresholded_confidence(p, y, p) == pytest.approx(accuracy_of(p, y), abs=EXACT)
    assert difference_of_confidences(p, y, p) == pytest.approx(accuracy_of(p, y), abs=EXACT)


def test_a_model_that_is_never_right_on_the_source_is_expected_to_be_so_on_the_target():
    p, _ = some(20, 0)
    never = (p.argmax(1) + 1) % CLASSES
    assert average_thresholded_confidence(p, never, p) == 0.0
    assert difference_of_confidences(p, never, p) == 0.0


def test_difference_of_confidences_follows_its_equation():
    (p, y), (q, _) = some(40, 3), some(30, 4, sharp=0.5)
    confidence = [np.mean([max(row) for row in rows.double().tolist()]) for rows in (p, q)]
    right = np.mean([row.argmax() == label for row, label in zip(p.numpy(), y.numpy(), strict=True)])
    assert difference_of_confidences(p, y, q) == pytest.approx(right - confidence[0] + confidence[1], abs=EXACT)


def test_transport_s_assignment_is_the_linear_programme_s_solution():
    p, _ = some(12, 5)
    shares = torch.tensor([0.5, 0.25, 0.25])
    rows, classes = p.shape
    costs = np.array(
        [[0.5 * np.abs(row - np.eye(classes)[c]).sum() for c in range(classes)] for row in p.double().numpy()]
    )
    leaving = np.kron(np.eye(rows), np.ones(classes))
    arriving = np.kron(np.ones(rows), np.eye(classes))
    masses = np.r_[np.full(rows, 1 / rows), shares.double().numpy()]
    plan = linprog(costs.ravel(), A_eq=np.r_[leaving, arriving], b_eq=masses)
    assert confidence_optimal_transport(p, shares) == pytest.approx(1 - plan.fun, abs=1e-6)


def test_transport_is_the_best_of_all_assignments():
    p, _ = some(6, 6)
    labels = [0, 0, 1, 1, 2, 2]
    best = max(np.mean([p[row, c].item() for row, c in enumerate(order)]) for order in itertools.permutations(labels))
    assert confidence_optimal_transport(p, torch.ones(CLASSES) / CLASSES) == pytest.approx(best, abs=1e-6)


def test_transport_takes_shares_that_differ_for_error_and_is_never_above_the_confidence():
    p, _ = some(400, 7, sharp=8.0)
    own = torch.bincount(p.argmax(1), minlength=CLASSES).double()
    assert confidence_optimal_transport(p, own) == pytest.approx(mean_confidence(p), abs=EXACT)
    assert confidence_optimal_transport(p, torch.tensor([0.9, 0.05, 0.05])) < mean_confidence(p) - 0.3


def test_transport_of_many_rows_looks_at_some_and_says_the_same_each_time():
    p, _ = some(500, 8)
    shares = torch.ones(CLASSES) / CLASSES
    few = confidence_optimal_transport(p, shares, most=100)
    assert few == confidence_optimal_transport(p, shares, most=100)
    assert few == pytest.approx(confidence_optimal_transport(p, shares), abs=0.1)


@pytest.mark.parametrize(("shares", "rows"), [([0.2, 0.3, 0.5], 7), ([1.0, 0.0, 0.0], 5), ([1.0, 1.0, 1.0], 10)])
def test_counts_are_as_near_to_the_shares_as_whole_numbers_can_be(shares, rows):
    counts = counts_of(torch.tensor(shares), rows)
    assert sum(counts) == rows
    assert np.abs(np.array(counts) - rows * np.array(shares) / sum(shares)).max() < 1


def test_agreement_is_the_mean_over_the_others():
    first, second, third = (torch.tensor(x) for x in ([0, 1, 2, 0], [0, 1, 2, 1], [1, 1, 0, 0]))
    assert agreement(first, second, third) == pytest.approx((3 / 4 + 2 / 4) / 2)


def test_the_temperature_has_the_least_loss_and_lets_no_class_change():
    p, y = some(200, 9)
    sharp = (3 * p.log()).softmax(1)  # a third of the confidence is no knowledge
    own, other = scaled(sharp, y, sharp[:50])
    logits = sharp.double().log().numpy()

    def loss(temperature: float) -> float:
        z = logits / temperature
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -z[np.arange(len(z)), y.numpy()].mean()

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded").fun
    found = -own[torch.arange(len(own)), y].log().mean().item()
    assert found == pytest.approx(best, abs=BY_SEARCH)
    torch.testing.assert_close(other, own[:50])
    assert (own.argmax(1) == sharp.argmax(1)).all()
    assert mean_confidence(own) < mean_confidence(sharp)
