"""A fitted `AdaptedClassifier` through pickle, joblib and skops into another process: the same answers, bit for bit."""

import copy
import io
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from jointadapt import AdaptedClassifier, Model, from_arrays, train
from jointadapt.errors import UserError

OWN_PARTS = """
import torch
from torch import nn

from jointadapt.methods import Method

class Means(Method):
    "The distance of the means of the features."

    def forward(self, source, target):
        return (source.features.mean(0) - target.features.mean(0)).square().sum()

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, x):
        return torch.tanh(self.layer(x))
"""
READ_AGAIN = """
import sys, pickle, joblib, skops.io, numpy as np
from pathlib import Path

def trusting(path):
    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))

READERS = {".pickle": lambda path: pickle.loads(path.read_bytes()), ".joblib": joblib.load, ".skops": trusting}
for path in sorted(Path(sys.argv[1]).iterdir()):
    if path.suffix in READERS:
        found = READERS[path.suffix](path)
        rows = np.load(path.with_suffix(".npy"))
        np.savez(f"{path}.npz", predicted=found.predict(rows), probabilities=found.predict_proba(rows))
"""
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(60, 4))
NAMES = np.where(FEATURES[:, 0] > 0, "up", "down")
SIGNALS = RNG.normal(size=(60, 2, 64))
IMAGES = RNG.random(size=(60, 8, 8))
WRITERS: dict[str, Callable[[Any, Path], object]] = {
    ".pickle": lambda estimator, path: path.write_bytes(pickle.dumps(estimator)),
    ".joblib": joblib.dump,
    ".skops": skops.io.dump,
}
FEW = {"steps": 4, "batch_size": 8}


def estimators(own: Any) -> dict[str, tuple[Any, np.ndarray]]:
    """Return estimators that are not fitted yet, and rows for each."""
    return {
        "features": (AdaptedClassifier(baseline=True, **FEW), FEATURES),
        "standardised by domain": (AdaptedClassifier(standardize="domain", **FEW), FEATURES * [1, 100, 1, 1]),
        "unknown classes": (AdaptedClassifier(unknown=True, backbone="mlp", **FEW), FEATURES),
        "signals": (AdaptedClassifier("mcc", kind="signal", backbone="cnn1d", **FEW), SIGNALS),
        "images": (AdaptedClassifier("dann", kind="images", backbone="cnn", **FEW), IMAGES),
        "a pipeline": (make_pipeline(StandardScaler(), AdaptedClassifier(**FEW)), FEATURES),
        "an ensemble": (AdaptedClassifier("auto", **FEW), FEATURES),
        "several networks": (AdaptedClassifier("auto", backbone="mlp", **FEW), FEATURES),
        "own method": (AdaptedClassifier(own.Means, **FEW), FEATURES),
        "own module": (AdaptedClassifier(backbone=own.Wide(), **FEW), FEATURES),
        "own factory": (AdaptedClassifier(backbone="own_parts_to_pickle:Wide", **FEW), FEATURES),
    }


