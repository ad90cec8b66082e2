"""Arrays, and files of arrays → domains."""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from jointadapt.data.domain import Domain
from jointadapt.data.kinds import AS_IT_SAYS, Kind, Reading, RowKind
from jointadapt.data.labels import encode_labels
from jointadapt.data.mapped import map_rows
from jointadapt.data.named_arrays import Chosen, choose, read_array
from jointadapt.data.pixels import as_pixels
from jointadapt.errors import UserError, as_user_error
from jointadapt.runtime.containers import as_numbers, is_annotated, is_frame

T = TypeVar("T")

IN_MEMORY = 2**28  # bytes; larger matrices stay on disk
TRAINING_KEYS = (("x_train", "y_train"), ("images_train", "labels_train"))
LABEL_KEYS = ("y", "label", "labels", "class", "target", *(labels for _, labels in TRAINING_KEYS))
AXES: dict[Kind, tuple[int, ...]] = {"auto": (2, 3, 4), "features": (2,), "images": (3, 4), "signal": (2, 3)}
SHAPES: dict[Kind, str] = {
    "auto": "rows of shape (n, d), images of (n, h, w) or (n, h, w, c)",
    "features": "rows of shape (n, d)",
    "images": "images of shape (n, h, w), (n, h, w, c) or (n, c, h, w)",
    "signal": "signals of shape (n, time) or (n, channels, time)",
}
EXACT = 2**24  # float32 holds smaller integers as they are
FEWER = 0.99  # of a column's values that float32 has to tell apart
MOST_UNPACKED = 2**30  # bytes of an archive that may grow by more than…
MOST_GROWTH = 100


def from_arrays(
    x: Any,
    y: Any = None,
    name: str = "arrays",
    items: Sequence[str] | None = None,
    unlabelled: Any = None,
    kind: Kind = "auto",
) -> Domain:
    """Return a domain of rows in memory, with labels y (n,) or None.

    Args:
        x: (n, d) features; (n, h, w), (n, h, w, channels) or (n, channels, h, w) images; (n, time) or
            (n, channels, time) signals. An array, a tensor on any device, a sparse matrix, a frame of pandas, polars or
            pyarrow, a `Dataset` of Hugging Face, AnnData; columns of these keep their names.
        y: a label for each row, or of a frame the name of the column that holds it; `data.labels` has every rule. None,
            NaN, "" and "NA" are missing.
        name: what people call the domain.
        items: what its rows are called.
        unlabelled: a further value that means "no label", as −1 in scikit-learn's semi-supervised learning. Otherwise
            −1 is a class.
        kind: what the rows are, where their shape leaves it open: three axes may be images' or signals'.

    Pixels of integer type are divided by 255, or by 65,535 where they have 16 bits, and so are floating-point ones that
    reach to 255; which axis holds the channels is told by its length (`data.pixels`). All else stays as it is. What was
    not self-evident is a note of the domain.
    """
    if is_frame(x) or is_annotated(x):
        from jointadapt.data.frames import from_frame  # which makes use of all else here

        return from_frame(x, y, name, items, unlabelled)
    x = as_numbers(x, name)
    if x.ndim not in AXES[kind] or not len(x):
        hint = "; give a single feature a second axis, x[:, None]" if x.ndim == 1 and len(x) else ""
        raise UserError(f"{name}: {SHAPES[kind]} are needed; got shape {x.shape}{hint}.")
    _refuse_gaps(x, name)
    row_kind: RowKind = "signal" if kind == "signal" else "features" if x.ndim == 2 else "pixels"
    white, notes = 1.0, ()
    if row_kind == "pixels":
        rows, white, notes = as_pixels(x, name, said=kind == "images")
    else:
        rows = torch.from_numpy(x.astype(np.float32))
        rows = rows[:, None] if kind == "signal" and x.ndim == 2 else rows
        notes = _lost_digits(x, rows, name) if row_kind == "features" else ()
    labels, classes, told = encode_labels(y, len(rows), name, unlabelled)
    names = tuple(items or row_names(len(rows)))
    return Domain(name, rows, labels, classes, names, (*notes, *told), kind=row_kind, white=white)


def _refuse_gaps(x: np.ndarray, name: str) -> None:
    """Raise a `UserError` for rows with NaN, infinity, or numbers that float32 cannot hold."""
    if x.dtype.kind != "f":
        return
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~(np.abs(x) <= np.finfo(np.float32).max).reshape(len(x), -1).all(1)).tolist()
    if bad:
        raise UserError(
            f"{name}: {len(bad)} of {len(x)} rows hold NaN or infinite values (counted from 0: rows "
            f"{', '.join(map(str, bad[:5]))}{'…' if len(bad) > 5 else ''}); remove or impute them first."
        )


