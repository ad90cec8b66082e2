"""A path → a domain: folders of images, the field's image lists, arrays."""

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv, parquet
from torch import Tensor

from jointadapt.data.domain import UNLABELLED, Domain
from jointadapt.data.files import FULL, default_cache, write_atomically
from jointadapt.data.images import SUFFIXES, find_defects, fingerprint, is_image
from jointadapt.data.mapped import map_rows
from jointadapt.data.matlab import is_idx, read_idx, read_mat
from jointadapt.data.shards import read_index
from jointadapt.errors import UserError
from jointadapt.progress import Track, silent

MOST_DEFECTS = 0.2
IN_MEMORY = 2**28  # bytes; larger matrices stay on disk
BATCH = 16_384  # rows of a table at a time
TRAINING_KEYS = (("x_train", "y_train"), ("images_train", "labels_train"))
FEATURE_KEYS = ("x", "features", "images", "data", *(rows for rows, _ in TRAINING_KEYS))
LABEL_KEYS = ("y", "label", "labels", "class", "target", *(labels for _, labels in TRAINING_KEYS))
MOST_UNPACKED = 2**30  # bytes of an archive that may grow by more than…
MOST_GROWTH = 100
ITEM_KEYS = ("item", "path", "id", "name", "file")
KINDS = "a folder of images, an image list (.txt), a .tar of images, or arrays (.npz, .npy, .mat, .csv, .parquet)"


def read_domain(path: str | Path, cache: Path | None = None, track: Track = silent) -> Domain:
    """Return the domain at a path.

    * a folder: one subfolder a class (images at any depth below it), or images without labels;
    * an image list `.txt`: a line an image, `path label`, or `path` alone; relative to the list's folder;
    * `.tar`, or a folder of them: images, class in `KEY.cls` beside `KEY.jpg` (webdataset), else by folder;
    * `.npz`: rows in `x` (also features, images, data, x_train), labels in `y` (also label, labels, class, target,
      y_train);
    * `.npy`: rows; labels in `NAME.labels.npy` beside it, if any; a matrix of over 256 MB stays on disk;
    * `.mat`: rows in `fts`, `feas`, `X` or data, labels in `labels` or `y`; SVHN's images too;
    * MNIST's `…images-idx3-ubyte`, `.gz` or not, labels in `…labels-idx1-ubyte` beside it;
    * `.csv`, `.parquet`: numeric columns are features, a column `label` (also y, labels, class, target) the labels;
      of a larger `.parquet` the features are copied to the cache, and stay on disk.

    Unreadable images are named, left out and counted; more than a fifth of them is an error.
    """
    path = Path(path)
    if not path.exists():
        near = sorted(other.name for other in path.parent.iterdir())[:8] if path.parent.is_dir() else []
        hint = f"{path.parent} holds {', '.join(near)}" if near else f"{path.parent} does not exist or is empty"
        raise UserError(f"{path} does not exist; {hint}. Give {KINDS}.")
    cache = cache or default_cache()
    domain = read_unchecked(path, cache, track)
    return readable(domain, cache, track) if domain.holds_images else domain


def read_unchecked(path: Path, cache: Path | None = None, track: Track = silent) -> Domain:
    """Return the domain at a path that exists; images are found, not yet looked at."""
    if path.is_dir():
        return _folder(path)
    if is_idx(path):
        return from_arrays(*read_idx(path), path.stem)
    match path.suffix.lower():
        case ".txt" | ".lst":
            return _image_list(path)
        case ".tar":
            return _shards([path], path.stem)
        case ".mat":
            return from_arrays(*read_mat(path), path.stem)
        case ".npz":
            return _npz(path)
        case ".npy":
            return _npy(path)
        case ".csv":
            with _told(path):
                return _table(csv.read_csv(str(path)), path)
        case ".parquet":
            return _parquet(path, cache or default_cache(), track)
        case _:
            raise UserError(f"{path} is of no known kind; give {KINDS}.")


