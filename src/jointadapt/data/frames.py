"""Frames and annotated data → domains: columns keep their names; labels and domains may be columns too."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jointadapt.data.arrays import from_arrays
from jointadapt.data.domain import Domain
from jointadapt.data.kinds import AS_IT_SAYS, Reading
from jointadapt.data.labels import encode_labels
from jointadapt.data.parts import column_named, part_of
from jointadapt.data.table_rows import some_names
from jointadapt.data.tables import column_values, find_roles, from_table
from jointadapt.errors import UserError
from jointadapt.runtime.containers import as_table, is_annotated, matrix_of


def from_frame(
    frame: Any,
    y: Any = None,
    name: str = "table",
    items: Sequence[str] | None = None,
    unlabelled: Any = None,
    reading: Reading = AS_IT_SAYS,
) -> Domain:
    """Return the rows of a frame or of annotated data, their columns known by name.

    Args:
        frame: what `as_table` takes, or AnnData, whose columns `obs` hold labels and domains.
        y: the labels, or the name of the column that holds them; None: the column that is called so.
        name: what people call the domain.
        items: what its rows are called; None: what a column says, or the index of annotated data.
        unlabelled: a value of y that means "no label".
        reading: the names of columns, and the domain that is wanted of several.

    >>> import pyarrow as pa
    >>> from_frame(pa.table({"age": [31, 47], "kind": ["a", "b"]}), "kind").classes
    ('a', 'b')
    """
    if isinstance(y, str):
        names = as_table(frame.obs if is_annotated(frame) else frame, name).column_names
        if column_named([column.strip() for column in names], y) is None:
            raise UserError(f"{name}: there is no column {y!r} with labels (its columns: {some_names(names)}).")
        reading, y = replace(reading, label_column=y), None
    domain = _of_annotated(frame, name, reading) if is_annotated(frame) else _of_frame(frame, name, reading)
    if y is not None and (reading.only or reading.but):
        raise UserError(f"{name}: of a frame that holds several domains the labels are a column; name it as y.")
    if y is not None and domain.labelled:
        raise UserError(f"{name}: labels are given twice, as y and in a column of the frame; leave one out.")
    if y is not None:
        labels, classes, told = encode_labels(y, len(domain), name, unlabelled)
        domain = replace(domain, labels=labels, classes=classes, notes=(*domain.notes, *told))
    return domain if items is None else replace(domain, items=tuple(items))


def _of_frame(frame: Any, name: str, reading: Reading) -> Domain:
    return from_table(as_table(frame, name), name, reading)


def _of_annotated(adata: Any, name: str, reading: Reading) -> Domain:
    """Return the rows of X, called as `obs_names` say, with labels and domains from the columns of `obs`."""
    table = as_table(adata.obs, f"{name}.obs")
    roles = find_roles(table.column_names, table.schema.types, reading, f"{name}.obs")
    label, of_domain = (
        None if role is None else column_values(table.column(role)) for role in (roles.label, roles.domain)
    )
    domain = from_arrays(matrix_of(adata, name), label, name, [*map(str, adata.obs_names)], kind=reading.kind)
    genes = tuple(map(str, adata.var_names))
    if len(set(genes)) == len(genes):
        domain = replace(domain, columns=genes)
    return part_of(domain, of_domain, table.column_names, reading, f"{name}.obs")
