"""One spelling of a method's name: its title in sentences and headings, its name in tables, files and flags."""

import json
from pathlib import Path

import pytest
from conftest import Command, write_arrays

from jointadapt.methods import METHODS
from jointadapt.methods.names import method_title


@pytest.mark.parametrize("name", METHODS)
def test_a_title_differs_in_letter_case_only(name: str) -> None:
    assert method_title(name).lower() == name


def test_titles_are_the_papers_spelling() -> None:
    expected = {
        "jan": "JAN",
        "jan-a": "JAN-A",
        "fixmatch": "FixMatch",
        "cdan-e": "CDAN-E",
        "source-only": "source-only",
    }
    assert {name: method_title(name) for name in expected} == expected
    assert method_title("auto: jan+mcc") == "auto: JAN+MCC"
    assert method_title("module:MyMethod") == "MyMethod"


def test_sentences_have_the_title_and_tables_the_name(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2)
    options = ("--backbone", "none", "--steps", 3, "--method", "fixmatch", "--out", "run")
    said = command("train", "--source", "s.npz", "--target", "t.npz", *options).out
    summary, page = json.loads(Path("run/summary.json").read_text("utf-8")), Path("run/report.html").read_text("utf-8")
    assert summary["method"] == "fixmatch"
    assert summary["verdict"].startswith("FixMatch ")
    assert summary["verdict"] in said
    assert "fixmatch" in said.partition("FixMatch")[0]  # the table
    assert "FixMatch without a backbone" in page
    assert all("FIXMATCH" not in text for text in (said, page))
    assert page.count("FixMatch") > 3
