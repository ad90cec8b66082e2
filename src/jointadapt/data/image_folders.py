"""Folders and archives of images → domains."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from jointadapt.data.domain import Domain
from jointadapt.data.image_files import Found, find_images, is_aside, is_of_a_run, some_files, splits_among
from jointadapt.data.images import NEARLY_BLACK, Checked, DeepPicture, Picture, check, span
from jointadapt.data.labels import MISSING, encode_labels
from jointadapt.data.shards import read_index
from jointadapt.errors import UserError, as_user_error
from jointadapt.runtime.progress import Track

MOST_DEFECTS = 0.2
FULL = 2**16 - 1  # of 16 bits: what white is in a picture that uses all of them


def read_folder(path: Path) -> Domain:
    """Return the images of a folder: by class folders, or flat and unlabelled, or in archives."""
    with as_user_error(path):
        folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_aside(entry.name))
        here = find_images(path, deep=False)
        below = {folder.name: find_images(folder, path) for folder in folders if not is_of_a_run(folder)}
    found = {name: inside.images for name, inside in below.items() if inside.images}
    deeper = any(image.parent.parent != path for images in found.values() for image in images)
    _refuse_splits(path, found, deeper, f"give one of its parts, as {path}{os.sep}")
    if here.images and found:
        raise UserError(
            f"{path} holds both images ({len(here.images)}, as {here.images[0].name}) and folders of images "
            f"({', '.join(found)}); put every image into a class folder, or none."
        )
    if not here.images and not found and (archives := sorted(path.glob("*.tar"))):
        return read_shards(archives, path.resolve().name)
    if not here.images and not found:
        others = [*here.passed, *(file for inside in below.values() for file in inside.passed)]
        holds = f" It holds {some_files(others, path)}." if others else ""
        raise UserError(
            f"{path} holds no images; give a folder of class folders with images, or of images alone.{holds}"
        )
    if here.images:
        return from_files(here.images, None, path.resolve().name, here.notes(path))
    paths = tuple(image for images in found.values() for image in images)
    labels = torch.tensor([index for index, name in enumerate(found) for _ in found[name]])
    notes = _folder_notes(path, [here, *below.values()], [name for name in below if name not in found])
    items = tuple(map(str, paths))
    return _without_missing(Domain(path.resolve().name, paths, labels, tuple(found), items, notes, kind="images"))


def _without_missing(domain: Domain) -> Domain:
    """Return the domain with the images of folders that are called NA, nan or the like as images without a label."""
    missing = [name for name in domain.classes if name.strip() in MISSING]
    if not missing:
        return domain
    domain, _ = domain.in_classes(tuple(name for name in domain.classes if name not in missing))
    note = f"{domain.name}: images in {', '.join(missing)} have no label; if it is a class, give it another name."
    return replace(domain, notes=(*domain.notes, note))


def _folder_notes(path: Path, parts: Sequence[Found], empty: Sequence[str]) -> tuple[str, ...]:
    """Return what to say of a folder of class folders, some of them empty."""
    joined = Found()
    for part in parts:
        joined.passed += part.passed
        joined.circles += part.circles
    return (*((f"{path}: no images in {', '.join(empty)}; left out.",) if empty else ()), *joined.notes(path))


def _refuse_splits(path: Path, names: Iterable[str], deeper: bool, mend: str) -> None:
    """Raise a `UserError` where what should be classes are the splits of a data set, `train` and `val`.

    One such name alone may be a class (a picture of a train), unless folders lie in it.
    """
    names = [*names]
    splits = splits_among(names)
    if len(splits) > 1 or (splits and len(names) == 1 and deeper):
        raise UserError(f"{path} is split into {' and '.join(splits)}, which are no classes; {mend}{splits[0]}.")


def read_shards(archives: Sequence[Path], name: str) -> Domain:
    """Return the images of tar archives, none of them unpacked."""
    members, others = read_index(archives)
    if not members:
        raise UserError(f"{archives[0]} holds no images; give an archive of KEY.jpg and KEY.cls, or of CLASS/NAME.jpg.")
    texts = [text for _, text in members]
    _refuse_splits(archives[0], sorted({*filter(None, texts)}), False, "unpack it and give one of its parts, as ")
    notes = (f"{name}: {some_files(others)} passed over, being no images.",) if others else ()
    return from_files([image for image, _ in members], texts, name, notes)


def from_files(
    paths: Sequence[Picture],
    labels: Sequence[str | None] | None,
    name: str,
    notes: tuple[str, ...] = (),
    unlabelled: int | None = None,
) -> Domain:
    """Return a domain of image files, not yet looked at; a missing label is None, or what `unlabelled` is."""
    encoded, classes, said = encode_labels(labels, len(paths), name, unlabelled)
    return Domain(name, tuple(paths), encoded, classes, tuple(map(str, paths)), (*notes, *said), kind="images")


def readable(domain: Domain, cache: Path, track: Track) -> Domain:
    """Return the domain without its unreadable images; too many of them is an error.

    Those of more than 8 bits know from then on what black and white are in this domain.
    """
    assert isinstance(domain.content, tuple)
    checked = check(domain.content, cache, track, domain.name)
    domain = replace(_with_depth(domain, checked), notes=(*domain.notes, *_notes(domain, checked)))
    defects = checked.defects
    if not defects:
        return domain
    names = "; ".join(f"{domain.items[index]} ({reason})" for index, reason in list(defects.items())[:3])
    count = f"{len(defects)} of {len(domain)} images cannot be read: {names}{'; …' if len(defects) > 3 else ''}"
    if len(defects) > MOST_DEFECTS * len(domain):
        raise UserError(f"{domain.name}: {count}. That is more than a fifth; mend or remove them.")
    kept = domain.select([index for index in range(len(domain)) if index not in defects])
    notes = (f"{domain.name}: {count}. Skipped.", *domain.notes)
    return replace(kept, notes=notes, skipped=len(defects))


def _with_depth(domain: Domain, checked: Checked) -> Domain:
    """Return the domain with its deep pictures in their common range."""
    assert isinstance(domain.content, tuple)
    if checked.depth is None:
        return domain
    black, white = span(checked.depth)
    content = list(domain.content)
    for index in checked.deep:
        picture = content[index]
        assert not isinstance(picture, DeepPicture)  # nobody has looked at them before
        content[index] = DeepPicture(picture, black, white)
    return replace(domain, content=tuple(content))


def _notes(domain: Domain, checked: Checked) -> Iterator[str]:
    """Yield what to say of pictures that can be read, but may not be what they seem."""
    if checked.strips:
        strips = some_files([domain.items[index] for index in checked.strips], what="image")
        yield f"{domain.name}: {strips} far longer than wide, as strips are; only the middle is seen."
    if checked.depth is None:
        if checked.brightest < NEARLY_BLACK:
            yield f"{domain.name}: nearly black, with no value above {checked.brightest} of 255; scale them to 0 … 255."
        return
    black, white = span(checked.depth)
    if (black, white) != (0, FULL):
        yield (
            f"{domain.name}: {len(checked.deep)} images are of more than 8 bits, with numbers from "
            f"{checked.depth.low:g} to {checked.depth.high:g}; {black:g} is taken for black and {white:g} for white, "
            "unless a model brings the range that it was trained with."
        )
