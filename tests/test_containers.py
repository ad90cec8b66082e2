"""What people hold numbers in: frames, sparse and masked matrices, tensors, arrays in other forms."""

import warnings
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import sparse

from jointadapt import two_sample_test
from jointadapt.errors import UserError
from jointadapt.runtime import containers
from jointadapt.runtime.containers import as_numbers, as_table, is_frame

X = np.arange(12.0).reshape(6, 2) / 4
with warnings.catch_warnings():
    warnings.simplefilter("ignore", PendingDeprecationWarning)  # NumPy advises against its matrices
    MATRIX = np.asmatrix(X)
RECORDS = np.array([tuple(row) for row in X], dtype=[("a", float), ("b", "f4")])
FORMS = {
    "float32": X.astype(np.float32),
    "float16": X.astype(np.float16),
    "longdouble": X.astype(np.longdouble),
    "big-endian": X.astype(">f8"),
    "reversed": X[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran": np.asfortranarray(X),
    "objects": X.astype(object),
    "decimals": np.array([[Decimal(str(value)) for value in row] for row in X], dtype=object),
    "records": RECORDS,
    "masked, without a gap": np.ma.masked_array(X, False),
    "matrix": MATRIX,
    "lists": X.tolist(),
    "list of tensors": list(torch.tensor(X)),
    "tensor that has a gradient": torch.tensor(X, requires_grad=True),
    "bfloat16": torch.tensor(X, dtype=torch.bfloat16),
    "sparse tensor": torch.tensor(X).to_sparse(),
    "csr": sparse.csr_matrix(X),
    "coo array": sparse.coo_array(X),
    "csc float64": sparse.csc_array(X),
    "table": pa.table({"a": X[:, 0], "b": X[:, 1]}),
    "batch": pa.record_batch({"a": X[:, 0], "b": X[:, 1]}),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("form", FORMS)
def test_rows_in_every_form_are_the_same_numbers(form: str) -> None:
    rows = as_numbers(FORMS[form], "rows")
    assert np.array_equal(rows, X)
    torch.from_numpy(rows)  # which takes neither negative strides nor another byte order


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.ma.masked_array(X, X > 2), r"3 of 12 values are masked, that is, missing; fill them first"),
        (X + 0j, "numbers are needed; got complex ones"),
        (torch.tensor(X) + 0j, "numbers are needed; got complex ones"),
        (sparse.csr_matrix(X + 1j), "got a sparse matrix of complex128"),
        (X.astype(str), "numbers are needed; got text"),
        (np.array([["1.5"]], dtype=object), r"of type object that holds '1.5' \(str\)"),
        (np.zeros(2, "M8[D]"), "got dates"),
        ([[1, 2], [3]], "rows of numbers, all of one length"),
        ({"a": X}, "numbers are needed"),
    ],
)
def test_what_holds_no_numbers_is_refused_in_one_line(given: object, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        as_numbers(given, "rows")
    assert "\n" not in str(error.value)


def test_a_sparse_matrix_too_large_to_be_dense_is_refused() -> None:
    with pytest.raises(UserError, match=r"200,000 × 100,000 would take 74.5 GB; reduce its columns first"):
        as_numbers(sparse.csr_matrix((200_000, 100_000)), "rows")


def test_a_sparse_matrix_is_filled_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "TILE", 4)
    assert np.array_equal(as_numbers(sparse.csr_matrix(X), "rows"), X)


def test_frames_of_pandas() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=["a", "b"], index=range(70, 76))
    assert np.array_equal(as_numbers(frame, "rows"), X)
    assert as_table(frame.set_index("a"), "rows").column_names == ["b"]
    assert as_table(pandas.DataFrame(X), "rows").column_names == ["0", "1"]
    assert as_table(frame.astype(pandas.SparseDtype(float)), "rows").column("b").to_pylist() == X[:, 1].tolist()
    category = as_table(frame.assign(c=pandas.Categorical(["u", "v", None] * 2)), "rows").column("c")
    assert category.to_pylist() == ["u", "v", None] * 2
    with pytest.raises(UserError, match="is no table of columns"):
        as_table(frame.set_axis(["a", "a"], axis=1), "rows")


def test_frames_of_polars() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame(X, schema=["a", "b"])
    for given in (frame, frame.lazy()):
        assert is_frame(given)
        assert np.array_equal(as_numbers(given, "rows"), X)
        assert as_table(given, "rows").column_names == ["a", "b"]


def test_data_sets_of_hugging_face() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    found = datasets.Dataset.from_dict({"a": X[:, 0], "b": X[:, 1]})
    assert np.array_equal(as_numbers(found, "rows"), X)
    assert as_table(found.select([3, 1]), "rows").column("a").to_pylist() == [X[3, 0], X[1, 0]]
    with pytest.raises(UserError, match="this DatasetDict holds train, test; give one of them"):
        as_table(datasets.DatasetDict(train=found, test=found), "rows")


SAMPLES = [name for name in FORMS if name not in ("lists", "list of tensors", "float16", "bfloat16")]


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("form", SAMPLES)
def test_the_two_sample_test_takes_rows_in_every_form(form: str) -> None:
    expected = two_sample_test(X, X[::-1] + 1, permutations=99)
    found = two_sample_test(FORMS[form], X[::-1] + 1, permutations=99)
    assert found.p_value == expected.p_value
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-5)


def test_the_two_sample_test_matches_columns_of_frames_by_name() -> None:
    x = np.random.default_rng(0).normal((0, 5), size=(80, 2))
    source, target = pa.table({"a": x[:40, 0], " b": x[:40, 1]}), pa.table({"b": x[40:, 1], "a": x[40:, 0]})
    assert two_sample_test(source, target, permutations=99).p_value > 0.05
    assert (
        two_sample_test(source, target, permutations=99).p_value
        == two_sample_test(x[:40], x[40:], permutations=99).p_value
    )
    with pytest.raises(UserError, match="target lacks b and has also c, of the columns of source"):
        two_sample_test(source, pa.table({"a": x[:, 0], "c": x[:, 1]}))


def test_the_two_sample_test_takes_a_seed() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    first, again, other = (two_sample_test(x[:20], x[20:], permutations=99, generator=seed) for seed in (3, 3, 4))
    assert torch.equal(first.null, again.null)
    assert not torch.equal(first.null, other.null)
    own = two_sample_test(x[:20], x[20:], permutations=99, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first.null, own.null)


def test_the_two_sample_test_tells_large_integers_apart() -> None:
    ids = np.arange(40)[:, None] + 9_007_199_254_740_000
    assert two_sample_test(ids[:20], ids[20:], permutations=99).rejected
    assert not two_sample_test(ids[::2], ids[1::2], permutations=99).rejected
