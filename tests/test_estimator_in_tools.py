"""The estimator inside the tools that others wrote for domain adaptation, where these are installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Each runs in a process of its own: these libraries set scikit-learn's configuration, and warn of matters of their own.
SKADA = """
import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.model_selection import cross_validate
from skada import make_da_pipeline
from skada.metrics import PredictionEntropyScorer, SupervisedScorer
from skada.model_selection import SourceTargetShuffleSplit
from jointadapt import AdaptedClassifier

generator = np.random.default_rng(0)
y = generator.integers(0, 3, 120)
x = generator.normal(size=(120, 6))
x[np.arange(120), y] += 4
X, Y = np.concatenate([x, x + 1.5]), np.concatenate([y, y])
domains = np.repeat([1, -2], 120)
classifier = AdaptedClassifier(steps=150, bottleneck=16)
pipeline = make_da_pipeline(StandardScaler(), PCA(4), classifier)
pipeline.fit(X, Y.copy(), sample_domain=domains)
final = pipeline[-1].base_estimator_
assert final.classes_.tolist() == [0, 1, 2], final.classes_  # the masked label is no class
assert final.choice_.method == "jan"
print("score", pipeline.score(x + 1.5, y, sample_domain=np.full(120, -2)))
assert pipeline.score(x + 1.5, y, sample_domain=np.full(120, -2)) > 0.8
masked = np.where(domains > 0, Y, -1)
for scorer, params in ((PredictionEntropyScorer(), {}), (SupervisedScorer(), {"target_labels": Y})):
    found = cross_validate(
        make_da_pipeline(StandardScaler(), AdaptedClassifier(steps=5)), X, masked.copy(), scoring=scorer,
        cv=SourceTargetShuffleSplit(n_splits=2), params={"sample_domain": domains, **params}, error_score="raise",
    )
    assert np.isfinite(found["test_score"]).all(), found
print("done")
"""

MOABB = """
import sys
from moabb.datasets.fake import FakeDataset
from moabb.evaluations import CrossSubjectEvaluation, CrossSubjectMode
from moabb.paradigms import LeftRightImagery
from sklearn.pipeline import make_pipeline
from jointadapt import AdaptedClassifier

class Watched(AdaptedClassifier):
    seen = []

    def fit(self, X, y, X_target_unlabeled=None, X_target_labeled=None, y_target_labeled=None):
        target = {"X_target_unlabeled": X_target_unlabeled, "X_target_labeled": X_target_labeled}
        Watched.seen.append(tuple(sorted(name for name, rows in target.items() if rows is not None)))
        return super().fit(X, y, **target, y_target_labeled=y_target_labeled)

data = FakeDataset(["left_hand", "right_hand"], n_subjects=2, n_sessions=1, n_runs=1, n_events=12, duration=60, seed=9)
for mode in CrossSubjectMode:
    Watched.seen = []
    evaluation = CrossSubjectEvaluation(
        paradigm=LeftRightImagery(), datasets=[data], cs_mode=mode, overwrite=True, n_jobs=1, suffix=mode.value,
        hdf5_path="results",
    )
    found = evaluation.process({"ours": make_pipeline(Watched(kind="signal", steps=2, bottleneck=8))})
    wanted = tuple(f"X_target_{name}" for name in ("unlabeled", "labeled") if f"target_{name}" in mode.value)
    assert Watched.seen and set(Watched.seen) == {wanted}, (mode, Watched.seen)
    assert found["score"].between(0, 1).all() and len(found) == 2, (mode, found)
    print(mode.value, *wanted)
print("done")
"""


def page(mark: str) -> str:
    """Return the lines of the documentation that show a library, with the data they use."""
    text = (Path(__file__).parents[1] / "docs/guides/scikit-learn.md").read_text("utf-8")
    code = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    scaler = "from sklearn.preprocessing import StandardScaler\n"
    return code[0] + scaler + next(block for block in code if block.startswith(mark)) + 'print("done")\n'


def run_there(program: str, folder: Path) -> str:
    (folder / "program.py").write_text(program)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder), "MNE_DATA": str(folder)}
    command = [sys.executable, "-W", "ignore", "program.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_skadas_pipelines(tmp_path: Path):
    pytest.importorskip("skada", reason="needs skada")
    assert run_there(SKADA, tmp_path).endswith("done\n")
    assert run_there(page("# skada"), tmp_path).endswith("done\n")


@pytest.mark.slow
def test_moabbs_cross_subject_evaluation_in_all_its_modes(tmp_path: Path):
    moabb = pytest.importorskip("moabb", reason="needs MOABB 1.6 or later")
    if tuple(map(int, moabb.__version__.split(".")[:2])) < (1, 6):
        pytest.skip("needs MOABB 1.6 or later")
    assert run_there(MOABB, tmp_path).endswith("done\n")
    assert run_there(page("# moabb"), tmp_path).endswith("done\n")
