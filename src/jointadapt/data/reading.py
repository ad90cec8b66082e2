"""A path → a domain: folders of images, the field's image lists, arrays."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from jointadapt.data.arrays import from_arrays, read_npy, read_npz
from jointadapt.data.domain import UNLABELLED, Domain
from jointadapt.data.image_folders import read_folder, read_image_list, read_shards, readable
from jointadapt.data.images import is_image
from jointadapt.data.kinds import AS_IT_SAYS, Reading
from jointadapt.data.mat_idx import is_idx, read_idx, read_mat
from jointadapt.data.tables import read_csv, read_parquet
from jointadapt.errors import UserError
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.progress import Track, silent

KINDS = "a folder of images, an image list (.txt), a .tar of images, or arrays (.npz, .npy, .mat, .csv, .parquet)"


def read_domain(
    path: str | Path, cache: Path | None = None, track: Track = silent, reading: Reading = AS_IT_SAYS
) -> Domain:
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
    domain = read_unchecked(path, cache, track, reading)
    return readable(domain, cache, track) if domain.holds_images else domain


def read_unchecked(
    path: Path, cache: Path | None = None, track: Track = silent, reading: Reading = AS_IT_SAYS
) -> Domain:
    """Return the domain at a path that exists; images are found, not yet looked at."""
    if path.is_dir():
        return read_folder(path)
    if is_idx(path):
        return from_arrays(*read_idx(path), path.stem, kind=reading.kind)
    if (reader := READERS.get(path.suffix.lower())) is None:
        raise UserError(f"{path} is of no known kind; give {KINDS}.")
    return reader(path, cache or default_cache(), track, reading)


Reader = Callable[[Path, Path, Track, Reading], Domain]
"""A file, the folder for what is kept of it, what shows progress, and how it is to be read → its domain."""


def _images(read: Callable[[Path], Domain]) -> Reader:
    return lambda path, cache, track, reading: read(path)  # noqa: ARG005


def _arrays(read: Callable[[Path, Reading], Domain]) -> Reader:
    return lambda path, cache, track, reading: read(path, reading)  # noqa: ARG005


READERS: dict[str, Reader] = {
    ".txt": _images(read_image_list),
    ".lst": _images(read_image_list),
    ".tar": _images(lambda path: read_shards([path], path.stem)),
    ".mat": _arrays(lambda path, reading: from_arrays(*read_mat(path), path.stem, kind=reading.kind)),
    ".npz": _arrays(read_npz),
    ".npy": _arrays(read_npy),
    ".csv": _arrays(read_csv),
    ".parquet": read_parquet,
}


def read_paths(
    paths: Sequence[str | Path], cache: Path | None = None, track: Track = silent, reading: Reading = AS_IT_SAYS
) -> list[Domain]:
    """Return what the paths hold: single images as one domain, every other path as `read_domain` does."""
    images = [Path(path) for path in paths if is_image(Path(path)) and Path(path).is_file()]
    domains = [read_domain(path, cache, track, reading) for path in paths if Path(path) not in images]
    if images:
        labels = torch.full((len(images),), UNLABELLED)
        pictures = Domain("images", tuple(images), labels, (), tuple(map(str, images)), kind="images")
        domains.insert(0, readable(pictures, cache or default_cache(), track))
    return domains
