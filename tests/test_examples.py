"""The examples run as they are, and adapting is worth something in each."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").rglob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_adapts(example: Path) -> None:
    if "lightning" in example.stem and importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed")
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, cwd=example.parent)
    assert done.returncode == 0, done.stderr
    found = [float(number) for number in re.findall(r"(\d+\.\d) %", done.stdout)]
    assert found, done.stdout
    assert max(found) > 60
    if len(found) > 1:
        before, *after = found
        assert max(after) > before + 5, done.stdout
