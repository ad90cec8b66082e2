"""The suite of hard cases: what it holds, and the tables that the benchmarks make of it."""

import os
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DATA = Path(os.environ.get("JOINTADAPT_TEST_DATA", BENCHMARKS.parents[1] / "shared" / "data"))


@pytest.fixture
def hard_cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import hard_cases

    return hard_cases


def test_every_made_case_can_be_trained_on(hard_cases: ModuleType) -> None:
    cases = [*hard_cases.digits(), *hard_cases.gaussians()]
    assert len(cases) >= 28
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        assert case.source.shape == case.target.shape
        assert case.source.labelled
        assert case.target.labelled or case.kind == "noise"
        assert (len(case.target) == 5) == (case.kind == "few examples") == (case.more is not None)


def test_another_seed_draws_other_rows(hard_cases: ModuleType) -> None:
    for first, second in zip(hard_cases.gaussians(0), hard_cases.gaussians(1), strict=True):
        assert first.name == second.name
        assert not first.target.rows([0]).equal(second.target.rows([0]))


def test_proportions_fall_from_the_first_class_to_the_last_by_the_ratio(hard_cases: ModuleType) -> None:
    labels = np.repeat(np.arange(4), 100)
    counts = Counter(labels[hard_cases.imbalanced(labels, 8)].tolist())
    assert [counts[c] for c in range(4)] == [100, 50, 25, 12]


@pytest.mark.skipif(not (DATA / "digits").is_dir(), reason=f"needs digits in {DATA}; set JOINTADAPT_TEST_DATA")
def test_scanned_digits_are_read(hard_cases: ModuleType) -> None:
    cases = list(hard_cases.scanned(DATA / "digits"))
    assert {case.source.shape for case in cases} == {(1, 16, 16)}


def test_the_benchmark_of_suggestions_labels_what_was_suggested(hard_cases: ModuleType) -> None:
    import suggestions

    case = next(case for case in hard_cases.gaussians() if case.name == "clouds → moved to the next class")
    plain, random, suggested = suggestions.measure(case, "source-only", 30, 0)
    assert plain + 5 < min(random, suggested)
