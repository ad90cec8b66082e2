"""Files of arrays with names, .npz and .mat, as people write them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.io import savemat

from jointadapt import read_domain
from jointadapt.errors import UserError

X = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
Y = np.arange(40) % 3
ONE_HOT = np.eye(3)[Y]
NAMES = np.array(["a", "b", "c"], dtype=object)[Y]
PIXELS = np.zeros((40, 8, 8, 3), np.uint8)


def saved(path: Path, *unnamed: np.ndarray, **named: Any) -> Path:
    if path.suffix == ".mat":
        savemat(path, named)
    else:
        np.savez(path, *unnamed, **named)
    return path


@pytest.mark.parametrize(
    "named",
    [
        {"x_train": X, "y_train": Y, "x_test": X[:9], "y_test": Y[:9]},
        {"X_train": X, "Y_train": Y, "X_test": X[:9], "Y_test": Y[:9]},
        {"X": X, "Y": Y[:, None]},
        {"x": X, "y": Y[None]},
        {"x": X, "y": ONE_HOT},
        {"embeddings": X, "labels": Y},
        {"feat": X, "label": Y},
        {"x": X[:9], "features": X, "y": Y},
        {"x": X, "targets": Y},
        {"x": X, "gt": Y},
        {"x_test": X, "y_test": Y},
        {"features": X, "y_train": Y},
        {"x": X.astype(">f4"), "y": Y.astype(">i8")},
        {"x": X, "y": Y.astype(np.float32)},
        {"x": X, "y": Y, "feature_names": np.array(list("abcde"))},
        {"activations_of_layer_3": X, "y": Y},
    ],
)
def test_rows_and_labels_are_found_by_name(tmp_path: Path, named: dict) -> None:
    domain = read_domain(saved(tmp_path / "data.npz", **named))
    assert np.array_equal(domain.rows(range(40)).numpy(), X)
    assert domain.classes == ("0", "1", "2")
    assert domain.labels.tolist() == Y.tolist()


def test_arrays_without_names_are_rows_and_labels(tmp_path: Path) -> None:
    domain = read_domain(saved(tmp_path / "data.npz", X, Y))
    assert domain.labels.tolist() == Y.tolist()
    assert not read_domain(saved(tmp_path / "rows.npz", X)).labelled


def test_labels_may_be_objects_that_are_texts(tmp_path: Path) -> None:
    assert read_domain(saved(tmp_path / "data.npz", x=X, y=NAMES)).classes == ("a", "b", "c")
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "rows_labels.npy", NAMES, allow_pickle=True)
    assert read_domain(tmp_path / "rows.npy").classes == ("a", "b", "c")


class Opens:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_objects_that_would_run_are_refused_and_not_run(tmp_path: Path) -> None:
    dangerous = np.array([Opens(tmp_path / "was run")] * 40, dtype=object)
    path = saved(tmp_path / "data.npz", x=X, y=dangerous)
    with pytest.raises(UserError, match=r"cannot be read as a NumPy archive \(it would load pathlib"):
        read_domain(path)
    assert not (tmp_path / "was run").exists()
    pickle.loads(pickle.dumps(dangerous[0]))
    assert (tmp_path / "was run").exists()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"p": X, "q": X, "y": Y}, "holds p, q, y; name the rows x or features or images or data, and labels y"),
        ({"x_train": X, "y": Y[:9]}, "one label a row is needed, 40 in all; got labels of shape"),
        ({"x": X, "y": Y + 0.25}, "real numbers"),
        ({"x": X + 0j, "y": Y}, "complex"),
        ({"Xs": X, "Ys": Y, "Xt": X, "Yt": Y}, "holds both domains, Xs and Xt; save each into a file of its own"),
        ({"x": X.astype(str), "y": Y}, "numbers are needed"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path: Path, named: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_domain(saved(tmp_path / "data.npz", **named))


def test_two_matrices_that_may_be_the_rows_are_told(tmp_path: Path) -> None:
    (note,) = read_domain(saved(tmp_path / "data.npz", x=X, features=X + 1, y=Y)).notes
    assert "the rows are those of 'x'; 'features' may be rows too" in note
    (note,) = read_domain(saved(tmp_path / "data.npz", layer=X, y=Y)).notes
    assert "the rows are those of 'layer', the only matrix there" in note


@pytest.mark.parametrize(
    ("named", "classes"),
    [
        ({"fts": X, "labels": Y[:, None] + 1.0}, ("1", "2", "3")),
        ({"fea": X, "gnd": Y[:, None]}, ("0", "1", "2")),
        ({"Xs": X, "Ys": Y}, ("0", "1", "2")),
        ({"X": X.T, "Y": Y[:, None] + 1}, ("1", "2", "3")),
        ({"X": X.T, "Y": Y + 1}, ("1", "2", "3")),
        ({"X": X, "y": NAMES}, ("a", "b", "c")),
        ({"X": X, "y": NAMES.astype(str)}, ("a", "b", "c")),
        ({"X": X, "y": ONE_HOT}, ("0", "1", "2")),
        ({"data": {"X": X, "y": Y}}, ("0", "1", "2")),
        ({"X": sparse.csc_matrix(X), "y": Y}, ("0", "1", "2")),
    ],
)
def test_files_of_matlab(tmp_path: Path, named: dict, classes: tuple) -> None:
    domain = read_domain(saved(tmp_path / "data.mat", **named))
    assert np.array_equal(domain.rows(range(40)).numpy(), X)
    assert domain.classes == classes
    assert domain.labels.tolist() == Y.tolist()
    transposed = named.get("X") is not None and named["X"].shape == (5, 40)
    assert ["its columns are taken as the rows" in note for note in domain.notes] == [True] * transposed


@pytest.mark.parametrize("count", [40, 8])
def test_images_of_matlab_have_the_examples_on_the_axis_of_the_labels(tmp_path: Path, count: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    y = np.arange(count) % 12 + 1
    for images in (x, x.transpose(1, 2, 3, 0)):
        domain = read_domain(saved(tmp_path / "data.mat", X=images, y=y))
        assert len(domain) == count
        assert domain.classes == tuple(map(str, range(1, min(count, 12) + 1)))
        assert (domain.rows([3]) * 255).round().numpy()[0].transpose(1, 2, 0).tolist() == x[3].tolist()


def test_only_labels_of_svhn_have_a_ten_that_is_zero(tmp_path: Path) -> None:
    ten = np.where(Y == 0, 10, Y)
    small = saved(tmp_path / "small.mat", X=PIXELS.transpose(1, 2, 3, 0), y=ten)
    assert read_domain(small).classes == ("1", "2", "10")
    svhn = np.zeros((32, 32, 3, 40), np.uint8)
    assert read_domain(saved(tmp_path / "svhn.mat", X=svhn, y=ten)).classes == ("0", "1", "2")
    assert read_domain(saved(tmp_path / "other.mat", X=svhn, y=Y * 5 + 1)).classes == ("1", "6", "11")


def test_images_of_matlab_without_a_telling_axis_are_asked_about(tmp_path: Path) -> None:
    for named in ({"X": np.zeros((3, 8, 8, 3)), "y": Y}, {"X": np.zeros((8, 8, 8, 8))}):
        with pytest.raises(UserError, match="which axis counts the images"):
            read_domain(saved(tmp_path / "data.mat", **named))
