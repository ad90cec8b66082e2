"""A run folder: its summary is one typed record, each of its files has one reader, and target labels stay out of it
until all is chosen.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import Command, write_arrays

import jointadapt.experiment as experiment
from jointadapt import train
from jointadapt.data import UNLABELLED, from_arrays
from jointadapt.errors import UserError
from jointadapt.experiment.prepare import Prepared
from jointadapt.reporting.run_report import write_report
from jointadapt.runs.folder import RunFolder
from jointadapt.runs.reading import read_metrics, read_predicted, read_run, read_summary
from jointadapt.runs.summary import FORMAT, Summary

FORMAT_1 = json.loads((Path(__file__).parent / "summaries_of_format_1.json").read_text("utf-8"))
FAST: dict[str, Any] = {"backbone": "none", "bottleneck": 4, "steps": 6, "batch_size": 8, "report": False}


def arrays() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(24, 3)).astype(np.float32)
    y = np.where(x[:, 0] > 0, "cat", "dog")
    return (x, y), (x + 0.5, y)


# The summary


@pytest.mark.parametrize("options", [{}, {"method": "auto"}, {"trade_off": "search", "select": "information"}])
def test_a_summary_is_read_as_it_was_written(tmp_path: Path, options: dict[str, Any]) -> None:
    run = train(*arrays(), out=tmp_path / "run", **FAST, **options)
    assert read_summary(tmp_path / "run") == run.summary
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["format"] == FORMAT


@pytest.mark.parametrize("name", FORMAT_1)
def test_a_summary_of_the_format_before_is_read_and_keeps_its_keys(name: str) -> None:
    summary = Summary.from_json(FORMAT_1[name])
    assert json.loads(json.dumps(summary.to_json())) == {"format": FORMAT, **FORMAT_1[name]}


def test_a_summary_of_a_later_format_is_refused() -> None:
    with pytest.raises(ValueError, match=f"its format is 99, and this version reads formats up to {FORMAT}"):
        Summary.from_json({**FORMAT_1["auto"], "format": 99})


@pytest.mark.parametrize("key", ["task", "method", "evaluation", "selection", "baseline"])
def test_what_is_wrong_with_a_summary_is_told_in_a_line(tmp_path: Path, key: str) -> None:
    for damaged in ({k: v for k, v in FORMAT_1["auto"].items() if k != key}, {**FORMAT_1["auto"], key: [1]}):
        (tmp_path / "summary.json").write_text(json.dumps(damaged))
        with pytest.raises(UserError, match=rf"summary.json is no summary of a run \({key}.*: .*\); remove it") as told:
            read_summary(tmp_path)
        assert "\n" not in str(told.value)


def test_json_prints_the_summary(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2)
    options = ("--backbone", "none", "--steps", 3, "--no-report", "--out", "run", "--json")
    printed = json.loads(command("train", "--source", "s.npz", "--target", "t.npz", *options).out)
    assert (printed.pop("run"), printed.pop("report")) == ("run", None)
    assert printed == json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))


# One reader of each file


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(*arrays(), out=folder / "run", **FAST)
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    for path in finished.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_record_cut_off_is_no_fault(run: Path) -> None:
    whole = read_run(run).metrics
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "ri')
    assert read_run(run).metrics == read_run(run).records == whole
    RunFolder(run).start_metrics(4)
    assert read_metrics(run) == ([record for record in whole if record["step"] <= 4], "")


def test_a_damaged_record_is_told_to_the_analysis_and_passed_over_by_the_rest(run: Path) -> None:
    whole = read_run(run).metrics
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([*lines[:2], "null\n", *lines[2:]]))
    with pytest.raises(UserError, match="holds no records of a training"):
        print(read_run(run).metrics)
    assert read_run(run).records == whole
    RunFolder(run).start_metrics(len(whole))
    assert read_run(run).metrics == whole


@pytest.mark.parametrize("part", ["metrics.jsonl", "predictions.csv", "features.npz"])
def test_a_part_that_is_missing_is_told_where_it_is_needed(run: Path, part: str) -> None:
    (run / part).unlink()
    found = read_run(run)
    with pytest.raises(UserError, match=part):
        print({"m": lambda: found.metrics, "p": lambda: found.predictions, "f": lambda: found.features}[part[0]]())
    assert write_report(run).is_file()


def test_a_damaged_configuration_is_told_by_its_path(run: Path) -> None:
    text = (run / "config.toml").read_text("utf-8")
    (run / "config.toml").write_text(text.replace("steps = 6", 'steps = "six"'), "utf-8")
    with pytest.raises(UserError, match=r"config.toml: steps = 'six': input should be a valid integer"):
        print(read_run(run).config)


def test_predictions_of_other_rows_are_told(run: Path) -> None:
    target = from_arrays(*arrays()[1], "target")
    assert read_predicted(run, target).shape == (24,)
    with pytest.raises(UserError, match="is not of these target rows"):
        read_predicted(run, target.select(range(23)))
    with pytest.raises(UserError, match="is not of these target rows"):
        read_predicted(run, replace(target, classes=("cat", "cow")))


# Target labels


class Sealed(torch.Tensor):
    """Labels that no one may look at: taking rows of them is all that they allow."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.__getitem__, torch.Tensor.dim, torch.Tensor.size, torch.Tensor.__len__):
            return super().__torch_function__(func, types, args, kwargs or {})
        raise AssertionError(f"target labels of the domain are looked at, by {func}")


class Watched(torch.Tensor):
    """Labels that remember which rooms of ours looked at them."""

    rooms: ClassVar[set[str]] = set()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        frame = sys._getframe(1)
        while "/jointadapt/" not in frame.f_code.co_filename and frame.f_back is not None:
            frame = frame.f_back
        cls.rooms.add(frame.f_code.co_filename.rpartition("/jointadapt/")[2].partition("/")[0])
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> list[Prepared]:
    """Seal the labels of every target that is prepared, and watch the true ones."""
    seen, prepare = [], experiment.prepare

    def prepare_sealed(*arguments: Any) -> Prepared:
        data = prepare(*arguments)
        seen.append(data)
        target = replace(data.target, labels=data.target.labels.as_subclass(Sealed))
        return replace(data, target=target, target_truth=data.target_truth.as_subclass(Watched))

    monkeypatch.setattr(experiment, "prepare", prepare_sealed)
    Watched.rooms = set()
    return seen


CHOICES: list[dict[str, Any]] = [
    {},
    {"select": "clustering"},
    {"select": "transfer-cv"},
    {"trade_off": "search", "select": "information"},
    {"method": "auto"},
]


@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_nothing_but_the_evaluation_looks_at_target_labels(sealed: list[Prepared], options: dict[str, Any]) -> None:
    summary = train(*arrays(), **FAST, **options).summary
    assert summary.evaluation is not None
    (data,) = sealed
    assert (data.target.labels == UNLABELLED).all()
    assert (data.target_truth != UNLABELLED).all()
    assert not data.pictures.labelled
    assert Watched.rooms <= {"evaluation", "runs", "experiment"}, Watched.rooms
    assert "evaluation" in Watched.rooms


def test_the_seal_tells_of_a_look() -> None:
    labels = torch.zeros(4, dtype=torch.long).as_subclass(Sealed)
    assert len(labels[:2]) == 2
    with pytest.raises(AssertionError, match="looked at"):
        print(labels == UNLABELLED)