def read_paths(paths: Sequence[str | Path], cache: Path | None = None, track: Track = silent) -> list[Domain]:
    """Return what the paths hold: single images as one domain, every other path as `read_domain` does."""
    images = [Path(path) for path in paths if is_image(Path(path)) and Path(path).is_file()]
    domains = [read_domain(path, cache, track) for path in paths if Path(path) not in images]
    if images:
        labels = torch.full((len(images),), UNLABELLED)
        pictures = Domain("images", tuple(images), labels, (), tuple(map(str, images)))
        domains.insert(0, readable(pictures, cache or default_cache(), track))
    return domains


def from_arrays(
    x: np.ndarray | Tensor,
    y: Sequence | np.ndarray | Tensor | None = None,
    name: str = "arrays",
    items: Sequence[str] | None = None,
) -> Domain:
    """Return a domain of rows in memory: x (n, d) features, (n, h, w) or (n, h, w, c) images, y (n,) labels or None.

    Integer images are scaled by 1/255, of 16 bits by 1/65535. Missing labels within y are None, NaN, "" or −1.
    """
    x = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if x.ndim not in (2, 3, 4) or not len(x):
        raise UserError(
            f"{name}: rows of shape (n, d), images of (n, h, w) or (n, h, w, c) are needed; got shape {x.shape}."
        )
    if x.dtype.kind not in "fiub":
        raise UserError(f"{name}: numbers are needed; got an array of type {x.dtype}.")
    most = 1 if x.ndim == 2 or x.dtype.kind not in "iu" else 65535 if x.dtype == np.uint16 else 255
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and told of below
        rows = torch.from_numpy(x.astype(np.float32) / most)
    bad = (~torch.isfinite(rows)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"{name}: {len(bad)} of {len(rows)} rows hold NaN or infinite values (counted from 0: rows "
            f"{', '.join(map(str, bad[:5]))}{'…' if len(bad) > 5 else ''}); remove or impute them first."
        )
    if rows.ndim == 3:
        rows = rows[..., None]
    if rows.ndim == 4:
        rows = rows.permute(0, 3, 1, 2).contiguous()
    labels, classes = _encode(y, len(rows), name)
    return Domain(name, rows, labels, classes, tuple(items or (f"row {index}" for index in range(len(rows)))))


