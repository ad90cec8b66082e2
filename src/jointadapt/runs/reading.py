"""Run folder → its parts, as far as they are there."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jointadapt.config import BASELINE, Config
from jointadapt.errors import UserError
from jointadapt.methods import METHODS
from jointadapt.runs.folder import RunFolder


@dataclass(frozen=True)
class Run:
    """What was found in a run folder; a part that is missing or unreadable is empty."""

    summary: dict[str, Any]
    config: str = ""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    features: dict[str, np.ndarray] | None = None
    baseline: "Run | None" = None

    @property
    def evaluation(self) -> dict[str, Any]:
        return self.summary.get("evaluation") or {}


def read_parts(folder: Path) -> Run:
    """Return the parts of a run folder."""
    path = folder / "summary.json"
    if not path.is_file():
        raise FileNotFoundError(f"A report needs the folder of a finished run, with a summary.json; {folder} has none.")
    try:
        summary = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} should hold the summary of a run as JSON, and does not: {error}.") from None
    return Run(
        summary=summary,
        config=_read_text(folder / "config.toml"),
        metrics=_read_metrics(_read_text(folder / "metrics.jsonl")),
        predictions=_read_predictions(_read_text(folder / "predictions.csv")),
        features=_read_features(folder / "features.npz"),
        baseline=_read_baseline(folder, summary.get("baseline")),
    )


def _read_baseline(folder: Path, told: dict[str, Any] | None) -> "Run | None":
    """Return the source-only run beside a run: its own folder, or what the run's summary says of it, or None."""
    if (folder / BASELINE / "summary.json").is_file():
        run = read_parts(folder / BASELINE)
        return replace(run, summary={**run.summary, **(told or {})})
    return Run(told) if told else None


def _read_text(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def _read_metrics(text: str) -> list[dict[str, Any]]:
    """Return one record for each line; a last line cut off by a crash is passed over."""
    records = []
    for line in filter(str.strip, text.split("\n")):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    return records


def _read_predictions(text: str) -> list[dict[str, Any]]:
    rows = []
    for i, row in enumerate(csv.DictReader(io.StringIO(text, newline=""))):
        try:
            probability = float(row.get("probability") or "nan")
        except ValueError:
            probability = math.nan
        rows.append({**row, "row": i, "probability": probability})
    return rows


def _read_features(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except Exception:
        return None  # zipfile and numpy raise a dozen kinds on a broken file


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its folder, configuration, summary, and its number among the tasks seen."""

    folder: Path
    config: Config
    summary: dict[str, Any]

    @property
    def task(self) -> str:
        """The task, "amazon → webcam"."""
        return self.summary["task"]

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.config.method

    @property
    def accuracy(self) -> float | None:
        """The target accuracy in percent, where it is known."""
        return (self.summary["evaluation"] or {}).get("accuracy")

    @property
    def on_files(self) -> bool:
        """Whether its domains can be read again: arrays in memory are not kept."""
        return bool(self.config.benchmark or (self.config.source and self.config.target))

    def options(self, *without: str) -> str:
        """Return what decided the run's numbers, but for the options named; equal texts are equal runs."""
        decisive = {**self.config.identity(), "trade_off": self.option("trade_off")}
        return json.dumps([self.task, {name: value for name, value in decisive.items() if name not in without}])

    @property
    def adapts(self) -> bool:
        """Whether the method looks at the target, so that λ has an effect."""
        return self.method != BASELINE

    def option(self, name: str) -> Any:
        """Return the value of an option; of λ that which was used."""
        value = self.config.flat().get(name)
        if name == "trade_off" and not self.adapts:
            return None
        if name == "trade_off" and value == "auto" and self.method in METHODS:
            return METHODS[self.method].trade_off
        return value

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of the training."""
        path = self.folder / "metrics.jsonl"
        try:
            text = path.read_text("utf-8")
            records = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
            if not all("step" in record for record in records):
                raise ValueError("a record has no step")
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} holds no records of a training ({error}); leave this run out.") from error
        return records


def read_run(folder: str | Path) -> FinishedRun:
    """Return the finished run of a run folder."""
    own = RunFolder(Path(folder))
    if not own.finished:
        raise UserError(f"{folder} itself holds no finished run (summary.json); give the folder of one.")
    return FinishedRun(own.path, own.read_config(), own.read_summary())


def find_runs(folders: Sequence[str | Path]) -> list[FinishedRun]:
    """Return the finished runs in these folders, at any depth, the outer ones first.

    Equal runs, as one source-only run that stands beside many, count once.
    """
    found: dict[str, FinishedRun] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; give run folders, or a folder that holds some.")
        here = 0
        for path in sorted(folder.rglob("summary.json"), key=lambda path: (len(path.parts), path)):
            if not (path.parent / "config.toml").is_file():
                continue
            run = read_run(path.parent)
            found.setdefault(run.options(), run)
            here += 1
        if not here:
            raise UserError(
                f"{folder} holds no finished run (summary.json beside config.toml); give the folder of one."
            )
    return list(found.values())
