"""A path → a domain: folders of images, the field's image lists, arrays."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from jointadapt.data.arrays import from_arrays, from_chosen, labels_of, read_npy, read_npz
from jointadapt.data.delimited import OPENERS
from jointadapt.data.domain import UNLABELLED, Domain
from jointadapt.data.image_files import is_image, is_picture_within
from jointadapt.data.image_folders import read_folder, read_shards, readable
from jointadapt.data.image_lists import image_list_of, read_image_list
from jointadapt.data.kinds import AS_IT_SAYS, Reading
from jointadapt.data.mat_idx import idx_labels, is_idx, read_idx, read_mat
from jointadapt.data.signals import said_signals
from jointadapt.data.tables import read_csv, read_feather, read_parquet
from jointadapt.errors import UserError
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.progress import Track, silent

KINDS = (
    "a folder of images, an image list (.txt), a .tar of images, arrays (.npz, .npy, .mat), or a table (.csv, .tsv, "
    ".parquet, .feather)"
)


def read_domain(
    path: str | Path, cache: Path | None = None, track: Track = silent, reading: Reading = AS_IT_SAYS
) -> Domain:
    """Return the domain at a path.

    * a folder: one subfolder a class (images at any depth below it), or images without labels;
    * an image list `.txt`: a line an image, `path label`, or `path` alone; relative to the list's folder; a `.csv`
      that names images;
    * `.tar`, or a folder of them: images, class in `KEY.cls` beside `KEY.jpg` (webdataset), else by folder;
    * `.npz`: rows in `x` (also features, images, data, embeddings, x_train, or unnamed), labels in `y` (also label,
      labels, class, target, y_train, or unnamed, in second place);
    * `.npy`: rows; labels in `NAME.labels.npy` beside it, if any; a matrix of over 256 MB stays on disk;
    * `.mat`: the same, also `fts`, `feas`, `fea` and `gnd`; transposed where the labels' number says so; images
      (n, h, w, c) or (h, w, c, n); of SVHN's labels 10 is the digit 0;
    * MNIST's `…images-idx3-ubyte`, `.gz` or not, labels in `…labels-idx1-ubyte` beside it;
    * `.csv`, `.tsv`, packed by `.gz`, `.bz2` or `.xz` or not, `.parquet`, `.feather`: named columns are features, a
      column `label` (also y, labels, class, target) the labels; of a larger `.parquet` the numbers are copied to the
      cache, and stay on disk. A `.csv` that names image files is a list of images.

    Unreadable images are named, left out and counted; more than a fifth of them is an error.
    """
    given, path = str(path), Path(path)
    if not path.exists():
        raise _absent(given)
    cache = cache or default_cache()
    domain = read_unchecked(path, cache, track, reading)
    return readable(domain, cache, track) if domain.holds_images else domain


def _absent(given: str) -> UserError:
    """Return the error of a path where nothing is: an address, a name that the shell was to replace, or a wrong one."""
    path = Path(given)
    if re.match(r"\w+://?", given):
        return UserError(f"{given} is an address, and files are read from this machine: fetch it, and give its path.")
    replaced = path.expanduser() if given.startswith("~") else None
    if replaced is not None and replaced.exists():
        return UserError(f"{given} does not exist, as the shell has left its ~ alone; give {replaced}.")
    near = sorted(other.name for other in path.parent.iterdir())[:8] if path.parent.is_dir() else []
    hint = f"{path.parent} holds {', '.join(near)}" if near else f"{path.parent} does not exist or is empty"
    return UserError(f"{path} does not exist; {hint}. Give {KINDS}.")


def read_unchecked(
    path: Path, cache: Path | None = None, track: Track = silent, reading: Reading = AS_IT_SAYS
) -> Domain:
    """Return the domain at a path that exists; images are found, not yet looked at."""
    if path.is_dir():
        return read_folder(path)
    if is_idx(path):
        return from_arrays(*read_idx(path), path.stem, kind=reading.kind)
    suffixes = "".join(path.suffixes[-2:]).lower(), path.suffix.lower()  # .csv.gz, .csv
    if (reader := next((READERS[suffix] for suffix in suffixes if suffix in READERS), None)) is None:
        raise UserError(f"{path} is of no known kind; give {KINDS}.")
    domain = reader(path, cache or default_cache(), track, reading)
    return said_signals(domain) if reading.kind == "signal" else domain


def labels_beside(path: Path) -> list[Path]:
    """Return the file with the labels of a `.npy` or of MNIST's images, if it is there."""
    if path.suffix == ".npy":
        return [beside] if (beside := labels_of(path)) else []
    return [idx_labels(path)] if is_idx(path) and idx_labels(path).exists() else []


LISTS = (".txt", ".lst")
TEXTS = (".csv", ".tsv", ".tab", ".data")
Reader = Callable[[Path, Path, Track, Reading], Domain]
"""A file, the folder for what is kept of it, what shows progress, and how it is to be read → its domain."""


def _images(read: Callable[[Path], Domain]) -> Reader:
    return lambda path, cache, track, reading: read(path)  # noqa: ARG005


def _arrays(read: Callable[[Path, Reading], Domain]) -> Reader:
    return lambda path, cache, track, reading: read(path, reading)  # noqa: ARG005


def _read_text(path: Path, reading: Reading) -> Domain:
    """Return the images that a table names, else its rows."""
    images = image_list_of(path, reading) if reading.kind in ("auto", "images") else None
    return images or read_csv(path, reading)


READERS: dict[str, Reader] = {
    **dict.fromkeys(LISTS, _images(read_image_list)),
    ".tar": _images(lambda path: read_shards([path], path.stem)),
    ".mat": _arrays(lambda path, reading: from_chosen(read_mat(path), path, reading)),
    ".npz": _arrays(read_npz),
    ".npy": _arrays(read_npy),
    ".parquet": read_parquet,
    **dict.fromkeys((".feather", ".arrow"), _arrays(read_feather)),
    **dict.fromkeys(TEXTS, _arrays(_read_text)),
    **{text + packed: _arrays(read_csv) for text in TEXTS for packed in OPENERS},
}


def read_paths(
    paths: Sequence[str | Path], cache: Path | None = None, track: Track = silent, reading: Reading = AS_IT_SAYS
) -> list[Domain]:
    """Return what the paths hold: single images as one domain, every other path as `read_domain` does.

    Items of several paths begin with their path: "b.npz: row 0".
    """
    images = [file for file in map(Path, paths) if file.is_file() and _is_image(file)]
    others = [path for path in paths if Path(path) not in images]
    domains = [read_domain(path, cache, track, reading) for path in others]
    if len(paths) > 1:
        domains = [_told_apart(domain, path) for domain, path in zip(domains, others, strict=True)]
    if images:
        labels = torch.full((len(images),), UNLABELLED)
        pictures = Domain("images", tuple(images), labels, (), tuple(map(str, images)), kind="images")
        domains.insert(0, readable(pictures, cache or default_cache(), track))
    return domains


def _told_apart(domain: Domain, path: str | Path) -> Domain:
    """Return the domain with items that say which file they are of: those that are paths below it do already."""
    items = (item if item.startswith(str(path)) else f"{path}: {item}" for item in domain.items)
    return replace(domain, items=tuple(items))


def _is_image(file: Path) -> bool:
    """Return whether a file is a picture: by its name, or by its content where its name says nothing else."""
    return is_image(file) or (file.suffix.lower() not in READERS and not is_idx(file) and is_picture_within(file))
