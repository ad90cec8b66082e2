"""Tables of any model's class probabilities: CSV and other text, Parquet, Feather, `.npz` → tensors, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import feather, parquet
from torch import Tensor

from jointadapt.data import UNLABELLED
from jointadapt.data.delimited import read_delimited
from jointadapt.data.labels import encode_labels, translate_classes
from jointadapt.data.table_rows import TableRows, as_float64, is_number
from jointadapt.data.tables import column_values
from jointadapt.diagnostics.accuracy.combination import estimate_accuracy
from jointadapt.errors import UserError, as_user_error, some, unknown_name
from jointadapt.evaluation.metrics import evaluate
from jointadapt.runs.summary import AccuracyEstimate

LABELS = ("label", "labels", "y")
ROWS = ("probabilities", "probs", "p", "arr_0")
NAMES = ("item", "path", "id", "name", "file")
ROUNDING = 0.01  # that the probabilities of a row may miss 1 by


@dataclass(frozen=True)
class ProbabilityTable:
    """Probabilities (n, c) of examples by class, and their labels (n,), `UNLABELLED` where there is none."""

    probabilities: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    @property
    def labelled(self) -> "ProbabilityTable":
        """The rows that have a label."""
        known = self.labels != UNLABELLED
        return ProbabilityTable(self.probabilities[known], self.labels[known], self.classes)

    def in_classes(self, classes: Sequence[str], where: str) -> "ProbabilityTable":
        """Return the table with its columns in the order of these classes; a `UserError` where they are others."""
        names = translate_classes(list(self.classes), tuple(classes), where)
        place = {names.get(name, name): position for position, name in enumerate(self.classes)}
        if set(place) != set(classes):
            raise UserError(
                f"{where} has the columns {some(self.classes)}, and the other table {some(classes)}; give both a "
                "column for each class, of the same names."
            )
        order = [place[name] for name in classes]
        back = torch.tensor([list(classes).index(names.get(name, name)) for name in self.classes])
        labels = self.labels.where(self.labels == UNLABELLED, back[self.labels])
        return ProbabilityTable(self.probabilities[:, order], labels, tuple(classes))


def read_probabilities(path: str | Path) -> ProbabilityTable:
    """Return the table of a file: a column for each class, named by it, and maybe a column `label`.

    Of an `.npz` the array `probabilities` (n, c), with `label` (n,) and the names `classes` (c,) where it has them; the
    classes are called 0, 1, … if not. A column `item` (path, id, name, file) is passed over.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is no file; give a table of probabilities (.csv, .parquet, .feather, .npz).")
    with as_user_error(path, "as a table of probabilities"):
        found = _of_arrays(path) if path.suffix.lower() == ".npz" else _of_columns(path)
    _check(found, path)
    total = found.probabilities.sum(1, keepdim=True)
    return ProbabilityTable(found.probabilities / total, found.labels, found.classes)


def _of_columns(path: Path) -> ProbabilityTable:
    match path.suffix.lower():
        case ".parquet":
            table = parquet.read_table(path)
        case ".feather" | ".arrow":
            table = feather.read_table(path, memory_map=False)
        case _:
            table, _ = read_delimited(path, LABELS)
    table = TableRows.of(table, str(path)).table
    labels = next((name for name in table.column_names if name.casefold() in LABELS), None)
    left_out = [name for name in table.column_names if name == labels or name.casefold() in NAMES]
    classes = tuple(name for name in table.column_names if name not in left_out)
    texts = [name for name in classes if not _holds_numbers(table.column(name))]
    if texts:
        raise UserError(
            f"{path}: the column {texts[0]!r} holds no numbers; each column but label and item is a class's "
            "probabilities."
        )
    columns = [as_float64(table.column(name)) for name in classes]
    rows = torch.from_numpy(np.stack(columns, axis=1)) if columns else torch.zeros(table.num_rows, 0)
    values = None if labels is None else column_values(table.column(labels))
    return ProbabilityTable(rows, _labels(values, len(rows), classes, path), classes)


def _holds_numbers(column: pa.ChunkedArray) -> bool:
    return is_number(column.type)


def _of_arrays(path: Path) -> ProbabilityTable:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name.casefold(): file[name] for name in file.files}
    name = next((name for name in ROWS if name in arrays), None)
    if name is None or arrays[name].ndim != 2:
        raise UserError(
            f"{path} holds {some(arrays)}; name the probabilities (n, classes) probabilities, labels label."
        )
    rows = torch.from_numpy(arrays[name].astype(np.float64))
    classes = tuple(map(str, arrays.get("classes", range(rows.shape[1]))))
    if len(classes) != rows.shape[1]:
        raise UserError(f"{path} names {len(classes)} classes for {rows.shape[1]} columns of probabilities; name each.")
    values = next((arrays[name].tolist() for name in LABELS if name in arrays), None)
    return ProbabilityTable(rows, _labels(values, len(rows), classes, path), classes)


def _labels(values: list | None, rows: int, classes: tuple[str, ...], path: Path) -> Tensor:
    """Return labels as indices into the classes."""
    found = encode_labels(values, rows, str(path))
    names = translate_classes(list(found.classes), classes, str(path))
    for name in found.classes:
        if name not in names:
            raise unknown_name(f"class of {path}'s labels", name, classes)
    translation = torch.tensor([*(classes.index(names[name]) for name in found.classes), UNLABELLED])
    return translation[found.indices]


def _check(table: ProbabilityTable, path: Path) -> None:
    """Refuse what are no probabilities, and say in which row."""
    rows, classes = table.probabilities, table.classes
    if not len(rows) or len(classes) < 2:
        raise UserError(
            f"{path} has {len(rows)} rows and {len(classes)} columns of probabilities ({some(classes)}); give one "
            "column for each class, of two classes or more."
        )
    wrong = ~(rows.isfinite().all(1) & (rows >= 0).all(1) & ((rows.sum(1) - 1).abs() <= ROUNDING))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        shown = ", ".join(f"{name} {value:.4g}" for name, value in zip(classes, rows[row].tolist(), strict=True))
        raise UserError(
            f"{path}: row {row} holds {shown[:120]}, and probabilities of a row are from 0 to 1 with sum 1; of logits "
            "give the softmax, and leave out columns that are no class's."
        )


def estimate_from_tables(
    source: str | Path, target: str | Path, others: Sequence[str | Path] = ()
) -> tuple[AccuracyEstimate, float | None]:
    """Return the estimate for any model, and its true accuracy in percent where the target's table has labels.

    Args:
        source: the file of its probabilities of labelled source examples that it was not trained on.
        target: of target examples; labels found there serve evaluation only.
        others: of the same target examples, by other models.
    """
    held, seen = read_probabilities(source), read_probabilities(target)
    if not (held.labels != UNLABELLED).any():
        raise UserError(f"{source} has no labels; give the classes of its rows in a column label.")
    held, seen = held.labelled, seen.in_classes(held.classes, str(target))
    witnesses = [read_probabilities(path).in_classes(held.classes, str(path)) for path in others]
    for path, witness in zip(others, witnesses, strict=True):
        if len(witness.labels) != len(seen.labels):
            raise UserError(
                f"{path} has {len(witness.labels)} rows, and {target} {len(seen.labels)}; give the same rows."
            )
    predicted = [witness.probabilities.argmax(1) for witness in witnesses]
    found = estimate_accuracy(held.probabilities, held.labels, seen.probabilities, predicted)
    measured = evaluate(seen.probabilities.argmax(1), seen.labels, len(seen.classes))
    return found, measured and measured.accuracy
