"""Labels as people have them: missing, in other spellings, in other containers, and those that are none."""

import unicodedata
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import Command, draw, draw_folder
from pyarrow import parquet

from jointadapt import train
from jointadapt.data import UNLABELLED, Domain, align, from_arrays, read_domain
from jointadapt.data.labels import encode_labels
from jointadapt.data.target_labels import label_rows
from jointadapt.errors import UserError

X = np.arange(12, dtype=np.float32).reshape(6, 2)
QUICK = {"steps": 5, "baseline": False, "report": False}


def write(path: Path, labels: list) -> Path:
    """Write six rows with these labels in the format of the path."""
    match path.suffix:
        case ".npz":
            np.savez(path, x=X, y=np.array(labels))
        case ".csv":
            path.write_text("\n".join(["p,q,label", *(f"{a},{b},{y}" for (a, b), y in zip(X, labels, strict=True))]))
        case ".parquet":
            parquet.write_table(pa.table({"p": X[:, 0], "q": X[:, 1], "label": labels}), path)
    return path


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
@pytest.mark.parametrize(
    ("labels", "classes"), [([-1, 1] * 3, ("-1", "1")), ([-1, 0, 1] * 2, ("-1", "0", "1"))], ids=["two", "three"]
)
def test_minus_one_is_a_class_in_every_format(tmp_path: Path, suffix: str, labels: list, classes: tuple) -> None:
    domain = read_domain(write(tmp_path / f"a.{suffix}", labels))
    assert domain.classes == classes
    assert (domain.labels != UNLABELLED).all()
    assert [note for note in domain.notes if "−1 is the label of 2 rows" in note] == list(domain.notes)
    assert bool(domain.notes) == ("0" in classes)


def test_minus_one_is_no_label_where_it_is_said_to_be() -> None:
    domain = from_arrays(X, [-1, 0, 1] * 2, unlabelled=-1)
    assert domain.labels.tolist() == [-1, 0, 1] * 2
    assert not domain.notes
    assert from_arrays(X, ["none", "a", "b"] * 2, unlabelled="none").classes == ("a", "b")


def test_minus_one_in_an_image_list_is_no_label_beside_indices(tmp_path: Path) -> None:
    def listed(*labels: str) -> Domain:
        lines = [f"{number}.png {label}" for number, label in enumerate(labels)]
        for number in range(len(labels)):
            draw(tmp_path / f"{number}.png")
        (tmp_path / "list.txt").write_text("\n".join(lines))
        return read_domain(tmp_path / "list.txt")

    assert listed("-1", "0", "2").labels.tolist() == [UNLABELLED, 0, 1]
    assert listed("-1", "1", "1").classes == ("-1", "1")
    assert not listed("-1", "-1").labelled
    with pytest.raises(UserError, match="−1 beside 0 and 1 mean a class, or none"):
        listed("-1", "0", "1")


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
@pytest.mark.parametrize("text", ["NA", "NaN", "?", "null"])
def test_a_missing_label_is_the_same_text_in_every_format(tmp_path: Path, suffix: str, text: str) -> None:
    domain = read_domain(write(tmp_path / f"a.{suffix}", ["a", "b", text] * 2))
    assert domain.classes == ("a", "b")
    assert domain.labels.tolist() == [0, 1, UNLABELLED] * 2
    assert f"the labels {text!r} (2) mean that there is none" in domain.notes[0]


def test_a_class_folder_that_is_called_missing_has_no_label(tmp_path: Path) -> None:
    domain = read_domain(draw_folder(tmp_path, 2, ("NA", "cat", "nan", "owl")))
    assert domain.classes == ("cat", "owl")
    assert domain.labels.tolist() == [UNLABELLED] * 2 + [0] * 2 + [UNLABELLED] * 2 + [1] * 2
    assert "images in NA, nan have no label; if it is a class, give it another name" in domain.notes[0]


def test_source_rows_without_a_label_are_counted() -> None:
    _, (note,) = align(from_arrays(X, ["a", "b", None] * 2), from_arrays(X))
    assert note == "2 of 6 rows of the source have no label; they are left out."


