"""The benchmark of families left out: its pool, its judges, and the tables that it makes of them."""

import os
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DATA = Path(os.environ.get("JOINTADAPT_TEST_DATA", BENCHMARKS.parents[1] / "shared" / "data"))


class Benchmark(NamedTuple):
    """The three files of the benchmark."""

    pool: ModuleType
    judges: ModuleType
    left_out: ModuleType


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import judges
    import left_out
    import pool

    return Benchmark(pool, judges, left_out)


def record(pool: ModuleType, family: str, case: str, right: dict[str, float], labelled: bool = True) -> dict[str, Any]:
    """Return three clouds that have moved, and candidates that have this share of the target right."""
    generator = torch.Generator().manual_seed(len(family) + len(case))
    y_s, y_t = torch.arange(60) % 3, torch.arange(45) % 3
    corners = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 4.0]])
    x_s = corners[y_s] + torch.randn(60, 2, generator=generator)
    x_t = corners[y_t] + torch.randn(45, 2, generator=generator) + 2
    held = pool.held_out(y_s)

    def said(labels: torch.Tensor, share: float) -> torch.Tensor:
        wrong = torch.arange(len(labels)) >= share * len(labels)
        return 0.7 * torch.nn.functional.one_hot((labels + wrong) % 3, 3) + 0.1

    return {
        "family": family,
        "case": case,
        "kind": "natural",
        "source": x_s,
        "source_labels": y_s,
        "held": held,
        "target": x_t,
        "target_labels": y_t if labelled else torch.full_like(y_t, -1),
        "classes": 3,
        "probabilities": {
            name: {"held": said(y_s[held], 1.0), "target": said(y_t, right.get(name, 0.6))} for name in pool.CANDIDATES
        },
        "seconds": {},
        "images": False,
    }


@pytest.mark.skipif(not (DATA / "families").is_dir(), reason=f"needs families in {DATA}; set JOINTADAPT_TEST_DATA")
def test_every_family_has_cases_of_other_class_shares(benchmark: Benchmark) -> None:
    found = list(benchmark.pool.shares_changed(DATA))
    assert len({task.file for task in found}) == len(found)
    assert {task.family for task in found} == {
        *("gas_sensors", "activity", "bearing_spectra", "news", "hearts", "digits", "photographs")
    }
    task = next(task for task in found if task.name == "cleveland → hungarian, one class")
    source, target = task.read()
    assert len(source.labels.unique()) == 2
    assert len(target.labels.unique()) == 1


def test_targets_lose_the_classes_that_are_named(benchmark: Benchmark) -> None:
    labels = np.array([0, 0, 1, 2, 2, 2, 3])
    assert set(labels[benchmark.pool.half(labels)]) == {0, 1}
    assert set(labels[benchmark.pool.largest(labels)]) == {2}


def test_a_fifth_of_each_class_is_held_out(benchmark: Benchmark) -> None:
    labels = torch.tensor([0] * 10 + [1] * 25 + [2])
    assert torch.bincount(labels[benchmark.pool.held_out(labels)]).tolist() == [2, 5]


@pytest.mark.slow
def test_a_case_is_trained_by_every_candidate(benchmark: Benchmark) -> None:
    case = next(case for case in benchmark.pool.gaussians() if case.name == "clouds → moved")
    options = {**case.options, "steps": 20}
    task = benchmark.pool.Task("clouds", case.name, case.kind, lambda: (case.source, case.target), options)
    found = benchmark.pool.trained(task)
    assert tuple(found["probabilities"]) == benchmark.pool.CANDIDATES
    for parts in found["probabilities"].values():
        assert parts["target"].shape == (len(case.target), 3)
        assert parts["held"].shape == (int(found["held"].sum()), 3)
    judged = benchmark.judges.judge(found)
    assert judged.accuracy is not None
    assert judged.accuracy["logistic@moments"] > judged.accuracy["logistic"]
    assert benchmark.pool.told(found).startswith("logistic ")


def test_weights_of_an_aggregation_go_to_the_model_that_is_right(benchmark: Benchmark) -> None:
    labels = torch.arange(90) % 3
    sure = torch.nn.functional.one_hot(labels, 3).double()
    models = {"source-only": torch.full((90, 3), 1 / 3, dtype=torch.float64), "mcc": sure}
    found = benchmark.judges.aggregation(models, models, labels, torch.ones(90, dtype=torch.float64))
    assert found["mcc"] == pytest.approx(1, abs=0.05)
    assert found["source-only"] == pytest.approx(0, abs=0.05)


def test_the_tables_are_of_families_left_out(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = partial(record, benchmark.pool)
    good, bad = {"mcc": 0.9, "shot": 0.9}, dict.fromkeys(benchmark.judges.MEMBERS[1:], 0.2)
    given = [
        build("one", "helped", good),
        build("two", "harmed", bad),
        build("two", "helped too", good),
        build("two", "without labels", {}, labelled=False),
    ]
    for each in given:
        benchmark.pool.keep(each, tmp_path / f"{each['family']}__{each['case']}.pt")
    monkeypatch.setattr(benchmark.left_out, "TRIED", 60)
    monkeypatch.setattr("sys.argv", ["left_out.py", "--pool", str(tmp_path)])
    benchmark.left_out.main()
    told = capsys.readouterr().out
    assert told.startswith("4 cases of 2 families, 3 with target labels")
    right = 100 * 41 / 45
    lines = [line for line in told.splitlines() if line.startswith("| always mcc |")]
    assert lines[0].split(" | ")[1] == f"{(right + (20 + right) / 2) / 2:.1f}"
    assert lines[0].split(" | ")[-1] == "1 |"  # of "two" is worse than source-only by 40 points
    assert "| two | helped too | 60.0 | 91.1 |" in told
    assert len(list((tmp_path / benchmark.judges.FOLDER).glob("*.pt"))) == 4
