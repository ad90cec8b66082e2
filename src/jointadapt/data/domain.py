"""A domain: named rows, labelled or not, as images on disk or as arrays in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from jointadapt.data.dataset_rows import DatasetRows
from jointadapt.data.images import Picture, open_rgb, read_image
from jointadapt.data.kinds import RowKind
from jointadapt.data.labels import SURPLUS, UNKNOWN, UNLABELLED, check_spellings, counted_otherwise, translate_classes
from jointadapt.data.mapped import TILE, Change, MappedRows
from jointadapt.data.table_rows import TableRows, some_names
from jointadapt.data.traces import trace
from jointadapt.data.transforms import Framing, Normalised
from jointadapt.errors import UserError, some

Transform = Framing | Normalised
BESIDE_ROWS = ("groups", "weights", "origins")  # what a domain may say of each row


@dataclass(frozen=True, eq=False)
class Domain:
    """Rows of one distribution.

    Args:
        name: what people call it ("amazon").
        content: a tensor (n, ...) of arrays, n rows on disk, n rows of a table's raw columns, n items of a dataset of
            one's own, or n images: paths, or members of tar archives.
        labels: int64 (n,), an index into `classes`, `UNLABELLED` where unknown.
        classes: the names of the classes.
        items: what a row is called in predictions.
        notes: what its reader noticed and the user should hear.
        columns: the names of the columns of rows (n, d), where they have any.
        kind: what a row is.
        ready: the rows are as a network is handed them: nothing is left to be done to them (`jointadapt.inputs`).
        white: the value of white in the pixels as they came; they were divided by it.
        groups: int64 (n,), where rows of one group are alike, as windows of one recording are: no split parts them.
        precomputed: the rows are what a frozen backbone made of the domain's own, its layers side by side.
        weights: (n,), ≥ 0, what each row of a source counts for in the risk and in a discrepancy; None: all are equal.
        origins: int64 (n,), which of several sources each row is from, an index into `origin_names`; None: of one.
        origin_weights: what each of these counts for in risk and transfer; none: all are equal.
    """

    name: str
    content: Tensor | MappedRows | TableRows | DatasetRows | tuple[Picture, ...]
    labels: Tensor
    classes: tuple[str, ...]
    items: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    skipped: int = 0
    columns: tuple[str, ...] = ()
    kind: RowKind = "features"
    ready: bool = False
    white: float = 1.0
    groups: Tensor | None = None
    precomputed: bool = False
    weights: Tensor | None = None
    origins: Tensor | None = None
    origin_names: tuple[str, ...] = ()
    origin_weights: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def holds_images(self) -> bool:
        """Whether rows are image files, to be decoded and transformed."""
        return isinstance(self.content, tuple)

    @property
    def holds_arrays(self) -> bool:
        """Whether rows are numbers, in memory or on disk; no image files, and no columns of a table yet."""
        return isinstance(self.content, Tensor | MappedRows)

    @cached_property
    def labelled(self) -> bool:
        """Whether any row has a label."""
        return bool((self.labels != UNLABELLED).any())

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of a row of arrays; None for images."""
        return None if isinstance(self.content, tuple) else tuple(self.content.shape[1:])

    def rows(
        self, indices: Sequence[int], transform: Transform | None = None, seeds: Sequence[int] | None = None
    ) -> Tensor:
        """Return the chosen rows as one tensor (len(indices), ...); images are decoded and transformed.

        With seeds, one of each row, a transform's chance comes from them; else from torch's own generator.
        """
        if isinstance(self.content, Tensor):
            return self.content.index_select(0, torch.as_tensor(indices, dtype=torch.long))
        if not isinstance(self.content, tuple):
            return self.content[list(indices)]
        if transform is None:
            raise ValueError("images need a transform that gives them one size.")
        pictures = (read_image(self.content[index]) for index in indices)
        if isinstance(transform, Framing):
            return torch.stack([transform(picture) for picture in pictures])
        if seeds is None:
            framed = [transform.framed(picture) for picture in pictures]
        else:
            own = torch.Generator()
            framed = [transform.framed(x, own.manual_seed(seed)) for x, seed in zip(pictures, seeds, strict=True)]
        return transform.normalised(framed)

    def changed(self, change: Change) -> "Domain":
        """Return the domain of arrays with its rows changed, tile by tile; rows on disk as they are read."""
        assert isinstance(self.content, Tensor | MappedRows)
        if isinstance(self.content, MappedRows):
            return replace(self, content=self.content.changed(change))
        return replace(self, content=torch.cat([change(tile) for tile in self.content.split(TILE)]))

    def unlabelled(self) -> "Domain":
        """Return the domain without its labels."""
        return replace(self, labels=torch.full_like(self.labels, UNLABELLED))

    def in_classes(self, classes: tuple[str, ...]) -> tuple["Domain", list[str]]:
        """Return the domain with labels as indices into these classes, and the names of its classes not among them.

        Rows of such a class become unlabelled. A class that is certainly one of these in another spelling is that one,
        and a note says so.
        """
        used = [self.classes[label] for label in self.labels.unique().tolist() if label != UNLABELLED]
        names = translate_classes(used, classes, self.name)
        index = {name: position for position, name in enumerate(classes)}
        translation = [index[names[name]] if name in names else UNLABELLED for name in self.classes]
        labels = [translation[label] if label != UNLABELLED else UNLABELLED for label in self.labels.tolist()]
        joined = [f"{name!r} as {names[name]!r}" for name in used if names.get(name, name) != name]
        notes = (
            *self.notes,
            f"{self.name}: classes in another spelling are read as the source's: {some(joined)}.",
        )
        domain = replace(self, labels=torch.tensor(labels), classes=classes, notes=notes if joined else self.notes)
        return domain, sorted(set(used) - set(names))

    def select(self, indices: Sequence[int]) -> "Domain":
        """Return the domain of the chosen rows only."""
        indices = list(indices)
        match self.content:
            case tuple():
                content = tuple(self.content[i] for i in indices)
            case Tensor():
                content = self.content[indices]
            case MappedRows() | TableRows() | DatasetRows():
                content = self.content.select(indices)
        items = tuple(self.items[i] for i in indices)
        beside = {name: x[indices] for name in BESIDE_ROWS if (x := getattr(self, name)) is not None}
        return replace(self, content=content, labels=self.labels[indices], items=items, **beside)

    def by_origin(self) -> tuple["Domain", ...]:
        """Return the sources that the domain is pooled from, each by its name; the domain itself if it is one."""
        if self.origins is None:
            return (self,)
        rows = [(self.origins == number).nonzero().flatten().tolist() for number in range(len(self.origin_names))]
        parts = zip(rows, self.origin_names, strict=True)
        alone = {"origins": None, "origin_names": (), "origin_weights": ()}
        return tuple(replace(self.select(own), name=name, **alone) for own, name in parts)

    def with_rows_of(self, parts: Sequence["Domain"]) -> "Domain":
        """Return the domain with the rows that the parts have in place of its own, one part for each of its sources."""
        assert self.origins is not None
        rows = torch.cat([part.rows(range(len(part))) for part in parts])
        return replace(self, content=rows[self.origins.argsort(stable=True).argsort()])

    def of_origins(self, kept: Sequence[int]) -> "Domain":
        """Return the rows of some of the sources that the domain is pooled from; of one alone they have no origins."""
        assert self.origins is not None
        place = {number: new for new, number in enumerate(kept)}
        part = self.select([row for row, number in enumerate(self.origins.tolist()) if number in place])
        assert part.origins is not None
        if len(kept) == 1:
            return replace(part, origins=None, origin_names=(), origin_weights=())
        origins = torch.tensor([place[number] for number in part.origins.tolist()])
        weights = tuple(self.origin_weights[number] for number in kept) if self.origin_weights else ()
        names = tuple(self.origin_names[number] for number in kept)
        return replace(part, origins=origins, origin_names=names, origin_weights=weights)


