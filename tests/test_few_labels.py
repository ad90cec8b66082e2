"""A few labels as judges: the posterior by hand, its laws, how many more are needed, which rows to ask for."""

from fractions import Fraction
from itertools import product
from math import comb, exp, log
from pathlib import Path

import numpy as np
import pytest
import torch

from jointadapt import AdaptedClassifier
from jointadapt.diagnostics.label_suggestion import suggest_for_choosing
from jointadapt.experiment import train
from jointadapt.runs.reading import read_summary
from jointadapt.selection.few_labels import (
    CHANCE,
    PRIOR_WEIGHT,
    SHARPENING,
    dispute,
    further_labels,
    judge,
    labels_needed,
    rows_to_tell_apart,
)

EXACT = 1e-12
DRAWS = 4_000
SIMULATED = 3 / DRAWS**0.5
"""Of frequencies over as many draws."""


def one_hot(classes: torch.Tensor, of: int = 3, sure: float = 1.0) -> torch.Tensor:
    """Return probabilities that give each row its class, and the rest to all others alike."""
    return torch.full((len(classes), of), (1 - sure) / (of - 1)).scatter(1, classes[:, None], sure)


def said(labels: torch.Tensor, rows: torch.Tensor, sure: float = 0.9, scores=None, **predicted: torch.Tensor):
    """Return the judgement of models by their classes of all target rows."""
    return judge(
        labels, {name: one_hot(own[rows], sure=sure) for name, own in predicted.items()}, predicted, rows, scores
    )


def test_the_posterior_is_the_formula_summed_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 2, 1, 1])
    probabilities = {name: torch.rand(4, 3, generator=generator).double().softmax(1) for name in "abc"}
    scores, expected = {"a": 0.3, "b": 0.8, "c": 0.5}, {}
    for name, p in probabilities.items():
        total = exp(PRIOR_WEIGHT * scores[name])
        for row, label in enumerate(labels.tolist()):
            powers = [value**SHARPENING for value in p[row].tolist()]
            total *= (1 - CHANCE) * powers[label] / sum(powers) + CHANCE / 3
        expected[name] = total
    rows, predicted = torch.arange(4), {name: p.argmax(1) for name, p in probabilities.items()}
    found = judge(labels, probabilities, predicted, rows, scores)
    for name, value in expected.items():
        assert found.posterior[name] == pytest.approx(value / sum(expected.values()), abs=EXACT)


def test_equal_models_are_equally_likely_and_nothing_tells_them_apart() -> None:
    classes = torch.arange(30) % 3
    found = said(classes[:10], torch.arange(10), a=classes, b=classes.clone(), c=classes.clone())
    assert found.posterior == pytest.approx(dict.fromkeys("abc", 1 / 3), abs=EXACT)
    assert (found.disputed, found.further) == (0, None)
    assert "the two give every example the same class" in str(found)


def test_without_a_label_that_parts_them_the_scores_decide() -> None:
    classes = torch.arange(30) % 3
    predicted = {"a": classes, "b": classes.clone().index_fill_(0, torch.tensor([29]), 0)}
    rows = torch.arange(10)
    p = {name: one_hot(own[rows], sure=0.9) for name, own in predicted.items()}
    assert judge(classes[rows], p, predicted, rows, {"a": 0.1, "b": 0.4}).chosen == "b"
    assert judge(classes[rows], p, predicted, rows, {"a": 0.4, "b": 0.1}).chosen == "a"


def test_a_model_that_is_right_on_all_of_many_labels_wins_whatever_the_scores() -> None:
    classes, rows = torch.arange(300) % 3, torch.arange(200)
    predicted = {"right": classes, "wrong": (classes + 1) % 3}
    p = {name: one_hot(own[rows], sure=0.6) for name, own in predicted.items()}
    found = judge(classes[rows], p, predicted, rows, {"right": 0.0, "wrong": 1.0})
    assert found.chosen == "right"
    assert found.certainty > 1 - 1e-6
    assert found.further == 0


