"""MATLAB's .mat and MNIST's idx files → arrays."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.sparse import issparse

from jointadapt.errors import UserError, as_user_error

ROWS = ("fts", "feas", "features", "x", "data")  # SURF and GoogLeNet files say fts, DeCAF feas, SVHN X
MOST_BYTES = 2**30
LABELS = ("labels", "label", "y", "gnd")


def read_mat(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows and labels of a .mat file: one feature vector a row, or SVHN's images (h, w, 3, n)."""
    with as_user_error(path, "as a .mat file"):
        try:
            arrays = {name.lower(): value for name, value in loadmat(path).items() if not name.startswith("__")}
        except NotImplementedError as error:
            raise UserError(f"{path} is a .mat of version 7.3; save it in MATLAB with -v7, or as .npz.") from error
    rows = next((arrays[name] for name in ROWS if name in arrays), None)
    if rows is None:
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}; name the rows {' or '.join(ROWS)}.")
    rows = rows.toarray() if issparse(rows) else rows
    labels = next((np.asarray(arrays[name]).ravel() for name in LABELS if name in arrays), None)
    if rows.ndim == 4:  # SVHN: the digit 0 has label 10
        rows = rows.transpose(3, 0, 1, 2)
        labels = labels % 10 if labels is not None else None
    return rows, labels


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
