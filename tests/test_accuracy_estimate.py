"""The expected target accuracy: of probabilities, of tables, of runs; what it says, and what it cannot tell."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import Command, write_arrays
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from jointadapt import train
from jointadapt.diagnostics.accuracy import Parts, Rows, combine, estimate_accuracy, measure
from jointadapt.diagnostics.accuracy.combination import ALONE, WITH_OTHERS
from jointadapt.diagnostics.accuracy.probability_tables import estimate_from_tables, read_probabilities
from jointadapt.errors import UserError
from jointadapt.experiment import estimate
from jointadapt.experiment.estimate import WITNESSES
from jointadapt.runs.reading import read_summary

FAST = {"backbone": "none", "bottleneck": 4, "steps": 10, "batch_size": 8, "report": False}
CALIBRATED = 0.1  # of the truth, of a model that is as good on the target as it says
CLASSES = ("cat", "dog", "owl")


def drawn(rows: int, seed: int, sharp: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return probabilities, and labels drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    p = (sharp * torch.randn(rows, 3, generator=generator)).softmax(1)
    return p, torch.multinomial(p, 1, generator=generator)[:, 0]


# Of probabilities


@pytest.mark.parametrize("sharp", [1.0, 3.0, 8.0])
def test_where_nothing_has_moved_the_estimate_is_near_the_accuracy(sharp: float) -> None:
    (p, y), (q, v) = drawn(400, 0, sharp), drawn(400, 1, sharp)
    found = estimate_accuracy(p, y, q)
    truth = 100 * (q.argmax(1) == v).double().mean().item()
    assert found.value is not None
    assert abs(found.value - truth) < 100 * CALIBRATED
    assert found.low < found.value <= found.high <= 100
    assert f"{found.value:.0f} %" in found.words
    assert "look alike have one label in both domains" in found.words


def test_others_that_disagree_lower_the_estimate_of_a_model_that_is_certain() -> None:
    p, y = drawn(200, 0, 20.0)
    q, _ = drawn(200, 1, 20.0)
    same, mixed = q.argmax(1), torch.where(torch.arange(200) % 2 == 0, q.argmax(1), (q.argmax(1) + 1) % 3)
    alone, agreed, disputed = (estimate_accuracy(p, y, q, others) for others in ((), [same], [same, mixed]))
    assert disputed.assumed < agreed.assumed - 15
    assert disputed.assumed < alone.assumed - 15
    assert disputed.parts["agreement"] == pytest.approx(75)
    assert "agreement" not in alone.parts


@pytest.mark.parametrize("agreement", [None, 0.1, 0.5, 0.9, 1.0])
def test_the_value_rises_with_each_part_and_stays_within_its_interval(agreement: float | None) -> None:
    fitted = ALONE if agreement is None else WITH_OTHERS
    grid = [0.0, 0.2, 0.6, 1.0]
    values = [fitted.value(Parts(right, 0.5, 0.5, 0.5, cot, agreement)) for right in grid for cot in (right,)]
    assert values == sorted(values)
    assert all(0 <= fitted.interval(v)[0] <= v <= fitted.interval(v)[1] <= 1 for v in values)


def test_classes_that_were_turned_cannot_be_told_by_models_that_all_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    corners, y = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 4.0]]), torch.arange(90) % 3
    x = corners[y] + 0.1 * torch.randn(90, 2, generator=generator)
    p = torch.eye(3)[y] * 0.97 + 0.01
    turned = torch.eye(3)[(y + 1) % 3] * 0.97 + 0.01
    told = estimate_accuracy(p, y, p, [y], Rows(x, y, x))
    assert told.told
    found = estimate_accuracy(p, y, turned, [(y + 1) % 3], Rows(x, y, x))
    assert (found.told, found.value, found.low, found.high) == (False, None, None, None)
    assert found.words.startswith("The target accuracy cannot be told: the models agree")
    some = torch.arange(0, 90, 2)
    assert estimate_accuracy(p, y, p, [y], Rows(x, y, x[some], some)).parts["geometry"] == pytest.approx(
        100 * measure(p[some], y[some], p[some], [y[some]], Rows(x, y, x[some])).geometry
    )


def test_too_few_examples_cannot_be_told() -> None:
    p, y = drawn(9, 0)
    found = estimate_accuracy(p, y, p)
    assert not found.told
    assert "9 held-out source examples and 9 target examples are too few" in found.words


def test_tensors_that_do_not_fit_are_refused() -> None:
    unchecked = getattr(estimate_accuracy, "__wrapped__", estimate_accuracy)  # the tests' own check of shapes is first
    p, y = drawn(20, 0)
    with pytest.raises(UserError, match=r"do not fit: \(20, 3\), \(20,\), \(20, 3\), \(19,\)"):
        unchecked(p, y, p, [y[1:]])
    with pytest.raises(UserError, match="each with a label"):
        estimate_accuracy(p, y - 1, p)


# Of tables


def write_table(path: Path, p: torch.Tensor, y: torch.Tensor | None, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write probabilities, a column a class, and the labels' names."""
    columns = {name: p[:, place].double().numpy() for place, name in enumerate(classes)}
    if y is not None:
        columns["label"] = [classes[label] for label in y.tolist()]
    table = pa.table(columns)
    if path.suffix == ".npz":
        np.savez(
            path,
            probabilities=p.numpy(),
            classes=np.array(classes),
            **({} if y is None else {"label": columns["label"]}),
        )
    else:
        (arrow_csv.write_csv if path.suffix == ".csv" else parquet.write_table)(table, path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_tables_are_read_and_their_columns_matched_by_name(command: Command, tmp_path: Path, suffix: str) -> None:
    (p, y), (q, v) = drawn(60, 0), drawn(50, 1)
    held = write_table(tmp_path / f"held.{suffix}", p, y)
    order = [2, 0, 1]
    back = torch.tensor([order.index(c) for c in range(3)])
    target = write_table(tmp_path / f"target.{suffix}", q[:, order], back[v], tuple(CLASSES[c] for c in order))
    found, accuracy = estimate_from_tables(held, target, [target])
    expected = estimate_accuracy(p.double(), y, q.double(), [q.argmax(1)])
    assert found.value == pytest.approx(expected.value, abs=0.1)
    assert accuracy == pytest.approx(100 * (q.argmax(1) == v).double().mean().item())
    tables = ("--source-probabilities", held, "--target-probabilities", target)
    printed = json.loads(command("estimate", *tables, "--other", target, "--json").out)
    assert printed["value"] == found.value
    assert printed["accuracy"] == accuracy
    lines = command("estimate", *tables).out.splitlines()
    assert lines[0].startswith("Expected target accuracy: ")
    assert lines[1] == f"Measured with the target's labels, for evaluation only: {accuracy:.1f} %."


def test_what_is_no_table_of_probabilities_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    p, y = drawn(20, 0)
    held, target = write_table(tmp_path / "held.csv", p, y), write_table(tmp_path / "t.csv", p, None)
    logits = write_table(tmp_path / "logits.csv", p.log(), y)
    others = write_table(tmp_path / "others.csv", p, None, ("cat", "dog", "cow"))
    few = write_table(tmp_path / "few.csv", p[:5], None)
    (tmp_path / "broken.npz").write_bytes(b"no")
    (tmp_path / "words.csv").write_text("cat,dog,note\n0.5,0.5,so\n0.5,0.5,so\n")
    cases = {
        ("--source-probabilities", held): "--target-probabilities is missing",
        ("--target-probabilities", held): "--source-probabilities is missing",
        (): "give a RUN, or --source-probabilities and --target-probabilities",
        ("run", "--source-probabilities", held): "give a RUN, or",
        ("--source-probabilities", target, "--target-probabilities", target): "has no labels",
        ("--source-probabilities", logits, "--target-probabilities", target): "of logits give the softmax",
        ("--source-probabilities", held, "--target-probabilities", others): "a column for each class",
        ("--source-probabilities", held, "--target-probabilities", target, "--other", few): "has 5 rows, and",
        ("--source-probabilities", held, "--target-probabilities", tmp_path / "no.csv"): "is no file",
        ("--source-probabilities", held, "--target-probabilities", tmp_path / "broken.npz"): "cannot be read",
        ("--source-probabilities", held, "--target-probabilities", tmp_path / "words.csv"): "'note' holds no numbers",
    }
    for arguments, message in cases.items():
        assert message in refused("estimate", *arguments)


def test_a_table_s_labels_have_to_be_classes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("cat,dog,label\n0.5,0.5,cow\n0.5,0.5,dog\n")
    with pytest.raises(UserError, match="unknown class"):
        read_probabilities(tmp_path / "a.csv")


# Of runs


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with two domains of arrays."""
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", rows=80, seed=1)
    write_arrays(tmp_path / "t.npz", seed=2, shift=0.3)
    return tmp_path


def test_a_run_is_estimated_once_and_its_summary_and_report_say_it(files: Path, command: Command) -> None:
    options = ("--backbone", "none", "--bottleneck", 4, "--steps", 10, "--batch-size", 8, "--method", "mcc")
    assert command("train", "--source", "s.npz", "--target", "t.npz", *options, "--out", "run").code == 0
    before = read_summary(files / "run")
    outcome = command("estimate", "run")
    assert outcome.code == 0
    found = read_summary(files / "run")
    assert found.accuracy_estimate is not None
    assert before.accuracy_estimate is None
    assert outcome.out.splitlines() == [
        found.accuracy_estimate.words,
        f"Measured with the target's labels, for evaluation only: {found.accuracy:.1f} %.",
    ]
    assert found.accuracy_estimate.words in (files / "run" / "report.html").read_text("utf-8")
    trained = {path.parent.name for path in (files / "run" / "estimate").rglob("summary.json")}
    assert trained == {"twin", *WITNESSES} - {"mcc"}
    twin = read_summary(files / "run" / "estimate" / "twin")
    assert (twin.method, twin.seed) == ("mcc", before.seed + 1)
    assert twin.source.rows == pytest.approx(0.8 * before.source.rows, abs=1)
    again = json.loads(command("estimate", "run", "--json").out)
    assert again["value"] == found.accuracy_estimate.value
    assert read_summary(files / "run") == found


def test_an_estimate_is_part_of_a_run_that_asks_for_it_and_is_gone_on_with(files: Path) -> None:
    whole = train("s.npz", "t.npz", out="whole", method="shot", estimate=True, **FAST).summary
    assert whole.accuracy_estimate is not None
    assert {path.name for path in (files / "whole" / "estimate").iterdir()} == {"twin", *WITNESSES}
    (files / "whole" / "estimate" / "mcc" / "summary.json").unlink()
    text = json.loads((files / "whole" / "summary.json").read_text())
    del text["accuracy_estimate"]
    (files / "whole" / "summary.json").write_text(json.dumps(text))
    assert estimate("whole").accuracy_estimate == whole.accuracy_estimate


def test_a_run_on_arrays_in_memory_needs_its_data_again(files: Path, refused: Callable[..., str]) -> None:
    arrays = {name: dict(np.load(files / f"{name}.npz")) for name in "st"}
    train((arrays["s"]["x"], arrays["s"]["y"]), arrays["t"]["x"], out="run", method="source-only", **FAST)
    assert "trained on arrays in memory; save them, and name them with --source and --target" in refused(
        "estimate", "run"
    )
    assert "nowhere itself holds no finished run" in refused("estimate", "nowhere")
    found = estimate("run", source="s.npz", target="t.npz")
    assert found.accuracy_estimate is not None


def test_combine_tells_percent_of_parts() -> None:
    found = combine(Parts(0.9, 0.8, 0.8, 0.8, 0.7, 0.8, 0.9), 100, 100)
    assert found.parts["source_accuracy"] == 90
    assert found.value == pytest.approx(100 * WITH_OTHERS.value(Parts(0.9, 0, 0, 0, 0.7, 0.8)), abs=0.1)
