"""MATLAB's .mat and MNIST's idx files → arrays."""

import gzip
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jointadapt.data.named_arrays import Chosen, choose
from jointadapt.data.pixels import CHANNELS
from jointadapt.errors import UserError, as_user_error

MOST_BYTES = 2**30
SVHN = (32, 32, 3)


def read_mat(path: Path) -> Chosen:
    """Return the rows and labels of a .mat file: one feature vector a row, or images (n, h, w, c) or (h, w, c, n)."""
    from scipy.io import loadmat  # not for who reads other files

    with as_user_error(path, "as a .mat file"):
        try:
            loaded = loadmat(path)
        except NotImplementedError as error:
            raise UserError(f"{path} is a .mat of version 7.3; save it in MATLAB with -v7, or as .npz.") from error
        arrays = {name: value for name, value in loaded.items() if not name.startswith("__")}
        rows, labels, notes = choose({**arrays, **_fields(arrays)}, path)
        labels = None if labels is None else _plain_labels(labels)
        if np.ndim(rows) == 4:
            rows = _examples_first(rows, None if labels is None else len(labels), path)
            labels = _digits(labels) if labels is not None and rows.shape[1:] == SVHN else labels
    return Chosen(rows, labels, notes)


def _fields(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of structures, as arrays beside the others."""
    structures = [value for value in arrays.values() if getattr(value, "dtype", np.dtype("U")).names]
    return {
        name: value[name].item()
        for value in structures
        if value.size == 1
        for name in value.dtype.names
        if isinstance(value[name].item(), np.ndarray)
    }


def _plain_labels(labels: np.ndarray) -> np.ndarray | list[Any]:
    """Return one label for each example: a cell's texts or numbers, a column's values; one-hot rows as they are."""
    if labels.dtype.kind == "O":
        cells = [np.ravel(cell) for cell in labels.ravel()]
        return [cell.item() if cell.size == 1 else "" if not cell.size else cell.tolist() for cell in cells]
    return labels if labels.ndim == 2 and min(labels.shape) > 1 else labels.ravel()


def _examples_first(images: np.ndarray, count: int | None, path: Path) -> np.ndarray:
    """Return images with the examples' axis in front: it is the last one in SVHN, and is told by the labels' number."""
    channels = [axis for axis in (2, 3) if images.shape[axis] in CHANNELS]
    found = [axis for axis in (0, 3) if images.shape[axis] == count]
    if len(found) != 1 and len(channels) == 1:
        last = channels == [2]
        found = [3 if last else 0] if count is None or 3 * last in found else []
    if len(found) != 1:
        labels = "no labels" if count is None else f"{count} labels"
        raise UserError(
            f"{path} has images of shape {images.shape} and {labels}: which axis counts the images? Give "
            "(n, h, w, channels), or (h, w, channels, n) as SVHN has it, and a label for each."
        )
    return np.moveaxis(images, found[0], 0)


def _digits(labels: np.ndarray | list[Any]) -> np.ndarray | list[Any]:
    """Return SVHN's labels as digits: its 0 has the label 10. Others than 1 to 10 are left as they are."""
    values = np.asarray(labels)
    return values % 10 if values.dtype.kind in "iuf" and set(values.tolist()) <= {*range(1, 11)} else labels


def is_idx(path: Path) -> bool:
    """Return whether the name is that of MNIST's images: `train-images-idx3-ubyte`, `.gz` or not, `.` or `-`."""
    return "images" in path.name and "idx3-ubyte" in path.name


def read_idx(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return MNIST's images (n, h, w), and the labels from the file beside it."""
    beside = idx_labels(path)
    return _idx(path, 3), _idx(beside, 1) if beside.exists() else None


def idx_labels(path: Path) -> Path:
    """Return where the labels of MNIST's images belong."""
    return path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))


def _idx(path: Path, dimensions: int) -> np.ndarray:
    with as_user_error(path, "as an idx file"), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        magic, *shape = struct.unpack(f">{1 + dimensions}I", file.read(4 * (1 + dimensions)))
        if magic != 0x0800 + dimensions:
            raise ValueError(f"its first number is {magic}, not {0x0800 + dimensions}")
        if (size := math.prod(shape)) > MOST_BYTES:
            raise ValueError(f"{size:,} bytes are announced")
        return np.frombuffer(file.read(size), np.uint8).reshape(shape)