CASES = (
    "features",
    "standardised by domain",
    "unknown classes",
    "signals",
    "images",
    "a pipeline",
    "an ensemble",
    "several networks",
    "own method",
    "own module",
    "own factory",
)
OF_OWN_MODULES = ("own module", "own factory")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give a module of the user's: a pickle names what is in it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_parts_to_pickle.py").write_text(OWN_PARTS)
    sys.path.insert(0, str(folder))
    yield __import__("own_parts_to_pickle")
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def fitted(own: Any) -> dict[str, tuple[Any, np.ndarray]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = estimators(own)
        for name, (estimator, rows) in found.items():
            # A pipeline hands the target on where metadata is routed; without it trains on the source.
            estimator.fit(rows, NAMES) if name == "a pipeline" else estimator.fit(rows, NAMES, rows + 1)
    return found


@pytest.fixture(scope="module")
def read_again(fitted: dict[str, tuple[Any, np.ndarray]], own: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write every estimator in every form, let another process read all of it, and give its answers' folder."""
    folder = tmp_path_factory.mktemp("kept")
    for name, (estimator, rows) in fitted.items():
        for suffix, write in WRITERS.items():
            if suffix != ".skops" or name not in OF_OWN_MODULES:
                write(estimator, folder / f"{name}{suffix}")
        np.save(folder / f"{name}.npy", rows)
    paths = os.pathsep.join([str(Path(own.__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", READ_AGAIN, str(folder)], check=True, env=environment)
    return folder


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", WRITERS)
def test_another_process_answers_the_same(
    case: str, form: str, fitted: dict[str, tuple[Any, np.ndarray]], read_again: Path
) -> None:
    estimator, rows = fitted[case]
    if form == ".skops" and case in OF_OWN_MODULES:
        pytest.skip("skops keeps no module of one's own (docs/guides/sharing.md)")
    with np.load(read_again / f"{case}{form}.npz") as found:
        np.testing.assert_array_equal(found["probabilities"], estimator.predict_proba(rows))
        np.testing.assert_array_equal(found["predicted"], estimator.predict(rows))


def test_the_cases_are_those_that_are_tried(own: Any, fitted: dict[str, tuple[Any, np.ndarray]]) -> None:
    assert tuple(estimators(own)) == CASES
    assert fitted["several networks"][0].model_.members > 1


@pytest.mark.parametrize("case", CASES)
def test_before_fit_and_as_a_clone(case: str, own: Any) -> None:
    estimator, rows = estimators(own)[case]
    again = pickle.loads(pickle.dumps(estimator))
    for other in (again, clone(estimator), clone(again)):
        assert str(other.get_params()) == str(estimator.get_params())
        with pytest.raises(NotFittedError):
            other.predict(rows)
    if case not in OF_OWN_MODULES[:1]:
        names = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
        assert str(skops.io.loads(skops.io.dumps(estimator), trusted=names)) == str(estimator)


@pytest.mark.parametrize("case", CASES)
def test_a_clone_of_a_fitted_one_learns_the_same(case: str, fitted: dict[str, tuple[Any, np.ndarray]]) -> None:
    estimator, rows = fitted[case]
    other = clone(pickle.loads(pickle.dumps(estimator)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        other.fit(rows, NAMES) if case == "a pipeline" else other.fit(rows, NAMES, rows + 1)
    np.testing.assert_array_equal(other.predict_proba(rows), estimator.predict_proba(rows))


def test_what_a_fit_has_found_is_kept(fitted: dict[str, tuple[Any, np.ndarray]]) -> None:
    for case in ("features", "unknown classes", "an ensemble"):
        estimator, rows = fitted[case]
        names = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
        for again in (
            pickle.loads(pickle.dumps(estimator)),
            skops.io.loads(skops.io.dumps(estimator), trusted=names),
            copy.deepcopy(estimator),
        ):
            for attribute in ("choice_", "diagnosis_", "sources_", "p_value_", "accuracy_estimate_", "unknown_label_"):
                assert getattr(again, attribute) == getattr(estimator, attribute), attribute
            assert (again.baseline_ is None) == (estimator.baseline_ is None)
            if again.baseline_ is not None and estimator.baseline_ is not None:
                domain = from_arrays(rows)
                assert torch.equal(again.baseline_.predict_proba(domain), estimator.baseline_.predict_proba(domain))


def test_what_skops_is_to_trust_is_ours_alone(fitted: dict[str, tuple[Any, np.ndarray]]) -> None:
    for case, (estimator, _) in fitted.items():
        if case not in OF_OWN_MODULES:
            names = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
            own = ["own_parts_to_pickle.Means"] if case == "own method" else []
            assert [name for name in names if not name.startswith("jointadapt.")] == own


def test_a_pickle_holds_no_torch_object_but_a_module_of_one_s_own(fitted: dict[str, tuple[Any, np.ndarray]]) -> None:
    for case, (estimator, _) in fitted.items():
        assert (b"torch" in _globals(pickle.dumps(estimator))) == (case in OF_OWN_MODULES), case


def _globals(content: bytes) -> bytes:
    """Return the names of the modules that a pickle imports from."""
    found: list[str] = []

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found.append(module)
            return super().find_class(module, name)

    Reader(io.BytesIO(content)).load()
    return " ".join(found).encode()


def test_every_weight_is_moved_to_the_cpu_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what was trained on a GPU is read where there is none; whether it was moved is seen without a GPU."""
    model = train((FEATURES, NAMES), FEATURES + 1, baseline=False, report=False, **FEW).model
    moved: list[torch.device] = []
    before = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: moved.append(x.device) or before(x))
    pickle.dumps(model)
    assert len(moved) >= len(model.network.state_dict())


def test_a_model_s_pickle_is_its_file(tmp_path: Path) -> None:
    model = train((FEATURES, NAMES), FEATURES + 1, baseline=False, report=False, **FEW).model
    model.save(tmp_path / "model.safetensors")
    assert model.__getstate__() == {"packed": (tmp_path / "model.safetensors").read_bytes()}
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again, Model)
    assert again.classes == model.classes


def test_a_pickle_of_the_parts_as_they_were_once_kept_is_read() -> None:
    model = train((FEATURES, NAMES), FEATURES + 1, baseline=False, report=False, **FEW).model
    older = Model.__new__(Model)
    older.__setstate__(vars(model))
    assert torch.equal(older.predict_proba(from_arrays(FEATURES)), model.predict_proba(from_arrays(FEATURES)))


@pytest.mark.parametrize("content", [b"", b"\x08", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 40])
def test_a_damaged_pickle_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(UserError, match="this pickle of a model is no model of jointadapt"):
        Model.__new__(Model).__setstate__({"packed": content})


def test_nothing_random_is_drawn_by_reading() -> None:
    model = train((FEATURES, NAMES), FEATURES + 1, baseline=False, report=False, backbone="mlp", **FEW).model
    kept, before = pickle.dumps(model), torch.get_rng_state()
    pickle.loads(kept)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(model.network, nn.Module)
