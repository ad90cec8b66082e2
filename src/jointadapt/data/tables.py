"""CSV and Parquet → domains."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from jointadapt.data import arrays
from jointadapt.data.arrays import LABEL_KEYS, first_named, from_arrays, refuse_bomb, row_names
from jointadapt.data.domain import Domain
from jointadapt.data.images import fingerprint
from jointadapt.data.kinds import AS_IT_SAYS, Reading
from jointadapt.data.labels import encode_labels
from jointadapt.data.mapped import map_rows
from jointadapt.errors import UserError, as_user_error
from jointadapt.runtime.files import write_atomically
from jointadapt.runtime.progress import Track

BATCH = 16_384  # rows of a table at a time
ITEM_KEYS = ("item", "path", "id", "name", "file")


def read_csv(path: Path, reading: Reading = AS_IT_SAYS) -> Domain:  # noqa: ARG001
    """Return the rows of a CSV file: numeric columns are features, one of `LABEL_KEYS` the label."""
    with as_user_error(path, "as a table"):
        return _from_table(csv.read_csv(str(path)), path)


def read_parquet(path: Path, cache: Path, track: Track, reading: Reading = AS_IT_SAYS) -> Domain:  # noqa: ARG001
    """Return a table's rows; of a large one its features as a file of the cache, written batch by batch."""
    with as_user_error(path, "as a table"), parquet.ParquetFile(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
        flat = [field for field in schema if not pa.types.is_nested(field.type)]
        others = [field.name for field in flat if field.name.lower() in LABEL_KEYS + ITEM_KEYS]
        features = [field.name for field in flat if _is_numeric(field.type) and field.name not in others]
        left_out = [name for name in schema.names if name not in (*features, *others)]
        _check_parquet(path, file.metadata, len(features) + len(others))
    with as_user_error(path, "as a table"), parquet.ParquetFile(path, read_dictionary=others) as file:
        if 4 * rows * len(features) < arrays.IN_MEMORY:
            return _from_table(file.read(columns=[*features, *others]), path, left_out)
        named = {name.lower(): _values(file.read(columns=[name]).column(0)) for name in others}
        copy = cache / f"rows-{fingerprint([path])}.npy"
        content = map_rows(copy, 0, path)
        if content is None or content.shape != (rows, len(features)):
            batches = track(file.iter_batches(BATCH, columns=features), -(-rows // BATCH), f"reading {path.stem}")
            write_atomically(copy, lambda out: _write_npy(out, (rows, len(features)), batches))
            content = map_rows(copy, 0, path)
    assert content is not None
    labels, classes, notes = encode_labels(first_named(named, LABEL_KEYS), rows, path.stem)
    items = first_named(named, ITEM_KEYS)
    names = map(str, items) if items is not None else row_names(rows)
    return Domain(path.stem, content, labels, classes, tuple(names), (*notes, *_notes(path, left_out)))


def _check_parquet(path: Path, metadata: parquet.FileMetaData, columns: int) -> None:
    """Refuse a table that would grow beyond all measure: in its pages, or by a value that stands for a million rows."""
    pages = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    refuse_bomb(path, max(pages, 8 * metadata.num_rows * columns), "as .npy")


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values; of a dictionary's, those that are equal are one object."""
    if not pa.types.is_dictionary(column.type):
        return column.to_pylist()
    known = [(chunk.dictionary.to_pylist(), chunk.indices.to_pylist()) for chunk in column.chunks]
    return [None if index is None else values[index] for values, indices in known for index in indices]


def _write_npy(file: Any, shape: tuple[int, int], batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches of columns as one matrix of float32."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for batch in batches:
        columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        file.write(np.stack(columns, axis=1).astype("<f4").tobytes())


def _from_table(table: pa.Table, path: Path, unread: Sequence[str] = ()) -> Domain:
    """Return a table's rows; columns that are not numeric, and those left `unread`, are named in a note."""
    columns = {name.lower(): column for name, column in zip(table.column_names, table.columns, strict=True)}
    if len(columns) < table.num_columns:
        raise UserError(
            f"{path} has two columns of one name (its columns: {', '.join(table.column_names)}); rename one."
        )
    label, items = first_named(columns, LABEL_KEYS), first_named(columns, ITEM_KEYS)
    others = {name: column for name, column in columns.items() if name not in LABEL_KEYS + ITEM_KEYS}
    features = [column.cast(pa.float64()) for column in others.values() if _is_numeric(column.type)]
    left_out = [*unread, *(name for name, column in others.items() if not _is_numeric(column.type))]
    if not features:
        raise UserError(
            f"{path} has no numeric columns; each is one feature (its columns: {', '.join([*columns, *unread])})."
        )
    x = np.stack([column.to_numpy() for column in features], axis=1)
    names = [str(item) for item in _values(items)] if items is not None else None
    domain = from_arrays(x, _values(label) if label is not None else None, path.stem, names)
    return replace(domain, notes=(*domain.notes, *_notes(path, left_out)))


def _notes(path: Path, left_out: Sequence[str]) -> tuple[str, ...]:
    return (f"{path}: {', '.join(left_out)} left out, as not numeric.",) if left_out else ()


def _is_numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