@pytest.mark.parametrize("labels", [[0.25, 1.5, 2, 3, 4, 5], [Decimal("0.5")] * 6, torch.rand(6), np.inf * np.ones(6)])
def test_real_numbers_are_a_regression_and_refused(labels: object) -> None:
    with pytest.raises(UserError, match=r"the labels are real numbers .* classes are needed; bin them"):
        from_arrays(X, labels)  # pyright: ignore[reportArgumentType]


def test_real_numbers_as_text_are_refused_where_they_are_many() -> None:
    with pytest.raises(UserError, match="real numbers"):
        encode_labels([f"{number + 0.25}" for number in range(60)], 60, "prices")
    assert encode_labels(["1.5", "2.5"] * 30, 60, "doses").classes == ("1.5", "2.5")


def test_a_class_for_every_row_is_told() -> None:
    (note,) = encode_labels(list(range(60)), 60, "ids").notes
    assert "60 classes in 60 rows" in note


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 0.0, "0", "0.0", 1, "1"], ("0", "1")),
        ([True, "true", "TRUE", False, "false", "False"], ("False", "True")),
        ([0, False, "1", True, 1.0, "0.0"], ("0", "1")),
        (["a", " a", "a\t", "\ufeffa", "b", "b\xa0"], ("a", "b")),
        ([unicodedata.normalize(form, "thé") for form in ("NFC", "NFD", "NFC")] + ["lait"] * 3, ("lait", "thé")),
        ([b"a", "a", b"b", "b", "a", "a"], ("a", "b")),
        ([1, 2, 10, "x", 3, 4], ("1", "2", "3", "4", "10", "x")),
        ([np.int8(1), np.float32(1), torch.tensor(1), Decimal(1), 2, np.bool_(True)], ("1", "2", "True")),
        (["1e3", "01", "1", "1", "1", "1"], ("1", "01", "1e3")),
    ],
)
def test_certain_spellings_of_one_class_are_joined(labels: list, classes: tuple) -> None:
    assert encode_labels(labels, 6, "a").classes == classes


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[0], [1], [2]] * 2),
        np.array([[0, 1, 2] * 2]),
        np.eye(3)[[0, 1, 2] * 2],
        np.eye(3, dtype=bool)[[0, 1, 2] * 2],
        torch.eye(3)[[0, 1, 2] * 2],
        [[0], [1], [2]] * 2,
        [torch.tensor(0), torch.tensor(1), torch.tensor(2)] * 2,
        np.array([0, 1, 2] * 2, dtype=">i8"),
        np.array([(0,), (1,), (2,)] * 2, dtype=[("label", int)]),
        pa.chunked_array([[0, 1, 2], [0, 1, 2]]),
    ],
)
def test_labels_in_other_containers(labels: object) -> None:
    encoded = encode_labels(labels, 6, "a")
    assert encoded.classes == ("0", "1", "2")
    assert encoded.indices.tolist() == [0, 1, 2] * 2


def test_a_masked_label_is_missing_and_a_day_is_a_name() -> None:
    masked = np.ma.masked_array([0, 1, 2] * 2, mask=[0, 0, 1] * 2)
    assert from_arrays(X, masked).labels.tolist() == [0, 1, UNLABELLED] * 2
    days = np.array(["2020-01-01", "2021-01-01"] * 3, dtype="M8[D]")
    assert from_arrays(X, days).classes == ("2020-01-01", "2021-01-01")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("label", "got labels in a str"),
        (dict.fromkeys(range(6), "a"), "got labels in a dict"),
        ([("a", 1)] * 6, "got 6 labels, each a tuple"),
        (np.ones((6, 2)), r"got labels of shape \(6, 2\)"),
        ([1 + 0j] * 6, "a label is a number or a name"),
        (7, "one label a row"),
    ],
)
def test_what_is_no_label_is_refused(labels: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        encode_labels(labels, 6, "a")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["Dog", "Cat", "Owl"], ["dog", "cat", "owl"]),
        (["coffee_mug", "flat-screen", "x"], ["coffee mug", "FlatScreen", "X"]),
        (["01", "02", "10"], ["1", "2", "10"]),
        ([False, True, True], [0, 1, 1]),
        ([0, 1, 1], [False, True, True]),
        (["FALSE", "TRUE", "TRUE"], [0, 1, 1]),
        (["a", "b", "c"], ["A", "B", "C"]),
    ],
)
def test_a_class_in_another_spelling_is_the_sources_where_each_domain_has_one(ours: list, theirs: list) -> None:
    source, target = from_arrays(X, ours * 2), from_arrays(X, theirs * 2, "phone")
    aligned, notes = align(source, target)
    assert aligned.labels.tolist() == source.labels.tolist()
    assert not notes
    assert "phone: classes in another spelling are read as the source's: " in aligned.notes[-1]


