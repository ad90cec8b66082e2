"""The gallery: `make docs` runs every example; `make test` those that take 5 seconds of a core or less.

Each example runs in a process of its own, and a warning that nobody asked for is an error.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
# Those that run here; True where the last share that is printed has to be well above the first, source-only's.
QUICK = {"joint_not_marginal": False, "own_loop": True, "two_sample_tests": False}
LONGEST = 120  # lines


def source_of(example: Path) -> ast.Module:
    return ast.parse(example.read_text(encoding="utf-8"))


def sections() -> dict[str, list[str]]:
    """The examples of each section in the order in which the site shows them."""
    for node in source_of(ROOT / "docs/conf.py").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS":
            return ast.literal_eval(node.value)
    raise AssertionError("docs/conf.py names no SECTIONS")


@pytest.mark.parametrize("example", [path for path in EXAMPLES if path.stem in QUICK], ids=lambda path: path.stem)
def test_a_quick_example_runs_without_a_warning(example: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(example)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=example.parent, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if QUICK[example.stem]:
        before, *after = [float(number) for number in re.findall(r"(\d+\.\d) %", done.stdout)]
        assert max(after) > before + 5, done.stdout


def test_quick_examples_exist() -> None:
    assert {path.stem for path in EXAMPLES} >= QUICK.keys()


def test_every_example_has_its_place_on_the_site() -> None:
    placed = {section: set(names) for section, names in sections().items()}
    for example in EXAMPLES:
        assert example.stem in placed.get(example.parent.name, ()), f"{example} is not in docs/conf.py's SECTIONS"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_read_in_one_go(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= LONGEST