def some_rows(rows: int, most: int) -> Tensor:
    """Return the indices of up to so many of the rows, drawn at random but the same on every call, in their order."""
    return torch.randperm(rows, generator=torch.Generator().manual_seed(0))[:most].sort().values


def align(source: Domain, target: Domain, unknown: bool = False) -> tuple[Domain, tuple[str, ...]]:
    """Return the target with labels in the source's classes, and notes on classes that only one of them has.

    Rows of a class the source lacks become unlabelled: they are predicted, but no accuracy can count them. Where it is
    asked for what is `unknown`, they become `SURPLUS`.
    """
    if not source.labelled and isinstance(source.content, TableRows):
        raise UserError(
            f"the source {source.name!r} has no labels; name the column that holds them with --label-column (its "
            f"columns: {some_names(source.content.names)})."
        )
    if not source.labelled:
        raise UserError(
            f"the source {source.name!r} has no labels; give a folder with one subfolder a class, an image list, "
            "or arrays with labels."
        )
    if len(source.classes) < 2:
        raise UserError(
            f"the source {source.name!r} has one class only ({some(source.classes)}), and a classifier needs two; "
            "is there an extra folder level? Give the folder whose subfolders are the classes."
        )
    if unknown and UNKNOWN in source.classes:
        raise UserError(
            f"the source {source.name!r} has a class called {UNKNOWN!r}, as --unknown calls what is of none; give the "
            "class another name, or leave --unknown out."
        )
    check_spellings(source.classes, target.classes, source.name)
    lost = int((source.labels == UNLABELLED).sum())
    unlabelled = (f"{lost} of {len(source)} rows of the source have no label; they are left out.",) * bool(lost)
    if not target.labelled:
        return replace(target, classes=source.classes), unlabelled
    aligned, surplus = target.in_classes(source.classes)
    if not aligned.labelled:
        raise UserError(
            f"source and target have no class in common (source: {some(source.classes)}; target: {some(surplus)}); "
            "give domains with the same class names, or a target without labels."
        )
    present = {source.classes[label] for label in aligned.labels.unique().tolist() if label != UNLABELLED}
    if unknown:
        lacking = (aligned.labels == UNLABELLED) & (target.labels != UNLABELLED)
        aligned = replace(aligned, labels=aligned.labels.masked_fill(lacking, SURPLUS))
    missing = sorted(set(source.classes) - present)
    notes = [*unlabelled]
    if missing:
        notes.append(
            f"{_count(missing)} of the source not in the target ({some(missing)}): matching the distributions may "
            "push target rows into such classes; --label-shift missing takes weight off them."
        )
    if surplus:
        told = (
            "their rows should be called unknown."
            if unknown
            else "their rows get the nearest known class and are not counted in any accuracy; --unknown tells them."
        )
        notes.append(f"{_count(surplus)} of the target not in the source ({some(surplus)}): {told}")
    if missing and surplus and counted_otherwise(source.classes, target.classes):
        notes.append(
            f"the source's classes are the numbers {source.classes[0]} to {source.classes[-1]}, the target's "
            f"{target.classes[0]} to {target.classes[-1]}: if they are the same classes, count them from one number."
        )
    return aligned, tuple(notes)


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} {'classes are' if len(names) > 1 else 'class is'}"


def thumbnail(domain: Domain, row: int) -> Image.Image | None:
    """Return a picture of a row, when it has one."""
    if isinstance(domain.content, tuple):
        return open_rgb(domain.content[row])
    (pixels,) = domain.rows([row])
    if domain.kind == "signal":
        return trace(pixels)
    if pixels.ndim != 3 or len(pixels) not in (1, 3):
        return None
    pixels = 255 * (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp_min(1e-6)
    return Image.fromarray(pixels.round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy())
