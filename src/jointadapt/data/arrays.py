"""Arrays, and files of arrays → domains."""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from jointadapt.data.domain import Domain
from jointadapt.data.kinds import AS_IT_SAYS, Kind, Reading, RowKind
from jointadapt.data.labels import encode_labels
from jointadapt.data.mapped import map_rows
from jointadapt.errors import UserError, as_user_error

T = TypeVar("T")

IN_MEMORY = 2**28  # bytes; larger matrices stay on disk
TRAINING_KEYS = (("x_train", "y_train"), ("images_train", "labels_train"))
FEATURE_KEYS = ("x", "features", "images", "data", *(rows for rows, _ in TRAINING_KEYS))
LABEL_KEYS = ("y", "label", "labels", "class", "target", *(labels for _, labels in TRAINING_KEYS))
AXES: dict[Kind, tuple[int, ...]] = {"auto": (2, 3, 4), "features": (2,), "images": (3, 4), "signal": (2, 3)}
SHAPES: dict[Kind, str] = {
    "auto": "rows of shape (n, d), images of (n, h, w) or (n, h, w, c)",
    "features": "rows of shape (n, d)",
    "images": "images of shape (n, h, w) or (n, h, w, c)",
    "signal": "signals of shape (n, time) or (n, channels, time)",
}
MOST_UNPACKED = 2**30  # bytes of an archive that may grow by more than…
MOST_GROWTH = 100


def from_arrays(
    x: np.ndarray | Tensor,
    y: Sequence | np.ndarray | Tensor | None = None,
    name: str = "arrays",
    items: Sequence[str] | None = None,
    unlabelled: Any = None,
    kind: Kind = "auto",
) -> Domain:
    """Return a domain of rows in memory: x (n, d) features, (n, h, w) or (n, h, w, c) images, y (n,) labels or None.

    `kind` says what the rows are where that is not what their shape says: "signal" are (n, time) or
    (n, channels, time).

    Integer images are scaled by 1/255, of 16 bits by 1/65535. A label that is None, NaN, "" or "NA" is missing
    (`data.labels` has every rule); `unlabelled` is a further value that means so, as −1 in scikit-learn's
    semi-supervised learning. Otherwise −1 is a class.
    """
    x = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if x.ndim not in AXES[kind] or not len(x):
        raise UserError(f"{name}: {SHAPES[kind]} are needed; got shape {x.shape}.")
    if x.dtype.kind not in "fiub":
        raise UserError(f"{name}: numbers are needed; got an array of type {x.dtype}.")
    most = 1 if kind == "signal" or x.ndim == 2 or x.dtype.kind not in "iu" else 65535 if x.dtype == np.uint16 else 255
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and reported below
        rows = torch.from_numpy(x.astype(np.float32) / most)
    bad = (~torch.isfinite(rows)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"{name}: {len(bad)} of {len(rows)} rows hold NaN or infinite values (counted from 0: rows "
            f"{', '.join(map(str, bad[:5]))}{'…' if len(bad) > 5 else ''}); remove or impute them first."
        )
    rows, row_kind = _arranged(rows, kind)
    labels, classes, notes = encode_labels(y, len(rows), name, unlabelled)
    return Domain(name, rows, labels, classes, tuple(items or row_names(len(rows))), notes, kind=row_kind)


def _arranged(rows: Tensor, kind: Kind) -> tuple[Tensor, RowKind]:
    """Return rows as networks read them, channels first, and what a row is."""
    if kind == "signal":
        return (rows[:, None] if rows.ndim == 2 else rows), "signal"
    if rows.ndim == 2:
        return rows, "features"
    return (rows[..., None] if rows.ndim == 3 else rows).permute(0, 3, 1, 2).contiguous(), "pixels"


def row_names(rows: int) -> Iterable[str]:
    """Return what rows are called that have no name of their own: "row 0", "row 1", …"""
    return (f"row {index}" for index in range(rows))


def first_named(named: Mapping[str, T], keys: Iterable[str]) -> T | None:
    """Return what stands under the first of these keys that there is; None where there is none of them."""
    return next((named[key] for key in keys if key in named), None)


def read_npy(path: Path, reading: Reading = AS_IT_SAYS) -> Domain:
    """Return the rows of a `.npy` file, a large matrix unread, with labels from `NAME.labels.npy` beside it."""
    beside = path.with_suffix(".labels.npy")
    y = _load(beside) if beside.exists() else None
    rows = None if reading.kind == "signal" else map_rows(path, IN_MEMORY)
    if rows is None:
        return from_arrays(_load(path), y, path.stem, kind=reading.kind)
    labels, classes, notes = encode_labels(y, len(rows), path.stem)
    return Domain(path.stem, rows, labels, classes, tuple(row_names(len(rows))), notes)


def read_npz(path: Path, reading: Reading = AS_IT_SAYS) -> Domain:
    """Return the rows and labels of a `.npz` archive, by the names of its arrays."""
    with as_user_error(path, "as a NumPy archive"):
        _check_size(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key.lower(): archive[key] for key in archive.files}
    rows = first_named(arrays, FEATURE_KEYS)
    if rows is None:
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}; name the rows {' or '.join(FEATURE_KEYS)}.")
    return from_arrays(rows, first_named(arrays, LABEL_KEYS), path.stem, kind=reading.kind)


def _load(path: Path) -> np.ndarray:
    with as_user_error(path, "as a NumPy array"), path.open("rb") as file:
        return np.load(file, allow_pickle=False)


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