def test_the_order_of_labels_and_of_models_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randperm(40, generator=generator)[:12]
    predicted = {name: torch.randint(3, (40,), generator=generator) for name in "abcd"}
    labels = torch.randint(3, (12,), generator=generator)
    scores = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}  # no two are alike
    first = said(labels, rows, scores=scores, **predicted)
    other = torch.randperm(12, generator=generator)
    second = said(labels[other], rows[other], scores=scores, **dict(reversed(predicted.items())))
    assert first.posterior == pytest.approx(second.posterior, abs=EXACT)
    assert (first.chosen, first.rival, first.further) == (second.chosen, second.rival, second.further)


def test_one_label_counts_no_more_than_it_may() -> None:
    """However sure two models are, a label moves their log odds by log(1 + C) at most."""
    predicted = {"a": torch.tensor([0, 0]), "b": torch.tensor([1, 0])}
    found = said(torch.tensor([0]), torch.tensor([0]), sure=1.0, **predicted)
    odds = log(found.posterior["a"] / found.posterior["b"])
    assert odds == pytest.approx(log(1 + 3 * (1 - CHANCE) / CHANCE), abs=1e-9)


def test_one_model_alone_is_the_best() -> None:
    found = said(torch.tensor([1]), torch.tensor([0]), a=torch.tensor([0, 1]))
    assert (found.chosen, found.rival, found.certainty, found.further) == ("a", "", 1.0, None)
    assert str(found) == "by 1 labelled target examples it is the best with probability 1.00"


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (2, 2), (1, 3)])
def test_no_number_is_said_where_the_first_does_not_win(wins: int, losses: int) -> None:
    assert further_labels(wins, losses) is None


def test_the_number_of_labels_gives_the_power_that_it_promises() -> None:
    """By enumeration: McNemar's exact power at the number said, of the test by the normal distribution."""
    for one, difference in ((1.0, 0.6), (0.8, 0.4), (1.0, 0.4)):
        n = labels_needed(one, difference)
        assert n is not None
        win, loss = (one + difference) / 2, (one - difference) / 2
        power = 0.0
        for wins, losses in product(range(n + 1), repeat=2):
            if wins + losses <= n and wins - losses > 1.645 * (wins + losses) ** 0.5:
                ways = Fraction(comb(n, wins) * comb(n - wins, losses))
                power += float(ways) * win**wins * loss**losses * max(1 - one, 0) ** (n - wins - losses)
        assert 0.7 < power < 0.92, (one, difference, n, power)


def test_more_is_not_asked_for_than_there_is() -> None:
    classes = torch.zeros(12, dtype=torch.long)
    predicted = {"a": classes, "b": classes.clone().index_fill_(0, torch.arange(4), 1)}
    rows = torch.tensor([0, 11])
    found = said(classes[rows], rows, **predicted)
    assert found.disputed == pytest.approx(4 / 12)
    assert found.further is None
    assert "too evenly so far" in str(found)


def test_dispute_is_the_chance_that_two_drawn_models_disagree() -> None:
    generator = torch.Generator().manual_seed(2)
    predicted = [torch.randint(3, (20,), generator=generator) for _ in range(4)]
    weights = [0.1, 0.2, 0.3, 0.4]
    expected = [
        sum(
            weights[i] * weights[j] * (predicted[i][row] != predicted[j][row]).item()
            for i in range(4)
            for j in range(4)
        )
        for row in range(20)
    ]
    assert dispute(predicted, weights).tolist() == pytest.approx(expected, abs=EXACT)
    assert dispute([predicted[0]] * 3).tolist() == pytest.approx([0.0] * 20, abs=EXACT)


