"""CSV, other text with separators, Parquet and Feather → domains of named columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather, parquet

from jointadapt.data import arrays
from jointadapt.data.arrays import refuse_bomb, row_names
from jointadapt.data.delimited import OPENERS, read_delimited
from jointadapt.data.domain import Domain
from jointadapt.data.images import fingerprint
from jointadapt.data.kinds import AS_IT_SAYS, Reading
from jointadapt.data.labels import encode_labels
from jointadapt.data.mapped import map_rows
from jointadapt.data.parts import column_named, part_of
from jointadapt.data.table_rows import BLANKS, TableRows, is_number, is_text, some_names
from jointadapt.errors import UserError, as_user_error
from jointadapt.runtime.files import write_atomically
from jointadapt.runtime.progress import Track

BATCH = 16_384  # rows of a table at a time
LABEL_KEYS = ("label", "labels", "y", "class", "target", "y_train", "labels_train")
ITEM_KEYS = ("item", "path", "id", "name", "file")


@dataclass(frozen=True)
class Roles:
    """The names of the columns that are no features: the label, what a row is called, the domain that it is of."""

    label: str | None
    item: str | None
    domain: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of those that there are."""
        return tuple(dict.fromkeys(name for name in (self.label, self.item, self.domain) if name is not None))


def read_csv(path: Path, reading: Reading = AS_IT_SAYS) -> Domain:
    """Return the rows of a CSV file, or of one with other separators."""
    with as_user_error(path, "as a table"):
        known = (*LABEL_KEYS, *ITEM_KEYS, reading.label_column.casefold(), reading.domain_column.casefold())
        table, notes = read_delimited(path, known)
        return from_table(table, stem(path), reading, str(path), notes)


def read_feather(path: Path, reading: Reading = AS_IT_SAYS) -> Domain:
    """Return the rows of a Feather file (Arrow's IPC)."""
    with as_user_error(path, "as a table"):
        return from_table(feather.read_table(path, memory_map=False), stem(path), reading, str(path))


def read_parquet(path: Path, cache: Path, track: Track, reading: Reading = AS_IT_SAYS) -> Domain:
    """Return a table's rows; of a large one its numbers as a file of the cache, written batch by batch."""
    with as_user_error(path, "as a table"), parquet.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        roles = find_roles(schema.names, schema.types, reading, str(path))
        numbers = [field for field in schema if is_number(field.type) and field.name.strip(BLANKS) not in roles.names]
        _check_parquet(path, metadata)
    texts = [field.name for field in schema if is_text(field.type)]
    with as_user_error(path, "as a table"), parquet.ParquetFile(path, read_dictionary=texts) as file:
        if 4 * metadata.num_rows * len(numbers) < arrays.IN_MEMORY:
            return from_table(file.read(), stem(path), reading, str(path))
        return _large(file, path, [field.name for field in numbers], roles, reading, cache, track)


