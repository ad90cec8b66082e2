"""Arrays with names, as .npz and .mat hold them → rows and labels: the names decide, and the labels' number."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jointadapt.errors import UserError

# SURF and GoogLeNet files say fts, DeCAF feas, SVHN X.
ROWS = ("x", "features", "images", "data", "fts", "feas", "fea", "feature", "feats", "feat", "embeddings", "embedding")
ROWS += ("emb", "inputs", "samples")
LABELS = ("y", "label", "labels", "class", "classes", "target", "targets", "gnd", "gt")
# Names of rows and of labels that belong together, in the order in which they are looked for.
PAIRS = (
    (ROWS, LABELS),
    (("x_train", "images_train", "train_images"), ("y_train", "labels_train", "train_labels")),
    (("arr_0",), ("arr_1",)),
    (("xs",), ("ys",)),
    (("xt",), ("yt",)),
    (("x_test", "images_test", "test_images"), ("y_test", "labels_test", "test_labels")),
)
SAFE = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
SAFE |= {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}


class Chosen(NamedTuple):
    """The rows and labels among arrays with names, and what to hear of them."""

    rows: Any
    labels: Any | None
    notes: tuple[str, ...] = ()


def choose(arrays: Mapping[str, Any], path: Path) -> Chosen:
    """Return the rows and labels of a file, the rows transposed where only then there is one for each label.

    Of several arrays whose names are those of rows, the one with as many rows as there are labels is taken.

    >>> x, y = np.zeros((4, 2)), np.arange(4)
    >>> choose({"arr_0": x, "arr_1": y}, Path("a.npz")).labels
    array([0, 1, 2, 3])
    """
    named = {name.lower(): array for name, array in arrays.items()}
    found = [name for rows, _ in PAIRS for name in rows if name in named and np.ndim(named[name])]
    notes = []
    if {"xs", "xt"} <= set(found):
        raise UserError(f"{path} holds both domains, Xs and Xt; save each into a file of its own, as X and Y.")
    if not found:
        found = [name for name, array in named.items() if len(_long_axes(array)) > 1 and name not in LABELS]
        if len(found) != 1:
            raise UserError(
                f"{path} holds {', '.join(arrays) or 'nothing'}; name the rows {' or '.join(ROWS[:4])}, and labels y."
            )
        notes.append(f"the rows are those of {found[0]!r}, the only matrix there.")
    own = next((labels for rows, labels in PAIRS if found[0] in rows), LABELS)
    labels = next((named[name] for name in (*own, *LABELS, *PAIRS[1][1]) if name in named), None)
    count = None if labels is None else _count(labels)
    fitting = [name for name in found if count in (None, named[name].shape[0])]
    chosen = (fitting or found)[0]
    rows, others = named[chosen], [repr(name) for name in fitting[1:] if name in ROWS]
    if others:
        notes.append(f"the rows are those of {chosen!r}; {', '.join(others)} may be rows too.")
    if not fitting and np.ndim(rows) == 2 and rows.shape[1] == count:
        shape = " × ".join(map(str, rows.shape))
        notes.append(f"{chosen!r} is {shape} and there are {count} labels: its columns are taken as the rows.")
        rows = rows.T
    return Chosen(rows, labels, tuple(f"{path}: {note}" for note in notes))


def _long_axes(array: Any) -> list[int]:
    shape = getattr(array, "shape", ())
    return [length for length in shape if length > 1] if getattr(array, "dtype", np.dtype("U")).kind in "fiub" else []


def _count(labels: Any) -> int:
    """Return how many labels there are: in a row, a column, or one-hot rows."""
    shape = np.shape(labels)
    return max(shape) if len(shape) == 2 and min(shape) == 1 else shape[0] if shape else 0


class _Texts(pickle.Unpickler):
    """Reads arrays of texts and numbers that were pickled; what would run anything else is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in SAFE:
            raise pickle.UnpicklingError(f"it would load {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def read_array(file: Any) -> np.ndarray:
    """Return the array of a .npy file; of objects, where they are texts and numbers."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if not dtype.hasobject:
        file.seek(0)
        return np.load(file, allow_pickle=False)
    array = _Texts(file).load()
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise ValueError("it holds objects that are no array")
    return array
