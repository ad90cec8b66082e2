"""Image lists, as people and tools write them → names and labels; and CSV files that name images."""

import codecs
import csv
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jointadapt.data.arrays import LABEL_KEYS
from jointadapt.data.domain import Domain
from jointadapt.data.image_files import is_image
from jointadapt.data.image_folders import from_files
from jointadapt.data.kinds import AS_IT_SAYS, Reading
from jointadapt.data.labels import no_label_of_list
from jointadapt.data.parts import column_named, part_of
from jointadapt.data.relocate import locate
from jointadapt.errors import UserError, as_user_error

TRIED = 50  # lines that tell how a list is written
WIDEST = 20  # columns
HEAD = 2**16  # bytes of a CSV that tell what it is
SEVERAL = re.compile(r"\d+(\s*[,;|]\s*\d+)+|[^|]+(\|[^|]+)+")
BESIDE = frozenset({"id", "index", "width", "height", "split", "fold"})  # numbers of a picture that are no features


class _Way(NamedTuple):
    """How a line is written: what stands between its fields, and the column of the picture's name.

    Between blanks a name may hold some itself: it is all but the last field (column 0), or all but the first (−1).
    """

    delimiter: str
    column: int


ALONE = _Way("", 0)
BLANKS = _Way(" ", 0)
WAYS = (
    *(_Way("\t", column) for column in range(WIDEST)),
    BLANKS,
    ALONE,
    *(_Way(mark, column) for mark in ",;" for column in range(WIDEST)),
    _Way(" ", -1),
)


@dataclass(frozen=True)
class ImageList:
    """What the lines of a list say.

    Args:
        names: of the pictures.
        fields: what else stands in each line.
        lines: their numbers in the file, counted from 1.
        header: the names of these fields, where the first line gives them.
    """

    path: Path
    names: list[str]
    fields: list[list[str]]
    lines: list[int]
    header: tuple[str, ...] | None

    def column(self, name: str) -> list[str | None] | None:
        """Return what stands in the column of a name; None where there is none."""
        found = column_named(self.header or (), name) if name else None
        if found is None or self.header is None:
            return None
        return [_label(fields, self.header.index(found)) for fields in self.fields]

    def labels(self, reading: Reading = AS_IT_SAYS) -> list[str | None]:
        """Return the label of each picture; a `UserError` for a picture that has several."""
        column = self._label_column(reading)
        found = [_label(fields, column) for fields in self.fields]
        for name, line, fields in zip(self.names, self.lines, self.fields, strict=True):
            several = fields if column is None else SEVERAL.findall(fields[column] if column < len(fields) else "")
            if len(several) > 1 or (column is not None and several):
                head = "" if self.header else ", or a first line that names the columns"
                raise UserError(
                    f"{self.path}: line {line} gives {name} several labels ({', '.join(fields)}); give one a picture "
                    f"(in quotes if it holds blanks){head}."
                )
        first: dict[str, str | None] = {}
        for name, label in zip(self.names, found, strict=True):
            if first.setdefault(name, label) != label:
                raise UserError(f"{self.path} gives {name} two labels, {first[name]} and {label}; leave one.")
        return found

    def _label_column(self, reading: Reading) -> int | None:
        """Return which of the fields is the label; None where a line has one at most, or all would have to be."""
        if not self.header:
            return 0 if max(map(len, self.fields), default=0) <= 1 else None
        named = [name.lower() for name in self.header]
        keys = (reading.label_column.lower(),) if reading.label_column else LABEL_KEYS
        known = [named.index(key) for key in keys if key in named]
        others = [i for i, name in enumerate(named) if name not in (*BESIDE, reading.domain_column.lower())]
        if not known and len(others) > 1:
            raise UserError(
                f"{self.path}: which of its columns {', '.join(self.header)} is the label? Name it with --label-column."
            )
        return (known or others or [0])[0]


def _label(fields: Sequence[str], column: int | None) -> str | None:
    return fields[column] or None if column is not None and column < len(fields) else None


def read_list(path: Path) -> tuple[list[str], list[str | None]]:
    """Return the names and labels that the lines of an image list give."""
    listed = parse_list(path)
    return listed.names, listed.labels()


def parse_list(path: Path, most: int = -1) -> ImageList:
    """Return what the lines of a list say, however it is written: of all ways the one that names most pictures.

    Of a file of more than `most` bytes only the first lines are read.

    Fields may stand between blanks, tabs, commas or semicolons, in quotes; the label first or last; folders with
    `\\` between them. A first line may name the columns; one that begins with # is a comment.
    """
    there = partial(_place, path.parent)
    named = partial(_names_a_picture, there=there)
    with as_user_error(path), path.open("rb") as file:
        content = file.read(most)
        lines = list(_lines(content[: content.rfind(b"\n") + 1] if len(content) == most else content))
    lines = [(number, line) for number, line in lines if not line.startswith("#") or named(_split(line, BLANKS)[0])]
    if not lines:
        raise UserError(f"{path} is empty; an image list has a line `path label` for each image.")
    way = _best_way([line for _, line in lines], there)
    parts = [(number, *_split(line, way)) for number, line in lines]
    if not any(fields[-1] for *_, fields in parts if fields):
        parts = [(number, name, fields[:-1]) for number, name, fields in parts]  # a mark that ends every line
    header = None
    if len(parts) > 1 and not named(parts[0][1]) and any(named(name) for _, name, _ in parts[1 : TRIED + 1]):
        header = tuple(parts.pop(0)[2])
    names = [there(name) or name for _, name, _ in parts]
    return ImageList(path, names, [fields for *_, fields in parts], [number for number, *_ in parts], header)


