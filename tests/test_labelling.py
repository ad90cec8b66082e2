"""Few labelled target rows: which to label, and that their labels are trained on and counted nowhere."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, draw_folder, write_arrays

from jointadapt.config import make_config
from jointadapt.data import UNLABELLED, from_arrays, read_domain
from jointadapt.data.target_labels import join_labelled, label_rows, read_labels
from jointadapt.diagnostics.label_suggestion import suggest_for_choosing, suggest_labels, worth_labelling
from jointadapt.errors import UserError
from jointadapt.experiment import train
from jointadapt.runs.folder import RunFolder
from jointadapt.runs.summary import FewLabels

ARRAYS = (
    "--backbone",
    "none",
    "--steps",
    20,
    "--no-report",
    "--batch-size",
    8,
    "--source",
    "s.npz",
    "--target",
    "t.npz",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with two domains of arrays."""
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2, shift=0.5)
    return tmp_path


def _write(path: Path, rows: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("item", "label"), *rows.items()])
    return path


def test_labels_are_read_from_what_suggest_writes(here: Path, command: Command) -> None:
    command("train", *ARRAYS, "--out", "run")
    outcome = command("suggest-labels", "run", "--budget", 3, "--out", "ask.csv")
    assert outcome.code == 0
    with (here / "ask.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["item"] for row in rows}) == 3
    assert all(row["label"] == "" and row["class"] in ("cat", "dog") for row in rows)
    with pytest.raises(UserError, match="no row with a label"):
        read_labels(here / "ask.csv")
    _write(here / "answer.csv", {row["item"]: "cat" for row in rows[:2]} | {rows[2]["item"]: ""})
    assert command("train", *ARRAYS, "--out", "again", "--target-labels", "answer.csv").code == 0
    summary = json.loads((here / "again" / "summary.json").read_text())
    assert summary["evaluation"]["rows"] == 38
    assert summary["target_labels"] == 2
    answered = {row["item"] for row in rows[:2]}
    assert not answered & {row.item for row in suggest_labels("again", 38)}


def test_suggestions_as_json_and_from_another_target(here: Path, command: Command) -> None:
    command("train", *ARRAYS, "--out", "run", "--no-baseline")
    write_arrays(here / "u.npz", rows=5, seed=3)
    printed = command("suggest-labels", "run", "--budget", 5, "--target", "u.npz", "--json").out
    found = json.loads(printed)["suggestions"]
    assert {row["item"] for row in found} == {f"row {index}" for index in range(5)}


def test_suggestions_for_images(here: Path, command: Command) -> None:
    draw_folder(here / "cams", 4)
    draw_folder(here / "webs", 4, seed=7)
    options = ("--backbone", "squeezenet1_1", "--weights", "none", "--steps", 2, "--no-report", "--batch-size", 4)
    command("train", *options, "--source", "cams", "--target", "webs", "--out", "run", "--workers", 0)
    assert len({row.item for row in suggest_labels("run", 6)}) == 6


def test_labels_that_cannot_be_used_are_named(here: Path, refused: Callable[..., str]) -> None:
    _write(here / "unknown.csv", {"row 1": "cat", "row 99": "cat"})
    _write(here / "class.csv", {"row 1": "cow"})
    (here / "columns.csv").write_text("a,b\n1,2\n")
    messages = [
        refused("train", *ARRAYS, "--out", "run", "--target-labels", f"{name}.csv")
        for name in ("unknown", "class", "columns", "missing")
    ]
    for message, part in zip(
        messages, ("row 99", "did you mean|known are", "item and label", "cannot be"), strict=True
    ):
        assert any(text in message for text in part.split("|")), message


def test_an_item_that_is_labelled_twice_is_named(here: Path, refused: Callable[..., str]) -> None:
    (here / "l.csv").write_text("item,label\nrow 0,cat\nrow 1,dog\nrow 0,dog\n")
    told = "l.csv labels 'row 0' twice, 'cat' and 'dog'; leave one of them."
    assert told in refused("train", *ARRAYS, "--target-labels", "l.csv")
    (here / "l.csv").write_text("item,label\nrow 0,cat\nrow 0,cat\nrow 0,\n")
    assert read_labels("l.csv") == {"row 0": "cat"}


def test_suggestions_for_a_run_on_a_benchmark(here: Path, command: Command) -> None:
    (here / "b.toml").write_text('name = "Mine"\n[domains.here]\npath = "s.npz"\n[domains.there]\npath = "t.npz"\n')
    benchmark = ("--benchmark", "b.toml", "--root", ".", "--task", "here → there")
    assert command("train", *ARRAYS[:-4], *benchmark, "--no-baseline", "--out", "run").code == 0
    done = command("suggest-labels", "run", "--budget", 3)
    assert done.code == 0, done.err
    assert [row.split(",")[0].startswith("row ") for row in done.out.splitlines()[1:]] == [True] * 3


def test_predictions_of_several_files_say_whose_row_it_is(command: Command) -> None:
    assert command("train", *ARRAYS, "--no-baseline", "--out", "run").code == 0
    rows = command("predict", "run", "t.npz", "s.npz").out.splitlines()[1:]
    assert [rows[at].split(",")[0] for at in (0, 40)] == ["t.npz: row 0", "s.npz: row 0"]
    (alone,) = {row.split(",")[0] for row in command("predict", "run", "t.npz").out.splitlines()[1:2]}
    assert alone == "row 0"
    found = json.loads(command("predict", "run", "t.npz", "s.npz", "--json").out)["predictions"]
    assert len({row["item"] for row in found}) == 80


def test_a_budget_beyond_the_rows_is_a_mistake(command: Command, refused: Callable[..., str]) -> None:
    command("train", *ARRAYS, "--out", "run", "--no-baseline")
    assert "--budget 41: t has 40 examples" in refused("suggest-labels", "run", "--budget", 41)


def test_labelled_target_rows_are_a_quarter_of_the_labelled_side() -> None:
    source = from_arrays(np.zeros((90, 2)), ["a", "b"] * 45)
    target = from_arrays(np.ones((50, 2)), None).in_classes(("a", "b"))[0]
    given = label_rows(target, {"row 3": "b", "row 7": "a"})
    assert given.tolist().count(UNLABELLED) == 48
    joined = join_labelled(source, target, given)
    assert len(joined) == 120
    assert joined.labels[90:].tolist() == [1, 0] * 15
    assert joined.rows(range(90, 120)).eq(1).all()


def test_labels_of_target_rows_undo_swapped_classes() -> None:
    """Where the classes have changed places, no unlabelled row can say so; a few labelled ones can."""
    generator = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = generator.normal(size=(200, 2)) + 4 * y[:, None] * [1, 0]
    far = x + np.array([0, 6])
    options = {"method": "source-only", "steps": 150, "report": False, "baseline": False, "dropout": 0.0}
    labels = Path("few.csv")
    _write(labels, {f"row {row}": str(1 - y[row]) for row in range(20)})
    without = train((x, y), (far, 1 - y), **options).summary.evaluation
    with_few = train((x, y), (far, 1 - y), target_labels=str(labels), **options).summary.evaluation
    assert without is not None
    assert with_few is not None
    assert without.accuracy < 10
    assert with_few.accuracy > 90
    assert with_few.rows == 180


def test_rows_worth_a_label_are_uncertain_and_apart() -> None:
    centres = torch.tensor([[0.0, 0], [20, 0], [0, 20]]).repeat_interleave(30, 0)
    x = centres + torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    p = torch.full((90, 2), 0.5)
    p[60:] = torch.tensor([1.0, 0.0])
    assert sorted(row // 30 for row in worth_labelling(x, p, 2)) == [0, 1]
    assert len(set(worth_labelling(x, p, 40))) == 40


def test_rows_worth_a_label_are_distinct_even_where_rows_are_equal() -> None:
    with pytest.warns(UserWarning, match="distinct clusters"):
        assert len(set(worth_labelling(torch.zeros(6, 2), torch.full((6, 2), 0.5), 4))) == 4


def _compared(folder: Path, posterior: dict[str, float] | None = None, labels: str = "") -> None:
    """Write what an `auto` run of three models leaves, as far as questions need it."""
    rows = {"source-only": "ccdd", "candidates/mcc": "cddd", "candidates/shot": "cdcd"}
    for place in ("", *rows):
        path = folder / place / "predictions.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        classes = {"c": "cat", "d": "dog"}
        told = "".join(f"row {n},{classes[c]},0.7,\n" for n, c in enumerate(rows.get(place, "cddd")))
        path.write_text("item,class,probability,label\n" + told)
    run = train(*[read_domain(f"{name}.npz") for name in "st"], steps=2, backbone="none", report=False)
    few = None
    if posterior:
        few = FewLabels(labels=1, posterior=posterior, rival="mcc", disputed=0.25, further=None)
    config = make_config({"source": "s.npz", "target": "t.npz", "method": "auto", "target_labels": labels})
    RunFolder(folder).write_config(config)
    RunFolder(folder).write_summary(replace(run.summary, chosen="mcc", few_labels=few))


def test_for_choosing_asks_where_the_models_disagree(here: Path, command: Command) -> None:
    _compared(here / "run")
    assert {row.item for row in suggest_for_choosing("run", 2)} == {"row 1", "row 2"}
    outcome = command("suggest-labels", "run", "--for", "choosing", "--budget", 1, "--json")
    (row,) = json.loads(outcome.out)["suggestions"]
    assert row["item"] in ("row 1", "row 2")
    assert row["probability"] == 0.7


def test_for_choosing_asks_by_the_posterior_and_nothing_twice(here: Path) -> None:
    _write(here / "one.csv", {"row 3": "dog"})
    _compared(here / "run", {"source-only": 0.0, "mcc": 0.5, "shot": 0.5}, "one.csv")
    assert [row.item for row in suggest_for_choosing("run", 1)] == ["row 2"]  # where mcc and shot disagree
    _write(here / "one.csv", {"row 2": "dog"})
    assert [row.item for row in suggest_for_choosing("run", 1)] == ["row 1"]


def test_for_choosing_is_refused_where_there_is_no_choice(here: Path, refused: Callable[..., str]) -> None:
    _compared(here / "run")
    asked = ("suggest-labels", "run", "--for", "choosing")
    assert "disagree on 2 examples that have no label; give 1 to that many" in refused(*asked)
    assert "leave --target out" in refused(*asked, "--target", "t.npz")
    (here / "run" / "candidates").rename(here / "elsewhere")
    assert "no run of --method auto that compared several models" in refused(*asked, "--budget", 1)