def _large(
    file: parquet.ParquetFile,
    path: Path,
    numbers: Sequence[str],
    roles: Roles,
    reading: Reading,
    cache: Path,
    track: Track,
) -> Domain:
    """Return a large table's rows, its numbers on disk."""
    rows, copy = file.metadata.num_rows, cache / f"rows-{fingerprint([path])}.npy"
    content = map_rows(copy, 0, path)
    if content is None or content.shape != (rows, len(numbers)):
        batches = track(file.iter_batches(BATCH, columns=numbers), -(-rows // BATCH), f"reading {path.stem}")
        write_atomically(copy, lambda out: _write_npy(out, (rows, len(numbers)), batches))
        content = map_rows(copy, 0, path)
    assert content is not None
    others = [name for name in file.schema_arrow.names if name.strip(BLANKS) in roles.names]
    table = file.read(columns=others).rename_columns([name.strip(BLANKS) for name in others])
    left_out = [name for name in file.schema_arrow.names if name not in (*numbers, *others)]
    notes = (f"{path}: {some_names(left_out)} left out, as not numeric.",) if left_out else ()
    domain = replace(
        _of_roles(content, table, roles, stem(path), notes),
        columns=tuple(name.strip(BLANKS) for name in numbers),
        kind="features",
    )
    return _part(domain, table, roles, reading, str(path))


def _check_parquet(path: Path, metadata: parquet.FileMetaData) -> None:
    """Refuse a table that would grow beyond all measure: in its pages, or by a value that stands for a million rows."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    pages = sum(group.total_byte_size for group in groups)
    values = sum(group.column(place).num_values for group in groups for place in range(group.num_columns))
    refuse_bomb(path, max(pages, 8 * values), "as .npy")


def _write_npy(file: Any, shape: tuple[int, int], batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches of columns as one matrix of float32."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for batch in batches:
        columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        file.write(np.stack(columns, axis=1).astype("<f4").tobytes())


def from_table(
    table: pa.Table,
    name: str = "table",
    reading: Reading = AS_IT_SAYS,
    where: str = "",
    notes: Sequence[str] = (),
) -> Domain:
    """Return the rows of a table with the label in a column, and features in all others; `where` it comes from.

    >>> domain = from_table(pa.table({"age": [31, 47], "colour": ["red", "blue"], "label": ["a", "b"]}))
    >>> domain.content.names, domain.classes
    (('age', 'colour'), ('a', 'b'))
    """
    rows, where = TableRows.of(table, where or name), where or name
    roles = find_roles(rows.names, rows.table.schema.types, reading, where)
    features = rows.without(roles.names)
    if not len(rows) or not features.names:
        lacking = "rows" if not len(rows) else "columns but for labels and names; each other column is a feature"
        raise UserError(f"{where} has no {lacking} (its columns: {some_names(rows.names)}).")
    domain = _of_roles(features, rows.table, roles, name, notes)
    return _part(domain, rows.table, roles, reading, where)


def _of_roles(content: Any, table: pa.Table, roles: Roles, name: str, notes: Sequence[str]) -> Domain:
    """Return a domain of rows whose labels and names are columns of a table."""
    label, items = (None if role is None else column_values(table.column(role)) for role in (roles.label, roles.item))
    labels, classes, told = encode_labels(label, table.num_rows, name)
    names = map(str, items) if items is not None else row_names(table.num_rows)
    return Domain(name, content, labels, classes, tuple(names), (*told, *notes), kind="table")


def find_roles(names: Sequence[str], kinds: Sequence[pa.DataType], reading: Reading, where: str) -> Roles:
    """Return which columns are no features; case and blanks around a name do not count.

    The label is the column that the user has named, else the one of `LABEL_KEYS`; two of them are a `UserError`.
    """
    bare = [name.strip(BLANKS) for name in names]
    if reading.label_column:
        label = column_named(bare, reading.label_column)
    else:
        labels = [name for name in bare if name.casefold() in LABEL_KEYS]
        if len(labels) > 1:
            raise UserError(
                f"{where}: {' and '.join(map(repr, labels))} may each be the label; name it with --label-column (in "
                f"Python label_column={labels[0]!r}), and the other is a feature."
            )
        label = labels[0] if labels else None
    called = {name.casefold(): name for name, kind in zip(bare, kinds, strict=True) if _may_be_name(kind)}
    item = next((called[key] for key in ITEM_KEYS if key in called and called[key] != label), None)
    return Roles(label, item, column_named(bare, reading.domain_column) if reading.domain_column else None)


def _may_be_name(kind: pa.DataType) -> bool:
    return is_text(kind) or pa.types.is_integer(kind)


def _part(domain: Domain, table: pa.Table, roles: Roles, reading: Reading, where: str) -> Domain:
    values = None if roles.domain is None else column_values(table.column(roles.domain))
    return part_of(domain, values, table.column_names, reading, where)


def column_values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values; of a dictionary's, those that are equal are one object."""
    if not pa.types.is_dictionary(column.type):
        return column.to_pylist()
    known = [(chunk.dictionary.to_pylist(), chunk.indices.to_pylist()) for chunk in column.chunks]
    return [None if index is None else values[index] for values, indices in known for index in indices]


def stem(path: Path) -> str:
    """Return a file's name without its suffixes.

    >>> stem(Path("data/site.a.csv.gz"))
    'site.a'
    """
    return Path(path.stem).stem if path.suffix.lower() in OPENERS else path.stem
