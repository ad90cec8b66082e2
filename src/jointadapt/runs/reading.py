"""Run folder → its parts. Each of its files is read here and nowhere else."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from jointadapt.config import BASELINE, Config, from_record, read_toml
from jointadapt.data import Domain
from jointadapt.errors import UserError
from jointadapt.methods import METHODS
from jointadapt.runs.summary import Summary, TradeOffSearch, search_from_json

Record = dict[str, Any]
CANDIDATES_FOLDER = "candidates"  # the folder below a run of `auto` that holds the runs it compares
TWINS = "estimate"  # the folder below a run of what was trained to estimate its accuracy: no runs to be found
T = TypeVar("T")


class Prediction(NamedTuple):
    """A row of `predictions.csv`; `label` is empty where it is not known, `probability` NaN where it is no number.

    `nearest` is the class that is predicted where unknown ones are not told: of a row that is called unknown another.
    """

    row: int
    item: str
    predicted: str
    probability: float
    label: str
    nearest: str


# One file each


def read_run_config(folder: Path) -> Config:
    """Return the configuration of a run, as it was resolved."""
    path = folder / "config.toml"
    tables = read_toml(path)
    if {*tables} != {"given", "resolved"} or not all(isinstance(table, dict) for table in tables.values()):
        raise UserError(f"{path} lacks the tables [given] and [resolved] that a run writes.")
    try:
        return from_record(tables["resolved"], tables["given"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_summary(folder: Path) -> Summary:
    """Return the summary of a finished run."""
    path = folder / "summary.json"
    try:
        return Summary.from_json(json.loads(path.read_text("utf-8")))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is no summary of a run ({error}); remove it, and have it written again by: "
            f"jointadapt train --resume {folder}"
        ) from error
    except OSError as error:
        raise UserError(f"{folder} itself holds no finished run (summary.json); give the folder of one.") from error


def read_config_text(folder: Path) -> str:
    """Return the configuration as it is written; nothing where there is none."""
    path = folder / "config.toml"
    return path.read_text("utf-8", errors="surrogateescape") if path.is_file() else ""


def read_metrics(folder: Path) -> tuple[list[Record], str]:
    """Return the records of a training, and what is wrong with the first line that is none; nothing mostly.

    A last line that a crash cut off is passed over, and no fault.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return [], "it is missing"
    records, faults = [], []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line)
            if line.endswith(b"\n") and record["step"] is not None:
                records.append({key: math.nan if value is None else value for key, value in record.items()})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            faults += [f"{type(error).__name__}: {error}"] if line.endswith(b"\n") else []
    return records, faults[0] if faults else ""


def read_predictions(folder: Path) -> list[Prediction]:
    """Return what the model made of each target row."""
    path = folder / "predictions.csv"
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [
                Prediction(
                    row=number,
                    item=row["item"] or "",
                    predicted=row["class"] or "",
                    probability=_number(row["probability"]),
                    label=row.get("label") or "",
                    nearest=row.get("nearest") or row["class"] or "",
                )
                for number, row in enumerate(csv.DictReader(file))
            ]
    except (OSError, KeyError, csv.Error) as error:
        raise UserError(f"{path} holds no predictions of a run ({error}); leave this run out.") from error


def folder_of(model: str) -> str:
    """Return the name of the folder in which a model that `auto` compares is kept.

    >>> folder_of("source-only, shares corrected")
    'source-only-shares-corrected'
    """
    return model.replace(",", "").replace(" ", "-")


def read_compared(folder: Path) -> dict[str, list[Prediction]]:
    """Return what each of the models that an `auto` run compared made of each target row; they are below its folder."""
    below = [folder / BASELINE, *sorted(path for path in (folder / CANDIDATES_FOLDER).glob("*") if path.is_dir())]
    if len(below) == 1:
        raise UserError(f"{folder} is no run of --method auto that compared several models; give the folder of one.")
    found = {path.name: read_predictions(path) for path in below}
    if len({tuple(row.item for row in rows) for rows in found.values()}) > 1:
        raise UserError(f"the models below {folder} are not of the same target rows; train it anew.")
    return found


def read_predicted(folder: Path, target: Domain) -> Tensor:
    """Return the class that a run predicts for each row of its target, as an index into the target's classes."""
    index = {name: position for position, name in enumerate(target.classes)}
    found = [index.get(row.nearest) for row in read_predictions(folder)]
    if len(found) != len(target) or None in found:
        raise UserError(
            f"{folder / 'predictions.csv'} is not of these target rows; remove {folder / 'summary.json'}, and have "
            "both written again by the same command."
        )
    return torch.tensor(found)


