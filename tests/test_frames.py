"""Frames and annotated data as domains: columns by name, labels and domains in columns, in every face."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from jointadapt import Model, from_arrays, train
from jointadapt.errors import UserError

QUICK = {"steps": 60, "batch_size": 12, "baseline": False, "report": False}
GENERATOR = np.random.default_rng(0)
Y = np.arange(60) % 3
X = GENERATOR.normal(size=(60, 4)) + 4 * np.eye(4)[Y]
LABELS = np.array(["a", "b", "c"])[Y]
SITE = np.where(np.arange(60) < 30, "A", "B")
NAMES = ["p", "q", "r", "s"]


def columns(order: Any = range(4), **more: Any) -> dict[str, Any]:
    return {NAMES[place]: X[:, place] for place in order} | more


def frame_of(library: str, data: dict[str, Any]) -> Any:
    if library == "pyarrow":
        return pa.table(data)
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    return module.DataFrame({name: list(values) for name, values in data.items()})


def accuracy(source: Any, target: Any = None, **options: Any) -> float:
    evaluation = train(source, target, **{**QUICK, **options}).summary.evaluation
    assert evaluation is not None
    return evaluation.accuracy


LIBRARIES = pytest.mark.parametrize("library", ["pyarrow", "pandas", "polars"])


@LIBRARIES
def test_columns_are_matched_by_name_and_labels_are_a_column(library: str, tmp_path: Any) -> None:
    source = frame_of(library, columns(label=LABELS))
    target = frame_of(library, columns([2, 0, 3, 1], label=LABELS))
    assert accuracy(source, target) > 90
    assert accuracy((frame_of(library, columns(kind=LABELS)), "kind"), target, out=tmp_path / "run") > 90
    model, turned = Model.load(tmp_path / "run"), frame_of(library, columns([3, 2, 1, 0]))
    assert (np.array(model.predict(from_arrays(turned))) == LABELS).mean() > 0.9


@LIBRARIES
def test_labels_may_be_given_beside_a_frame(library: str) -> None:
    frame = frame_of(library, columns())
    assert accuracy((frame, LABELS), (frame_of(library, columns([1, 0, 2, 3])), list(LABELS))) > 90
    with pytest.raises(UserError, match="labels are given twice, as y and in a column of the frame"):
        from_arrays(frame_of(library, columns(label=LABELS)), LABELS)
    with pytest.raises(UserError, match=r"there is no column 'species' with labels \(its columns: p, q, r, s\)"):
        from_arrays(frame, "species")


@LIBRARIES
def test_one_frame_is_split_by_its_column_of_domains(library: str) -> None:
    frame = frame_of(library, columns(label=LABELS, site=SITE))
    run = train(frame, domain_column="site", target_domain="B", **QUICK)
    assert (run.summary.source.rows, run.summary.target.rows) == (30, 30)
    assert run.model.shape == (4,)
    assert run.summary.evaluation is not None
    assert run.summary.evaluation.accuracy > 90


def test_a_frame_beside_an_array_is_told() -> None:
    with pytest.warns(UserWarning, match="its 4 columns have no names, and are taken in their order"):
        assert accuracy(pa.table(columns(label=LABELS)), (X, LABELS)) > 90


def test_categories_and_truths_of_pandas() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    colour = pandas.Categorical(np.array(["red", "green", "blue"])[Y])
    frame = pandas.DataFrame({"colour": colour, "large": Y > 1, "kind": pandas.Categorical(LABELS)}, index=range(9, 69))
    assert accuracy((frame, "kind"), (frame.iloc[::-1], "kind")) == 100


def annotated(x: Any, order: Any = range(4), **obs: Any) -> Any:
    table = pa.table(obs)
    return SimpleNamespace(
        X=x, obs=table, var_names=[NAMES[i] for i in order], obs_names=[f"cell {i}" for i in range(len(LABELS))]
    )


def test_annotated_data_match_by_the_names_of_their_columns() -> None:
    source = annotated(sparse.csr_matrix(X), label=LABELS)
    target = annotated(X[:, [2, 0, 3, 1]], [2, 0, 3, 1], cell_type=LABELS)
    assert accuracy(source, (target, "cell_type")) > 90
    assert from_arrays(source).items[7] == "cell 7"
    one = annotated(X, cell_type=LABELS, site=SITE)
    assert accuracy(one, domain_column="site", target_domain="B", label_column="cell_type") > 90
    with pytest.raises(UserError, match="lacks the column s, which the source has"):
        train(source, annotated(X[:, :3], range(3), label=LABELS), **QUICK)


def test_hugging_face_s_classes_have_their_names() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    features = datasets.Features(
        {**dict.fromkeys(NAMES, datasets.Value("float64")), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    data = {name: values.tolist() for name, values in columns().items()}
    source = datasets.Dataset.from_dict({**data, "label": Y.tolist()}, features=features)
    target = datasets.Dataset.from_dict({**data, "label": [-1] * 60}, features=features)
    assert from_arrays(source).classes == ("a", "b", "c")
    assert not from_arrays(target).labelled
    assert accuracy(source, source.shuffle(seed=0)) > 90