def _lines(content: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines that hold something, with their numbers."""
    text = None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes
        try:
            text = content.decode("utf-16")
        except UnicodeDecodeError:
            text = None
    text = os.fsdecode(content.removeprefix(codecs.BOM_UTF8)) if text is None else text
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def _best_way(lines: Sequence[str], there: Callable[[str], str | None]) -> _Way:
    """Return the way of writing by which most of the lines name a file that is there, or else a picture."""
    sample = lines[:: max(1, len(lines) // TRIED)]

    def success(way: _Way) -> tuple[int, int]:
        names = [_split(line, way)[0] for line in sample]
        return sum(there(name) is not None for name in names), sum(is_image(Path(name)) for name in names)

    marks = {mark for mark in ",;\t" if any(mark in line for line in sample)}
    widths = {mark: max(len(_fields(line, mark)) for line in sample) for mark in marks}
    possible = [way for way in WAYS if way.delimiter in ("", " ") or way.column < widths.get(way.delimiter, 0)]
    return max(possible, key=success)


def _split(line: str, way: _Way) -> tuple[str, list[str]]:
    """Return the picture's name and the other fields of a line that is written in some way."""
    if way == ALONE:
        return _unquoted(line), []
    if way.delimiter != " ":
        fields = _fields(line, way.delimiter)
        column = min(way.column, len(fields) - 1)
        return fields[column], fields[:column] + fields[column + 1 :]
    if line[0] in "\"'":
        fields = _fields(line, " ", line[0])
        return (fields[0], fields[1:]) if way.column == 0 else (fields[-1], fields[:-1])
    words = list(re.finditer(r"[^ \t]+", line))
    if way.column == -1:
        return (_unquoted(line[words[1].start() :]), [words[0].group()]) if len(words) > 1 else (line, [])
    ends = [word.end() for word in words if is_image(Path(word.group()))] or [word.end() for word in words[-2:-1]]
    name = line[: ends[-1]] if ends else line
    rest = line[len(name) :].strip()
    return name, _fields(rest, " ") if rest else []


def _fields(line: str, delimiter: str, quote: str = '"') -> list[str]:
    """Return the fields of a line of CSV, one of `"` as it stands there where no field begins with it."""
    try:
        found = next(csv.reader([line], delimiter=delimiter, quotechar=quote, skipinitialspace=True))
    except csv.Error:
        found = line.split(delimiter)
    return [field.strip() for field in found if field.strip() or delimiter != " "] or [line]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _place(folder: Path, name: str) -> str | None:
    """Return the name by which a file is there: as it is, with / for each backslash, its accents as others encode them.

    None if there is none.
    """
    slashed = name.replace("\\", "/")
    for text in dict.fromkeys((name, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD")))):
        try:
            if text and os.path.isfile(folder / text):  # noqa: PTH113  # Path's raises for a name too long
                return text
        except ValueError:  # a null byte
            return None
    return None


def _names_a_picture(name: str, there: Callable[[str], str | None]) -> bool:
    return is_image(Path(name)) or there(name) is not None


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
    return from_files(paths, labels, path.stem, unlabelled=no_label_of_list(labels, path.stem))


def image_list_of(path: Path, reading: Reading = AS_IT_SAYS) -> Domain | None:
    """Return the images that a CSV names, as Kaggle's `filename,label`; None of a table that names none.

    One with columns of numbers beside name and label is a table, whose rows are called by their images.
    """
    if not _is_of_images(path):
        return None
    listed = parse_list(path)
    beside = sorted(folder for folder in path.parent.iterdir() if folder.is_dir())
    places = locate(listed.names, (path.parent, *beside))
    missing = [name for name, place in zip(listed.names, places, strict=True) if place is None]
    if missing:
        raise UserError(
            f"{path} names images, and {len(missing)} of {len(places)} are not there, the first is {missing[0]}; they "
            f"are looked for in {path.parent} and the folders in it."
        )
    labels = listed.labels(reading)
    domain = from_files([*filter(None, places)], labels, path.stem, unlabelled=no_label_of_list(labels, path.stem))
    return part_of(domain, listed.column(reading.domain_column), listed.header or (), reading, str(path))


def _is_of_images(path: Path) -> bool:
    """Return whether a CSV names images, by its first lines: it may be a large table."""
    try:
        head = parse_list(path, HEAD)
    except UserError:
        return False  # whoever reads it as a table says what is wrong
    pictured = sum(is_image(Path(name)) for name in head.names)
    return 2 * pictured > len(head.names) and not _has_features(head)


def _has_features(listed: ImageList) -> bool:
    """Return whether a table's row holds numbers that are neither its label nor a matter of the picture."""
    names = [name.lower() for name in listed.header or ()]
    if len(names) < 2:
        return False
    kept = [index for index, name in enumerate(names) if name not in BESIDE and name not in LABEL_KEYS]
    columns = [[fields[index] for fields in listed.fields if index < len(fields)] for index in kept]
    numeric = [column for column in columns if all(map(_is_number, column))]
    return bool(numeric) and not all(set(column) <= {"0", "1"} for column in numeric)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
