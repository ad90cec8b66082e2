"""Run folder → its parts, as far as they are there."""

import csv
import io
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jointadapt.config import BASELINE


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


def read_run(folder: Path) -> Run:
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
        run = read_run(folder / BASELINE)
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
