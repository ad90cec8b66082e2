"""Unknown classes: the votes against a plain reference, laws, the threshold, the model's file, and what is told."""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command

from jointadapt import AdaptedClassifier, Model, from_arrays, train
from jointadapt.errors import UserError
from jointadapt.evaluation.open_set import evaluate_open_set, harmonic_mean
from jointadapt.selection.unknown_classes import (
    PASSED_ON,
    ROUNDS,
    Graph,
    best_threshold,
    doubt,
    fit_unknown_classes,
    otsu,
)

FLOAT32 = 1e-5
HALF = 2e-2  # of a score: examples are kept in float16, and neighbours may change places
QUICK = {"steps": 5, "batch_size": 8, "report": False}
CORNERS = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4], [-4, -4, -4]])


def clouds(classes: list[int], each: int = 30, seed: int = 0, move: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows around the corners of these classes, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(classes).repeat_interleave(each)
    return CORNERS[labels] + move + 0.7 * torch.randn(len(labels), 3, generator=generator), labels


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with s.npz of the classes a, b, c and t.npz of a, b, c, d, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name, classes, seed in (("s", [0, 1, 2], 0), ("t", [0, 1, 2, 3], 1)):
        x, y = clouds(classes, seed=seed)
        np.savez(tmp_path / f"{name}.npz", x=x.numpy(), y=np.array(list("abcd"))[y.numpy()])
    return tmp_path


# Votes


def test_votes_spread_as_the_plain_sums_say() -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    votes = torch.zeros(30, 3, dtype=torch.float64)
    votes[range(9), [0, 1, 2] * 3] = 1
    k, n = 5, len(x)
    w = np.zeros((n, n))
    for i in range(n):
        distances = [(float((x[i] - x[j]).norm()), j) for j in range(n) if j != i]
        near = sorted(distances)[:k]
        for distance, j in near:
            w[i, j] = np.exp(-((distance / near[-1][0]) ** 2))
    w = (w + w.T) / 2
    s = w / np.sqrt(np.outer(w.sum(1), w.sum(1)))
    expected = votes.numpy()
    for _ in range(ROUNDS):
        expected = PASSED_ON * s @ expected + (1 - PASSED_ON) * votes.numpy()
    found = Graph.of(x, k, at_once=7).spread(votes)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_class_that_nobody_voted_for_scores_higher() -> None:
    source, labels = clouds([0, 1, 2])
    target, truth = clouds([0, 1, 2, 3], seed=1, move=1.0)
    found = fit_unknown_classes(source, labels, target, 3)
    scores = found.scores(target)
    assert ((scores >= 0) & (scores <= 1 + FLOAT32)).all()
    assert scores[truth == 3].median() > scores[truth < 3].quantile(0.9)
    assert ((scores > found.threshold) == (truth == 3)).double().mean() > 0.9


@pytest.mark.parametrize("pixels", [False, True])
def test_scores_do_not_depend_on_the_unit_or_the_origin_or_the_order(pixels: bool) -> None:
    source, labels = clouds([0, 1, 2])
    target, _ = clouds([0, 1, 2, 3], seed=1)
    scores = fit_unknown_classes(source, labels, target, 3, pixels).scores(target)
    moved = fit_unknown_classes(4 * source + 8, labels, 4 * target + 8, 3, pixels).scores(4 * target + 8)
    torch.testing.assert_close(moved, scores, rtol=0, atol=HALF)
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    turned = fit_unknown_classes(source, labels, target[order], 3, pixels).scores(target[order])
    torch.testing.assert_close(turned, scores[order], rtol=0, atol=HALF)


def test_a_source_score_is_found_without_its_own_label() -> None:
    source, labels = clouds([0, 1, 2])
    target, _ = clouds([0, 1, 2], seed=1)
    found = fit_unknown_classes(source, labels, target, 3)
    labels[0] = 2  # were its own label looked at, the score of this example would fall
    assert fit_unknown_classes(source, labels, target, 3).source_scores[0] >= found.source_scores[0] - HALF
    assert len(found.source_scores) == len(source)


def test_doubt_is_none_for_one_class_and_whole_for_all() -> None:
    votes = torch.tensor([[1.0, 0, 0], [0.2, 0.2, 0.2], [0, 0, 0]])
    torch.testing.assert_close(doubt(votes), torch.tensor([0.0, 1, 1]), rtol=0, atol=FLOAT32)
    torch.testing.assert_close(doubt(votes, 0.2), torch.tensor([1 / 6, 0.5, 1]), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize(("source_rows", "target_rows"), [(1, 30), (30, 1), (1, 1)])
def test_very_few_rows_are_scored(source_rows: int, target_rows: int, pixels: bool) -> None:
    source, labels = clouds([0, 1], each=source_rows)
    target, _ = clouds([0], each=target_rows, seed=1)
    found = fit_unknown_classes(source, labels, target, 2, pixels)
    assert found.scores(target).isfinite().all()
    assert np.isfinite(found.threshold)


@pytest.mark.parametrize("pixels", [False, True])
def test_rows_that_are_all_alike_are_scored(pixels: bool) -> None:
    found = fit_unknown_classes(torch.ones(8, 3), torch.tensor([0, 1] * 4), torch.ones(5, 3), 2, pixels)
    assert found.scores(torch.ones(5, 3)).isfinite().all()


def test_the_threshold_has_the_highest_harmonic_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    known, unknown = torch.rand(40, generator=generator), 0.3 + torch.rand(25, generator=generator)

    def h(threshold: float) -> float:
        return harmonic_mean((known <= threshold).double().mean().item(), (unknown > threshold).double().mean().item())

    found = best_threshold(known, unknown)
    assert h(found) == pytest.approx(max(map(h, torch.cat([known, unknown]).tolist())))
    assert best_threshold(torch.full((5,), 0.3), torch.full((5,), 0.3)) == pytest.approx(0.3)


def test_otsu_parts_two_groups_where_their_means_differ_most() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.cat([torch.rand(30, generator=generator) / 2, 0.4 + torch.rand(12, generator=generator) / 2])

    def between(cut: float) -> float:
        low, high = scores[scores <= cut].double(), scores[scores > cut].double()
        return len(low) * len(high) * (low.mean() - high.mean()).item() ** 2

    cuts = scores.sort().values[:-1].tolist()
    assert between(otsu(scores)) == pytest.approx(max(map(between, cuts)), rel=1e-6)
    assert otsu(torch.full((9,), 0.3)) == pytest.approx(0.3, abs=1e-6)


# Evaluation


def test_the_h_score_is_that_of_a_count_by_hand() -> None:
    predicted = torch.tensor([0, 0, 1, 1, 1, 0, 0, 1])
    labels = torch.tensor([0, 0, 0, 1, 1, -1, -1, -1])
    unknown = torch.tensor([False] * 5 + [True, True, False])
    scores = torch.tensor([0.1, 0.9, 0.2, 0.3, 0.4, 0.8, 0.2, 0.95])
    found = evaluate_open_set(predicted, scores, 0.5, labels, unknown)
    assert found is not None
    assert found.known_accuracy == pytest.approx(100 * (1 / 3 + 1) / 2)  # of class 0 one is unknown, one is wrong
    assert found.unknown_recall == 50
    assert found.h_score == pytest.approx(2 * (200 / 3) * 50 / (200 / 3 + 50))
    assert found.false_unknown == 20
    wins = sum((u > k) + (u == k) / 2 for u in (0.8, 0.2) for k in (0.1, 0.9, 0.2, 0.3, 0.4))
    assert found.auroc == pytest.approx(100 * wins / 10)
    assert (found.known_rows, found.unknown_rows) == (5, 2)


def test_of_one_kind_alone_half_is_measured_and_without_labels_nothing() -> None:
    predicted, scores = torch.tensor([0, 1]), torch.tensor([0.1, 0.2])
    no, yes = torch.tensor([False, False]), torch.tensor([True, True])
    known = evaluate_open_set(predicted, scores, 0.5, torch.tensor([0, 0]), no)
    assert known is not None
    assert (known.auroc, known.known_accuracy, known.unknown_recall, known.h_score) == (None, 50, None, None)
    unknown = evaluate_open_set(predicted, scores, 0.15, torch.tensor([-1, -1]), yes)
    assert unknown is not None
    assert (unknown.known_accuracy, unknown.unknown_recall, unknown.h_score) == (None, 50, None)
    assert evaluate_open_set(predicted, scores, 0.5, torch.tensor([-1, -1]), no) is None
    assert harmonic_mean(0.0, 0.0) == 0


# Runs

told = pytest.mark.filterwarnings("ignore:1 class is of the target not in the source")


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_a_run_says_which_rows_are_unknown_and_its_model_says_the_same(command: Command, pair: Path) -> None:
    flags = ("--method", "mcc", "--steps", 5, "--batch-size", 8, "--unknown", "--out", "run")
    trained = command("train", "--source", "s.npz", "--target", "t.npz", *flags)
    assert trained.code == 0, trained.err
    assert "1 class is of the target not in the source (d): their rows should be called unknown." in trained.err
    assert "AUROC" in trained.out
    rows = _rows((pair / "run/predictions.csv").read_text())
    assert list(rows[0]) == ["item", "class", "probability", "nearest", "unknown_score", "label"]
    threshold = json.loads((pair / "run/summary.json").read_text())["unknown"]["threshold"]
    assert all((row["class"] == "unknown") == (float(row["unknown_score"]) > threshold) for row in rows)
    assert {row["label"] for row in rows} == {"a", "b", "c", "unknown"}
    assert {row["nearest"] for row in rows} <= {"a", "b", "c"}
    predicted = command("predict", "run", "t.npz")
    assert [{**row, "label": ""} for row in _rows(predicted.out)] != []
    for ours, theirs in zip(rows, _rows(predicted.out), strict=True):
        assert (ours["class"], ours["nearest"]) == (theirs["class"], theirs["nearest"])
        assert float(ours["unknown_score"]) == pytest.approx(float(theirs["unknown_score"]), abs=1e-5)
    as_json = json.loads(command("predict", "run", "t.npz", "--json").out)["predictions"]
    assert [row["class"] for row in as_json] == [row["class"] for row in rows]
    summary = json.loads((pair / "run/summary.json").read_text())["unknown"]
    evaluated = json.loads(command("evaluate", "run", "t.npz", "--json").out)["unknown"]
    assert evaluated == pytest.approx(summary["evaluation"], abs=1e-4)
    assert summary["rows"] == sum(row["class"] == "unknown" for row in rows)
    assert sum(map(sum, summary["histograms"].values())) == 90 + 120
    assert "unknown" not in json.loads((pair / "run/source-only/summary.json").read_text())
    report = (pair / "run/report.html").read_text()
    assert "What is of no known class" in report
    assert "evaluation only" in report
    again = command("train", "--resume", "run", "--unknown")
    assert again.code == 0, again.err


@told
def test_a_model_s_file_holds_what_tells_unknown_classes(pair: Path) -> None:
    run = train("s.npz", "t.npz", pair / "run", method="source-only", unknown=True, **QUICK)
    target = from_arrays(*clouds([0, 1, 2, 3], seed=5))
    loaded = Model.load(pair / "run")
    assert torch.equal(loaded.unknown_scores(target), run.model.unknown_scores(target))
    assert loaded.predict(target) == run.model.predict(target)
    assert "unknown" in loaded.predict(target)
    plain = train("s.npz", "t.npz", method="source-only", **QUICK).model
    assert "unknown" not in plain.predict(target)
    assert torch.equal(plain.predict_proba(target), run.model.predict_proba(target))  # the classifier is the same
    with pytest.raises(UserError, match="train it with --unknown"):
        plain.unknown_scores(target)


@told
@pytest.mark.usefixtures("pair")
def test_labels_of_the_target_change_no_score() -> None:
    with np.load("t.npz") as file:
        np.savez("unlabelled.npz", x=file["x"])
    runs = [train("s.npz", name, method="mcc", unknown=True, **QUICK) for name in ("t.npz", "unlabelled.npz")]
    scores = [run.model.unknown_scores(from_arrays(clouds([0, 3])[0])) for run in runs]
    assert torch.equal(*scores)
    assert runs[1].summary.unknown is not None
    assert runs[1].summary.unknown.evaluation is None


@pytest.mark.usefixtures("pair")
def test_a_target_without_unknown_classes_is_mostly_left_alone() -> None:
    x, y = clouds([0, 1, 2], seed=3)
    np.savez("known.npz", x=x, y=np.array(list("abc"))[y])
    found = train("s.npz", "known.npz", method="source-only", unknown=True, **QUICK).summary.unknown
    assert found is not None
    assert found.share <= 40
    assert found.evaluation is not None
    assert found.evaluation.unknown_recall is None


@pytest.mark.usefixtures("pair")
def test_a_source_with_a_class_called_unknown_is_refused() -> None:
    x, y = clouds([0, 1])
    with pytest.raises(UserError, match="a class called 'unknown'"):
        train((x, np.array(["cat", "unknown"])[y]), x, unknown=True, **QUICK)


@told
@pytest.mark.slow
def test_auto_and_a_table_tell_unknown_classes(command: Command, pair: Path) -> None:
    run = train("s.npz", "t.npz", pair / "auto", method="auto", unknown=True, **QUICK)
    assert run.summary.unknown is not None
    assert "unknown_score" in (pair / "auto/predictions.csv").read_text().splitlines()[0]
    assert torch.equal(
        Model.load(pair / "auto").unknown_scores(from_arrays(clouds([3])[0])),
        run.model.unknown_scores(from_arrays(clouds([3])[0])),
    )
    (pair / "two.toml").write_text("[domains.s]\npath = 's.npz'\n[domains.t]\npath = 't.npz'\n")
    table = ("compare", "--benchmark", "two.toml", "--root", ".", "--methods", "source-only,mcc", "--seeds", 1)
    outcome = command(*table, "--tasks", "s2t", "--steps", 5, "--batch-size", 8, "--unknown", "--jobs", 1, "--out", "o")
    assert outcome.code == 0, outcome.err


# The estimator


@pytest.mark.parametrize(
    ("names", "label"), [(np.array(["a", "b", "c"]), "unknown"), (np.array([4, 5, 6]), -1), (np.array([0.0, 1, 2]), -1)]
)
def test_the_estimator_has_a_label_for_unknown_rows(names: np.ndarray, label: object) -> None:
    x, y = clouds([0, 1, 2])
    x_t, _ = clouds([0, 1, 2, 3], seed=1)
    classifier = AdaptedClassifier("mcc", unknown=True, steps=30, bottleneck=16).fit(x.numpy(), names[y], x_t.numpy())
    predicted = classifier.predict(x_t.numpy())
    assert set(predicted.tolist()) == {*names.tolist(), label}
    assert predicted.dtype.kind == names.dtype.kind
    called = classifier.unknown_score(x_t.numpy()) > classifier.unknown_threshold_
    assert ((predicted == label) == called).all()
    assert classifier.predict_proba(x_t.numpy()).shape == (len(x_t), 3)


def test_a_label_for_unknown_rows_is_none_of_the_classes() -> None:
    x, y = clouds([0, 1])
    with pytest.raises(UserError, match="-1 is a class of y already"):
        AdaptedClassifier(unknown=True, **_short).fit(x.numpy(), np.array([-1, 1])[y])
    with pytest.raises(UserError, match="truth values"):
        AdaptedClassifier(unknown=True, **_short).fit(x.numpy(), y.numpy() > 0)
    with pytest.raises(UserError, match="no label beside the classes"):
        AdaptedClassifier(unknown=True, unknown_label="none", **_short).fit(x.numpy(), y.numpy())
    other = AdaptedClassifier(unknown=True, unknown_label=99, **_short).fit(x.numpy(), np.array([-1, 1])[y])
    assert other.unknown_label_ == 99
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(other.predict(x.numpy()).tolist()) <= {-1, 1, 99}


_short = {"steps": 2, "bottleneck": 8}
