"""The library draws from the global generators as it trains, and leaves them to the caller as they were.

In a process of its own: under pytest beartype, which checks our signatures, draws from Python's generator.
"""

import subprocess
import sys

import pytest
from conftest import write_arrays

BEFORE = """
import os, random, sys, traceback
import numpy as np, torch
import jointadapt
import jointadapt.comparison.run, jointadapt.estimator  # other libraries draw as they are imported
from jointadapt.cli import main
from jointadapt.errors import UserError
from jointadapt.runtime.random_state import rng_state

def state():
    found = rng_state()
    return [found["torch"].tolist(), str(found["numpy"]), found["python"]]

folder = sys.argv[1]
x = np.random.default_rng(0).normal(size=(40, 3))
y = (x[:, 0] > 0).astype(int)
"""
USES = {
    "classifier": "jointadapt.AdaptedClassifier('mcc', steps=3).fit(x, y, x + 1)",
    "train": "jointadapt.train((x, y), x + 1, method='jan', steps=3, report=False)",
    "auto": "jointadapt.train((x, y), x + 1, method='auto', steps=3, report=False)",
    "load": """
jointadapt.train((x, y), x + 1, out="run", steps=3)
from jointadapt.diagnostics.label_suggestion import suggest_labels
from jointadapt.diagnostics.shift import measure_shift
jointadapt.Model.load("run").predict(jointadapt.from_arrays(x))
suggest_labels("run", 3, jointadapt.from_arrays(x + 1))
measure_shift(jointadapt.from_arrays(x), jointadapt.from_arrays(x + 1), "run", permutations=19)
jointadapt.two_sample_test(x, x + 1, permutations=19)
""",
    "failure": """
try:
    jointadapt.train((1e30 * x, y), x, learning_rate=1e30, steps=50, bottleneck=0)
except UserError:
    pass
else:
    raise AssertionError("it did not diverge")
""",
    "compare": """
sys.argv = ["jointadapt", "compare", "--benchmark", "two.toml", "--root", ".", "--tasks", "a → b", "--jobs", "1"]
sys.argv += ["--methods", "source-only,jan", "--seeds", "1", "--steps", "2"]
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
""",
}


EACH = """
for name, use in {uses!r}.items():
    os.chdir(os.path.join(folder, name))
    before = state()
    try:
        exec(use)
        assert state() == before
        print(name, "left them alone", flush=True)
    except Exception:
        traceback.print_exc()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Return what one process tells of all uses, one after the other."""
    folder = tmp_path_factory.mktemp("uses")
    for use in USES:
        (folder / use).mkdir()
        write_arrays(folder / use / "a.npz", seed=1)
        write_arrays(folder / use / "b.npz", seed=2)
        (folder / use / "two.toml").write_text('[domains.a]\npath = "a.npz"\n[domains.b]\npath = "b.npz"\n')
    code = BEFORE + EACH.format(uses=USES)
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("use", USES)
def test_the_callers_generators_are_left_alone(use: str, told: subprocess.CompletedProcess[str]) -> None:
    assert f"{use} left them alone\n" in told.stdout, told.stderr
