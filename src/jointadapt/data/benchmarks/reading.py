"""A benchmark's domain as it lies below the root → a `Domain` in the benchmark's classes."""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from jointadapt.data.arrays import from_arrays
from jointadapt.data.benchmarks.spec import Benchmark
from jointadapt.data.domain import UNLABELLED, Domain
from jointadapt.data.image_files import find_images
from jointadapt.data.image_folders import MOST_DEFECTS, from_files, readable
from jointadapt.data.image_lists import read_list
from jointadapt.data.images import fingerprint, read_image
from jointadapt.data.kinds import Reading
from jointadapt.data.labels import no_label_of_list, simplified
from jointadapt.data.reading import LISTS, labels_beside, read_unchecked
from jointadapt.data.relocate import locate
from jointadapt.errors import UserError, some
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.progress import Track, silent


@dataclass(frozen=True)
class Found:
    """A domain as it lies there, its images not yet decoded, and what does not belong to it.

    Args:
        lost: files that an image list names and that are not there.
        surplus: rows of each class that is not the benchmark's.
    """

    domain: Domain
    lost: tuple[str, ...]
    surplus: Mapping[str, int]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should hear."""
        name, rows = self.domain.name, sum(self.surplus.values())
        lost = f"{name}: {len(self.lost)} listed images are not there, as {some(self.lost, 1)}; left out."
        surplus = f"{name}: {rows} rows of other classes than the benchmark's left out ({some(self.surplus)})."
        return (lost,) * bool(self.lost) + (surplus,) * bool(rows)


def scan(benchmark: Benchmark, name: str, root: Path) -> Found:
    """Return what is found of a domain."""
    paths = benchmark.find(root).get(name)
    if paths is None:
        raise UserError(f"{benchmark.lacks(name, root)}; see: jointadapt data check {benchmark.name} --root {root}")
    parts = [_scan(benchmark, path, root) for path in paths]
    first = parts[0].domain
    if len(parts) > 1:
        if not benchmark.classes:
            raise UserError(f"{benchmark.name}: the parts of {name} can be joined only where classes are given.")
        contents = [part.domain.content for part in parts]
        tensors = [part.domain.rows(range(len(part.domain))) for part in parts if not part.domain.holds_images]
        paths_of = [content for content in contents if isinstance(content, tuple)]
        joined = torch.cat(tensors) if tensors else tuple(itertools.chain.from_iterable(paths_of))
        first = replace(
            first,
            content=joined,
            labels=torch.cat([part.domain.labels for part in parts]),
            items=tuple(item for part in parts for item in part.domain.items),
            notes=tuple(note for part in parts for note in part.domain.notes),
        )
    surplus = sum((Counter(part.surplus) for part in parts), Counter())
    return Found(replace(first, name=name), tuple(lost for part in parts for lost in part.lost), surplus)


def read(benchmark: Benchmark, name: str, root: Path, cache: Path | None = None, track: Track = silent) -> Domain:
    """Return a domain, ready to train on; its notes say what is left out."""
    found = scan(benchmark, name, root)
    domain = found.domain
    if len(found.lost) > MOST_DEFECTS * len(domain):
        raise UserError(
            f"{name}: {len(found.lost)} listed images are not there, as {found.lost[0]}; "
            f"see: jointadapt data check {benchmark.name} --root {root}"
        )
    if domain.holds_images:
        domain = readable(domain, cache or default_cache(), track)
        domain = _in_memory(domain, track) if benchmark.pixels else domain
    return replace(domain, notes=(*domain.notes, *found.notes))


def fingerprint_of(paths: tuple[Path, ...], root: Path | None = None) -> str:
    """Return a digest of what lies there: of every file that a domain is read from, its name, time and content."""
    return fingerprint(file for path in paths for file in _files_of(path, root or path.parent))


def _files_of(path: Path, root: Path) -> list[Path]:
    if path.is_dir():
        return find_images(path).images or sorted(path.glob("*.tar"))
    if path.suffix.lower() in LISTS:
        return [path, *filter(None, _places(read_list(path)[0], path, root))]
    return [path, *labels_beside(path)]


def _scan(benchmark: Benchmark, path: Path, root: Path) -> Found:
    listed, reading = path.suffix.lower() in LISTS, Reading(kind=benchmark.kind)
    domain, lost = _listed(benchmark, path, root) if listed else (read_unchecked(path, reading=reading), ())
    if not benchmark.classes:
        return Found(domain, lost, {})
    named = replace(domain, classes=_class_names(benchmark, domain.classes))
    rows = Counter(named.classes[label] for label in named.labels.tolist() if label != UNLABELLED)
    inside, others = named.in_classes(benchmark.classes)
    kept = (inside.labels != UNLABELLED).nonzero().flatten().tolist()
    if domain.labelled and not kept:
        raise UserError(
            f"{path}: none of its classes ({some(domain.classes)}) is one of {benchmark.name}'s "
            f"({some(benchmark.classes)}); is there an extra folder level?"
        )
    return Found(inside.select(kept) if kept else inside, lost, {name: rows[name] for name in others})


def _listed(benchmark: Benchmark, path: Path, root: Path) -> tuple[Domain, tuple[str, ...]]:
    """Return the images of a list that are there, and the names of those that are not.

    A folder that is named as a class tells the class; where there is none, the number does.
    """
    names, labels = read_list(path)
    places = _places(names, path, root)
    known, pairs = _known(benchmark), zip(places, labels, strict=True)
    kept = [(place, known.get(simplified(place.parent.name), label)) for place, label in pairs if place is not None]
    if not kept:
        raise UserError(f"{path}: none of its {len(names)} images is below {root}; the first is {names[0]}.")
    lost = tuple(name for name, place in zip(names, places, strict=True) if place is None)
    found = [label for _, label in kept]
    unlabelled = no_label_of_list(found, path.stem)
    return from_files([place for place, _ in kept], found, path.stem, unlabelled=unlabelled), lost


def _places(names: list[str], path: Path, root: Path) -> list[Path | None]:
    """Return where the files of a list are, None for one that is not there."""
    beside = sorted(folder for folder in path.parent.iterdir() if folder.is_dir())
    return locate(names, (path.parent, root, *beside))


def _known(benchmark: Benchmark) -> dict[str, str]:
    names = {**{name: name for name in benchmark.classes}, **benchmark.aliases}
    return {simplified(other): name for other, name in names.items()}


def _class_names(benchmark: Benchmark, found: tuple[str, ...]) -> tuple[str, ...]:
    """Return the benchmark's names of classes; integers are indices, counted from 1 where the last one is met."""
    known = _known(benchmark)
    first = 1 if "0" not in found and str(len(benchmark.classes)) in found else 0
    index = {str(number): name for number, name in enumerate(benchmark.classes, first)}
    return tuple(known.get(simplified(name)) or index.get(name, name) for name in found)


def _in_memory(domain: Domain, track: Track) -> Domain:
    """Return a domain of images with their pixels as rows."""
    assert isinstance(domain.content, tuple)
    pictures = [read_image(path) for path in track(domain.content, len(domain), f"reading {domain.name}")]
    sizes = sorted({tuple(picture.shape[1:]) for picture in pictures})
    if len(sizes) > 1:
        raise UserError(f"{domain.name}: images of one size are needed; got {some([f'{h} × {w}' for h, w in sizes])}.")
    pixels = from_arrays(torch.stack(pictures).permute(0, 2, 3, 1), name=domain.name)
    return replace(domain, content=pixels.content)