def _encode(y: Sequence | np.ndarray | Tensor | None, rows: int, name: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels as indices into the sorted names of the classes."""
    if y is None:
        return torch.full((rows,), UNLABELLED), ()
    values = y.tolist() if isinstance(y, Tensor | np.ndarray) else list(y)
    if not isinstance(values, list) or len(values) != rows or any(isinstance(value, list) for value in values):
        raise UserError(f"{name}: one label a row is needed, {rows} in all; got labels of shape {np.shape(y)}.")
    values = [value.decode(errors="surrogateescape") if isinstance(value, bytes) else value for value in values]
    values = [None if value in (None, "", UNLABELLED) or value != value else value for value in values]
    values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    known = sorted({value for value in values if value is not None}, key=lambda v: (isinstance(v, str), v))
    index = {value: position for position, value in enumerate(known)}
    labels = torch.tensor([UNLABELLED if value is None else index[value] for value in values], dtype=torch.long)
    return labels, tuple(str(value) for value in known)


def _folder(path: Path) -> Domain:
    try:
        folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        flat = tuple(sorted(entry for entry in path.iterdir() if entry.is_file() and is_image(entry)))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    found = {folder.name: _images_below(folder) for folder in folders}
    found = {name: images for name, images in found.items() if images}
    if flat and found:
        raise UserError(
            f"{path} holds both images ({len(flat)}, as {flat[0].name}) and folders of images ({', '.join(found)}); "
            "put every image into a class folder, or none."
        )
    if not flat and not found and (archives := sorted(path.glob("*.tar"))):
        return _shards(archives, path.resolve().name)
    if not flat and not found:
        raise UserError(f"{path} holds no images; give a folder of class folders with images, or of images alone.")
    paths = flat or tuple(image for images in found.values() for image in images)
    labels = [UNLABELLED] * len(flat) + [index for index, name in enumerate(found) for _ in found[name]]
    empty = [folder.name for folder in folders if folder.name not in found] if found else []
    notes = (f"{path}: no images in {', '.join(empty)}; left out.",) if empty else ()
    return Domain(path.resolve().name, paths, torch.tensor(labels), tuple(found), tuple(map(str, paths)), notes)


def _shards(archives: Sequence[Path], name: str) -> Domain:
    members = read_index(archives, SUFFIXES)
    if not members:
        raise UserError(f"{archives[0]} holds no images; give an archive of KEY.jpg and KEY.cls, or of CLASS/NAME.jpg.")
    images = tuple(image for image, _ in members)
    classes = [int(text) if text is not None and text.isdecimal() else text for _, text in members]
    labels, known = _encode(classes, len(images), name)
    return Domain(name, images, labels, known, tuple(map(str, images)))


def _images_below(folder: Path) -> list[Path]:
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(file for file in files if is_image(file))


def read_list(path: Path) -> tuple[list[str], list[int | str | None]]:
    """Return the names and labels that the lines of an image list give."""
    names, labels = [], []
    try:
        lines = os.fsdecode(path.read_bytes()).split("\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    for line in filter(None, map(str.strip, lines)):
        name, _, label = line.rpartition(" ")
        if name and not is_image(Path(line)):
            names.append(name.strip())
            labels.append(int(label) if label.removeprefix("-").isdecimal() else label)
        else:
            names.append(line)
            labels.append(None)
    if not names:
        raise UserError(f"{path} is empty; an image list has a line `path label` for each image.")
    return names, labels


def _image_list(path: Path) -> Domain:
    names, labels = read_list(path)
    paths = [path.parent / name for name in names]
    missing = [file for file in paths if not os.path.isfile(file)]  # noqa: PTH113  # Path's raises for a name too long
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(paths)} images are not there, the first is {missing[0]}; paths are read "
            "relative to the list's folder."
        )
    return from_files(paths, labels, path.stem)


def from_files(paths: Sequence[Path], labels: Sequence[int | str | None], name: str) -> Domain:
    """Return a domain of image files, not yet looked at; a missing label is None."""
    encoded, classes = _encode(labels, len(paths), name)
    return Domain(name, tuple(paths), encoded, classes, tuple(map(str, paths)))


def readable(domain: Domain, cache: Path, track: Track) -> Domain:
    """Return the domain without its unreadable images; too many of them is an error."""
    assert isinstance(domain.content, tuple)
    defects = find_defects(domain.content, cache, track, domain.name)
    if not defects:
        return domain
    names = "; ".join(f"{path} ({reason})" for path, reason in list(defects.items())[:3])
    count = f"{len(defects)} of {len(domain)} images cannot be read: {names}{'; …' if len(defects) > 3 else ''}"
    if len(defects) > MOST_DEFECTS * len(domain):
        raise UserError(f"{domain.name}: {count}. That is more than a fifth; mend or remove them.")
    kept = domain.select([index for index, path in enumerate(domain.content) if path not in defects])
    notes = (*domain.notes, f"{domain.name}: {count}. Skipped.")
    return replace(kept, notes=notes, skipped=len(defects))


def _load(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return np.load(file, allow_pickle=False)
    except Exception as error:
        # zipfile, pickle and numpy raise a dozen kinds on a broken file.
        raise UserError(f"{path} cannot be read as a NumPy array ({' '.join(str(error).split())}).") from error


def _npy(path: Path) -> Domain:
    file = path.with_suffix(".labels.npy")
    y = _load(file) if file.exists() else None
    rows = map_rows(path, IN_MEMORY)
    if rows is None:
        return from_arrays(_load(path), y, path.stem)
    labels, classes = _encode(y, len(rows), path.stem)
    return Domain(path.stem, rows, labels, classes, tuple(f"row {index}" for index in range(len(rows))))


def _npz(path: Path) -> Domain:
    try:
        _check_size(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key.lower(): archive[key] for key in archive.files}
    except UserError:
        raise
    except Exception as error:
        # As above, and an AttributeError for a single array under this name.
        raise UserError(f"{path} cannot be read as a NumPy archive ({' '.join(str(error).split())}).") from error
    rows = next((arrays[key] for key in FEATURE_KEYS if key in arrays), None)
    if rows is None:
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}; name the rows {' or '.join(FEATURE_KEYS)}.")
    return from_arrays(rows, next((arrays[key] for key in LABEL_KEYS if key in arrays), None), path.stem)


def _check_size(path: Path) -> None:
    """Refuse an archive that would grow beyond all measure: zeros, as a decompression bomb holds, shrink 1000 times."""
    with zipfile.ZipFile(path) as archive:
        _refuse_bomb(path, sum(entry.file_size for entry in archive.infolist()), "by np.savez, not compressed")


def _refuse_bomb(path: Path, size: int, how: str) -> None:
    packed = path.stat().st_size
    if size > MOST_UNPACKED and size > MOST_GROWTH * packed:
        raise UserError(
            f"{path} has {packed:,} bytes and would unpack to {size:,}, as a decompression bomb does; if it is none, "
            f"save it {how}."
        )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell of a table that cannot be read; a full disk, where it is copied, is no fault of it."""
    try:
        yield
    except Exception as error:
        # Arrow has errors of its own, and lets Python's through.
        if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in FULL):
            raise
        raise UserError(f"{path} cannot be read as a table ({' '.join(str(error).split())}).") from error