def test_two_spellings_in_one_domain_are_asked_about() -> None:
    plain, both = from_arrays(X, ["dog", "cat"] * 3, "plain"), from_arrays(X, ["dog", "Dog", "cat"] * 2, "both")
    for source, target in ((plain, both), (both, plain), (both, plain.unlabelled())):
        with pytest.raises(UserError, match=r"both: are 'D?d?og' and 'D?d?og' one class in two spellings, or two"):
            align(source, target)
    assert align(both, both)[0].labels.tolist() == both.labels.tolist()  # they know what they do


def test_letters_and_signs_are_classes_of_their_own() -> None:
    for labels in (
        ["a", "A", "b", "B", "c", "C"],
        ["C", "C++", "C#", "B", "B-", "B+"],
        ["1-2", "12", "1", "-1", "x", "y"],
    ):
        source = from_arrays(X, labels)
        align(source, from_arrays(X))
        assert len(source.classes) == 6


def test_class_folders_in_another_spelling_train(tmp_path: Path, command: Command) -> None:
    draw_folder(tmp_path / "s", classes=("coffee mug", unicodedata.normalize("NFC", "écran")))
    draw_folder(tmp_path / "t", classes=("Coffee_Mug", unicodedata.normalize("NFD", "écran")))
    source, target = read_domain(tmp_path / "s"), read_domain(tmp_path / "t")
    assert align(source, target)[0].labels.tolist() == source.labels.tolist()
    draw_folder(tmp_path / "s", classes=("COFFEE MUG",))
    told = command("train", "--source", tmp_path / "s", "--target", tmp_path / "t", "--out", tmp_path / "run")
    assert told.code == 2
    assert "one class in two spellings, or two classes?" in told.err


def test_training_on_signs_keeps_every_row() -> None:
    y = np.array([-1, 0, 1] * 20)
    x = np.random.default_rng(0).normal(size=(60, 4)) + y[:, None]
    with pytest.warns(UserWarning, match="−1 is the label of 20 rows and is taken for a class"):
        run = train((x, y), (x, y), **QUICK)
    assert run.model.classes == ("-1", "0", "1")
    assert run.summary.evaluation is not None
    assert run.summary.evaluation.rows == 60


def test_classes_counted_from_another_number_are_told() -> None:
    *_, note = align(from_arrays(X, [0, 1, 2] * 2), from_arrays(X, [1, 2, 3] * 2))[1]
    assert "the numbers 0 to 2, the target's 1 to 3: if they are the same classes, count them from one number" in note
    assert len(align(from_arrays(X, [0, 1, 2] * 2), from_arrays(X, [1, 2, 4] * 2))[1]) == 2


def test_a_label_by_hand_may_be_spelled_in_another_way() -> None:
    target = from_arrays(X, ["coffee mug", "monitor"] * 3)
    given = label_rows(target, {"row 0": "Monitor", "row 1": "coffee_mug"})
    assert given.tolist() == [1, 0] + [UNLABELLED] * 4
    with pytest.raises(UserError, match="unknown class 'mug'"):
        label_rows(target, {"row 0": "mug"})
