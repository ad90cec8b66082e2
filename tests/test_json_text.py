"""What is written as JSON is JSON: browsers and jq know no NaN. What older runs wrote is read all the same."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, write_arrays

from jointadapt.comparison.plan import Outcome
from jointadapt.comparison.results import ResultStore
from jointadapt.runs.reading import read_metrics, read_run, read_summary
from jointadapt.runtime.json_text import to_json


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_are_none_are_null() -> None:
    found = {"a": [math.nan, {"b": (math.inf, -math.inf, 1.5)}], "é": True, "n": None, "big": 10**30}
    assert strict(to_json(found)) == {"a": [None, {"b": [None, None, 1.5]}], "é": True, "n": None, "big": 10**30}
    assert to_json("é", ascii_only=True) == '"\\u00e9"'


def test_one_target_row_leaves_json_everywhere(tmp_path: Path, command: Command) -> None:
    write_arrays(tmp_path / "s.npz")
    rows = np.load(tmp_path / "s.npz")
    np.savez(tmp_path / "one.npz", x=rows["x"][:1], y=rows["y"][:1])
    run = tmp_path / "run"
    options = ("--steps", 5, "--batch-size", 8, "--no-report", "--no-baseline", "--json")
    done = command("train", "--source", tmp_path / "s.npz", "--target", tmp_path / "one.npz", "--out", run, *options)
    assert strict(done.out)["selection"]["candidates"][0]["scores"]["snd"] is None
    assert strict((run / "summary.json").read_text("utf-8"))
    assert all(map(strict, (run / "metrics.jsonl").read_text("utf-8").splitlines()))
    scores = read_summary(run).selection.candidates[0].scores
    assert math.isnan(scores["snd"])
    assert not math.isnan(scores["entropy"])
    assert strict(command("analyze", run, "--json").out)["runs"] == 1
    assert read_run(run).summary.accuracy is not None


def test_what_older_runs_wrote_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "risk": NaN}\n{"step": 2, "risk": null}\n', "utf-8")
    records, fault = read_metrics(tmp_path)
    assert not fault
    assert [math.isnan(record["risk"]) for record in records] == [True, True]


def test_outcomes_of_a_comparison(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results.jsonl")
    store.add("k", Outcome(("a", "b"), "jan", 0, "none", {"last": {"accuracy": math.nan}}, 1.0))
    assert strict(store.path.read_text("utf-8"))
    assert store.read()["k"].choices == {"last": {"accuracy": None}}


@pytest.mark.parametrize("method", ["permutation", "cross"])
def test_shift_of_equal_rows(tmp_path: Path, command: Command, method: str) -> None:
    np.savez(tmp_path / "c.npz", x=np.ones((40, 3)))
    done = command(
        "shift", tmp_path / "c.npz", tmp_path / "c.npz", "--method", method, "--out", tmp_path / "o", "--json"
    )
    assert done.code == 0, done.err
    assert strict(done.out)["tests"][0]["rejected"] is False
    assert strict((tmp_path / "o" / "shift.json").read_text("utf-8"))
