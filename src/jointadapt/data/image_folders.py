"""Folders, lists and archives of images → domains."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from jointadapt.data.domain import UNLABELLED, Domain
from jointadapt.data.images import SUFFIXES, find_defects, is_image
from jointadapt.data.labels import encode_labels, no_label_of_list
from jointadapt.data.shards import read_index
from jointadapt.errors import UserError, as_user_error
from jointadapt.runtime.progress import Track

MOST_DEFECTS = 0.2


def read_folder(path: Path) -> Domain:
    """Return the images of a folder: by class folders, or flat and unlabelled, or in archives."""
    with as_user_error(path):
        folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        flat = tuple(sorted(entry for entry in path.iterdir() if entry.is_file() and is_image(entry)))
    found = {folder.name: _images_below(folder) for folder in folders}
    found = {name: images for name, images in found.items() if images}
    if flat and found:
        raise UserError(
            f"{path} holds both images ({len(flat)}, as {flat[0].name}) and folders of images ({', '.join(found)}); "
            "put every image into a class folder, or none."
        )
    if not flat and not found and (archives := sorted(path.glob("*.tar"))):
        return read_shards(archives, path.resolve().name)
    if not flat and not found:
        raise UserError(f"{path} holds no images; give a folder of class folders with images, or of images alone.")
    paths = flat or tuple(image for images in found.values() for image in images)
    labels = [UNLABELLED] * len(flat) + [index for index, name in enumerate(found) for _ in found[name]]
    empty = [folder.name for folder in folders if folder.name not in found] if found else []
    notes = (f"{path}: no images in {', '.join(empty)}; left out.",) if empty else ()
    items = tuple(map(str, paths))
    return Domain(path.resolve().name, paths, torch.tensor(labels), tuple(found), items, notes, kind="images")


def read_shards(archives: Sequence[Path], name: str) -> Domain:
    """Return the images of tar archives, none of them unpacked."""
    members = read_index(archives, SUFFIXES)
    if not members:
        raise UserError(f"{archives[0]} holds no images; give an archive of KEY.jpg and KEY.cls, or of CLASS/NAME.jpg.")
    images = tuple(image for image, _ in members)
    labels, known, notes = encode_labels([text for _, text in members], len(images), name)
    return Domain(name, images, labels, known, tuple(map(str, images)), notes, kind="images")


def _images_below(folder: Path) -> list[Path]:
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(file for file in files if is_image(file))


def read_list(path: Path) -> tuple[list[str], list[int | str | None]]:
    """Return the names and labels that the lines of an image list give."""
    names, labels = [], []
    with as_user_error(path):
        lines = os.fsdecode(path.read_bytes()).split("\n")
    for line in filter(None, map(str.strip, lines)):
        name, _, label = line.rpartition(" ")
        if name and not is_image(Path(line)):
            names.append(name.strip())
            labels.append(label)
        else:
            names.append(line)
            labels.append(None)
    if not names:
        raise UserError(f"{path} is empty; an image list has a line `path label` for each image.")
    return names, labels


def read_image_list(path: Path) -> Domain:
    """Return the images that a list names; one that is not there is an error."""
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
    """Return a domain of image files, not yet looked at; a missing label is None, or −1 beside indices of classes."""
    encoded, classes, notes = encode_labels(labels, len(paths), name, no_label_of_list(labels, name))
    return Domain(name, tuple(paths), encoded, classes, tuple(map(str, paths)), notes, kind="images")


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