def _lost_digits(x: np.ndarray, rows: Tensor, name: str) -> tuple[str, ...]:
    """Return a note on columns of large numbers, as ids or nanoseconds, that float32 can no longer tell apart."""
    if x.dtype.itemsize < 4 or x.dtype == np.float32:
        return ()
    lost = []
    for column in np.flatnonzero(np.abs(x).max(0) >= EXACT).tolist():
        before, after = (len(np.unique(values)) for values in (x[:, column], rows[:, column].numpy()))
        if after < FEWER * before:
            lost.append(f"{column} ({before:,} values become {after:,})")
    if not lost:
        return ()
    note = f"{name}: the numbers of column {', '.join(lost[:5])} are too large for float32 to tell apart, as ids or "
    return (note + "times are: leave ids out, and subtract an offset from times.",)


def row_names(rows: int) -> Iterable[str]:
    """Return what rows are called that have no name of their own: "row 0", "row 1", …"""
    return (f"row {index}" for index in range(rows))


def first_named(named: Mapping[str, T], keys: Iterable[str]) -> T | None:
    """Return what stands under the first of these keys that there is; None where there is none of them."""
    return next((named[key] for key in keys if key in named), None)


def read_npy(path: Path, reading: Reading = AS_IT_SAYS) -> Domain:
    """Return the rows of a `.npy` file, a large matrix unread, with labels from `NAME.labels.npy` beside it."""
    beside = next(
        filter(Path.exists, (path.with_suffix(".labels.npy"), path.with_name(f"{path.stem}_labels.npy"))), None
    )
    y = _load(beside, read_array) if beside else None
    rows = None if reading.kind == "signal" else map_rows(path, IN_MEMORY)
    if rows is None:
        return from_arrays(_load(path, _numbers), y, path.stem, kind=reading.kind)
    labels, classes, notes = encode_labels(y, len(rows), path.stem)
    return Domain(path.stem, rows, labels, classes, tuple(row_names(len(rows))), notes)


def labels_of(path: Path) -> Path | None:
    """Return the file with the labels of the rows in a `.npy` file; None where there is none."""
    places = path.with_suffix(".labels.npy"), path.with_name(f"{path.stem}_labels.npy")
    return next((place for place in places if place.exists()), None)


def read_npz(path: Path, reading: Reading = AS_IT_SAYS) -> Domain:
    """Return the rows and labels of a `.npz` archive, by the names of its arrays."""
    with as_user_error(path, "as a NumPy archive"):
        _check_size(path)
        with zipfile.ZipFile(path) as archive:
            names = [entry for entry in archive.namelist() if entry.endswith(".npy")]
            arrays = {name.removesuffix(".npy"): _member(archive, name) for name in names}
    return from_chosen(choose(arrays, path), path, reading)


def from_chosen(chosen: Chosen, path: Path, reading: Reading) -> Domain:
    """Return the domain of the rows and labels that were chosen among a file's arrays."""
    domain = from_arrays(chosen.rows, chosen.labels, path.stem, kind=reading.kind)
    return replace(domain, notes=(*chosen.notes, *domain.notes))


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        return read_array(file)


def _numbers(file: Any) -> np.ndarray:
    return np.load(file, allow_pickle=False)


def _load(path: Path, read: Callable[[Any], np.ndarray]) -> np.ndarray:
    with as_user_error(path, "as a NumPy array"), path.open("rb") as file:
        return read(file)


def _check_size(path: Path) -> None:
    """Refuse an archive that would grow beyond all measure: zeros, as a decompression bomb holds, shrink 1000 times."""
    with zipfile.ZipFile(path) as archive:
        refuse_bomb(path, sum(entry.file_size for entry in archive.infolist()), "by np.savez, not compressed")


def refuse_bomb(path: Path, size: int, how: str) -> None:
    """Raise a `UserError` for a file that would unpack to so many bytes, where that is beyond all measure."""
    packed = path.stat().st_size
    if size > MOST_UNPACKED and size > MOST_GROWTH * packed:
        raise UserError(
            f"{path} has {packed:,} bytes and would unpack to {size:,}, as a decompression bomb does; if it is none, "
            f"save it {how}."
        )