def _parquet(path: Path, cache: Path, track: Track) -> Domain:
    """Return a table's rows; of a large one its features as a file of the cache, written batch by batch."""
    with _told(path), parquet.ParquetFile(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
        flat = [field for field in schema if not pa.types.is_nested(field.type)]
        others = [field.name for field in flat if field.name.lower() in LABEL_KEYS + ITEM_KEYS]
        features = [field.name for field in flat if _is_numeric(field.type) and field.name not in others]
        left_out = [name for name in schema.names if name not in (*features, *others)]
        _check_parquet(path, file.metadata, len(features) + len(others))
    with _told(path), parquet.ParquetFile(path, read_dictionary=others) as file:
        if 4 * rows * len(features) < IN_MEMORY:
            return _table(file.read(columns=[*features, *others]), path, left_out)
        named = {name.lower(): _values(file.read(columns=[name]).column(0)) for name in others}
        copy = cache / f"rows-{fingerprint([path])}.npy"
        content = map_rows(copy, 0, path)
        if content is None or content.shape != (rows, len(features)):
            batches = track(file.iter_batches(BATCH, columns=features), -(-rows // BATCH), f"reading {path.stem}")
            write_atomically(copy, lambda out: _write_npy(out, (rows, len(features)), batches))
            content = map_rows(copy, 0, path)
    assert content is not None
    y = next((named[key] for key in LABEL_KEYS if key in named), None)
    labels, classes = _encode(y, rows, path.stem)
    items = next((named[key] for key in ITEM_KEYS if key in named), None)
    names = map(str, items) if items is not None else (f"row {index}" for index in range(rows))
    notes = (f"{path}: {', '.join(left_out)} left out, as not numeric.",) if left_out else ()
    return Domain(path.stem, content, labels, classes, tuple(names), notes)


def _check_parquet(path: Path, metadata: parquet.FileMetaData, columns: int) -> None:
    """Refuse a table that would grow beyond all measure: in its pages, or by a value that stands for a million rows."""
    pages = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    _refuse_bomb(path, max(pages, 8 * metadata.num_rows * columns), "as .npy")


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


def _table(table: pa.Table, path: Path, unread: Sequence[str] = ()) -> Domain:
    columns = {name.lower(): column for name, column in zip(table.column_names, table.columns, strict=True)}
    if len(columns) < table.num_columns:
        raise UserError(
            f"{path} has two columns of one name (its columns: {', '.join(table.column_names)}); rename one."
        )
    label = next((columns[key] for key in LABEL_KEYS if key in columns), None)
    items = next((columns[key] for key in ITEM_KEYS if key in columns), None)
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
    return replace(domain, notes=(f"{path}: {', '.join(left_out)} left out, as not numeric.",)) if left_out else domain


def _is_numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