def read_features(folder: Path) -> dict[str, np.ndarray]:
    """Return the features of some rows of both domains, their labels, and the predicted classes of the target's."""
    path = folder / "features.npz"
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:
        # zipfile and numpy raise a dozen kinds on a broken file.
        raise UserError(f"{path} holds no features of a run ({error}); leave this run out.") from error


def read_trade_offs(folder: Path) -> TradeOffSearch | None:
    """Return how λ was chosen, or is being chosen; None where it was given."""
    path = folder / "trade-off.json"
    if not path.is_file():
        return None
    try:
        return search_from_json(json.loads(path.read_text("utf-8")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no search for a trade-off ({error}); remove it to search anew.") from error


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


# The whole


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run: its folder and summary, and its other parts, each read when it is first asked for.

    A part that is missing or damaged is a `UserError`; `shown` is for those who do without.
    """

    folder: Path
    summary: Summary

    @cached_property
    def config(self) -> Config:
        """Its configuration."""
        return read_run_config(self.folder)

    @cached_property
    def _metrics(self) -> tuple[list[Record], str]:
        return read_metrics(self.folder)

    @property
    def records(self) -> list[Record]:
        """The records of its training, as many as are whole."""
        return self._metrics[0]

    @property
    def metrics(self) -> list[Record]:
        """The records of its training, none of them damaged."""
        if self._metrics[1]:
            path = self.folder / "metrics.jsonl"
            raise UserError(f"{path} holds no records of a training ({self._metrics[1]}); leave this run out.")
        return self.records

    @cached_property
    def predictions(self) -> list[Prediction]:
        """What its model made of each target row."""
        return read_predictions(self.folder)

    @cached_property
    def features(self) -> dict[str, np.ndarray]:
        """The features of some rows of both domains."""
        return read_features(self.folder)

    @cached_property
    def baseline(self) -> "FinishedRun | None":
        """The source-only run within its folder, with what its own summary says of it; None without one."""
        folder, told = self.folder / BASELINE, self.summary.baseline
        if (folder / "summary.json").is_file():
            own = read_summary(folder)
        elif told is not None:
            own = replace(self.summary, method=BASELINE, baseline=None)
        else:
            return None
        return FinishedRun(folder, own if told is None else replace(own, **vars(told)))

    @property
    def task(self) -> str:
        """The task, "amazon → webcam"."""
        return self.summary.task

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.config.method

    @property
    def accuracy(self) -> float | None:
        """The target accuracy in percent, where it is known."""
        return self.summary.accuracy

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

    def takes(self, name: str) -> bool:
        """Return whether an option of methods has an effect on this one."""
        return self.adapts if name == "trade_off" else name in self.config.method_options

    def option(self, name: str) -> Any:
        """Return the value of an option; of λ that which was used."""
        value = self.config.flat().get(name)
        if name == "trade_off" and not self.adapts:
            return None
        if name == "trade_off" and value == "auto" and self.method in METHODS:
            return METHODS[self.method].trade_off
        return value


def shown(part: Callable[[], T], otherwise: T) -> T:
    """Return a part of a run, or what stands for it where it is missing or damaged."""
    try:
        return part()
    except UserError:
        return otherwise


def read_run(folder: str | Path) -> FinishedRun:
    """Return the finished run of a run folder."""
    return FinishedRun(Path(folder), read_summary(Path(folder)))


def find_runs(folders: Sequence[str | Path]) -> list[FinishedRun]:
    """Return the finished runs in these folders, at any depth, the outer ones first; one that is damaged is an error.

    Equal runs, as one source-only run that stands beside many, count once.
    """
    found, unread = find_readable_runs(folders)
    if unread:
        raise UserError(unread[0])
    return found


def find_readable_runs(folders: Sequence[str | Path]) -> tuple[list[FinishedRun], list[str]]:
    """Return the same, and what is wrong with those that cannot be read."""
    found: dict[str, FinishedRun] = {}
    unread: list[str] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; give run folders, or a folder that holds some.")
        summaries = sorted(folder.rglob("summary.json"), key=lambda path: (len(path.parts), path))
        summaries = [path for path in summaries if TWINS not in path.relative_to(folder).parts]
        beside = [path.parent for path in summaries if (path.parent / "config.toml").is_file()]
        if not beside:
            raise UserError(
                f"{folder} holds no finished run (summary.json beside config.toml); give the folder of one."
            )
        for path in beside:
            try:
                run = read_run(path)
                found.setdefault(run.options(), run)
            except UserError as error:
                unread.append(str(error))
    return list(found.values()), unread