def test_rows_are_drawn_as_often_as_they_are_disputed() -> None:
    predicted = [torch.tensor([0, 0, 0]), torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1])]
    expected = dispute(predicted) / dispute(predicted).sum()
    generator = torch.Generator().manual_seed(3)
    drawn = torch.tensor([rows_to_tell_apart(predicted, 1, generator=generator)[0] for _ in range(DRAWS)])
    found = torch.bincount(drawn, minlength=3) / DRAWS
    assert (found - expected).abs().max() < SIMULATED
    assert len(set(rows_to_tell_apart(predicted, 3, generator=generator))) == 3


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an `auto` run whose target is the source, turned: twelve of its labels are given."""
    generator = torch.Generator().manual_seed(4)
    y_s, y_t = (torch.randint(3, (90,), generator=generator) for _ in range(2))
    x_s, x_t = (4 * torch.eye(3, 5)[y] + torch.randn(90, 5, generator=generator) for y in (y_s, y_t))
    few = [int(label) if row < 12 else None for row, label in enumerate(y_t)]
    folder = tmp_path_factory.mktemp("few") / "run"
    options = {"method": "auto", "steps": 15, "batch_size": 16, "bottleneck": 8}
    train((x_s, y_s), (x_t + 2 * torch.eye(5)[0], y_t), out=folder, target_labels=few, **options)
    return folder


def test_auto_is_judged_by_labels_that_its_candidates_have_not_seen(judged: Path) -> None:
    summary = read_summary(judged)
    found = summary.few_labels
    assert found is not None
    assert found.labels == summary.target_labels == 12
    assert sum(found.posterior.values()) == pytest.approx(1)
    assert {*found.posterior} == {*summary.candidates}
    assert found.posterior[summary.chosen] == max(found.posterior.values())
    assert "by target labels" in summary.verdict
    candidates = [*(judged / "candidates").glob("*/summary.json")]
    assert len(candidates) == len(summary.candidates) - 1
    assert {read_summary(path.parent).target_labels for path in candidates} == {0}
    assert summary.evaluation is not None
    assert summary.evaluation.rows == 78  # what was labelled is not counted


def test_the_report_shows_what_the_labels_said(judged: Path) -> None:
    page = (judged / "report.html").read_text("utf-8")
    assert "By 12 target labels that were given" in page
    assert "by labels" in page


def test_a_judged_run_is_asked_for_more_labels(judged: Path) -> None:
    budget = 1
    (found,) = suggest_for_choosing(judged, budget)
    assert found.item.startswith("row ")


def test_the_estimator_takes_labels_to_choose_by() -> None:
    generator = np.random.default_rng(0)
    y, y_t = generator.integers(2, size=(2, 60))
    x, x_t = (2 * np.eye(2, 4)[each] + generator.normal(size=(60, 4)) for each in (y, y_t))
    few = np.where(np.arange(60) < 8, y_t, np.nan)
    found = AdaptedClassifier("auto", steps=4, batch_size=16, bottleneck=4).fit(x, y, x_t + 3, target_labels=few)
    assert "by target labels: by 8 labelled target examples" in found.choice_.reason


def test_the_benchmark_reads_cases_and_finds_a_model_that_is_always_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import few_labels

    generator = torch.Generator().manual_seed(5)
    for number in range(2):
        y = torch.randint(3, (60,), generator=generator)
        chance = {name: torch.randint(3, (60,), generator=generator) for name in few_labels.AUTO}
        found = {name: {"target": one_hot(own, sure=0.8)} for name, own in {**chance, "mcc": y}.items()}
        x = torch.randn(60, 4, generator=generator)
        case = {"family": str(number), "source": x, "source_labels": y, "target": x + 1, "target_labels": y}
        torch.save({**case, "probabilities": found}, tmp_path / f"{number}.pt")
    cases = [few_labels.read_case(tmp_path / f"{number}.pt") for number in range(2)]
    constants = few_labels.choose_constants(cases)
    assert {*constants} == {"0", "1"}
    regrets = few_labels.regrets(cases[0], 20, constants["0"])
    assert len(regrets) == 1 + len(few_labels.JUDGES)
    assert regrets[2:] == pytest.approx([0.0] * (len(regrets) - 2))  # 20 labels find it however they are drawn
