"""Text with separators, as programs and people write it → a table of typed columns."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from jointadapt.data import arrays
from jointadapt.data.labels import MISSING
from jointadapt.data.table_rows import BLANKS, some_names

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SEPARATORS = ("\t", ";", "|", ",")  # the comma last, as it also stands in numbers
SAMPLE_LINES = 200
NO_NUMBER = (*MISSING, "-", "--", ".", "na", "Na", "None", "none", "-nan", "-NaN", "#NA", "missing")
ENGLISH = re.compile(r"[+-]?(\d+|\d{1,3}([,\u00a0\u202f ']\d{3})+)?(\.\d*)?([eE][+-]?\d+)?")
EUROPEAN = re.compile(r"[+-]?(\d+|\d{1,3}([.\u00a0\u202f ']\d{3})+)?(,\d*)?([eE][+-]?\d+)?")


def read_delimited(path: Path, known: Sequence[str] = ()) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the table of a file, and notes on what was found out about it.

    Encoding (UTF-8, UTF-16, else Windows' Latin), separator, comments before the header, whether there is a header,
    spellings of missing values, decimal commas and grouped digits are found out; all rows decide the type of a column.

    Args:
        path: a text file, compressed by gzip, bzip2 or xz if its name ends so.
        known: names of columns by which a first line is known as the header.
    """
    text, notes = _as_utf8(_content(path))
    text, separator = _without_preamble(text)
    sample = "".join(_lines(text, SAMPLE_LINES))
    separator = separator or find_separator(sample)
    if separator is None:
        text, separator = re.sub(rb"[ \t]+", b" ", re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", text)), " "
        sample = "".join(_lines(text, SAMPLE_LINES))
    first = next(_records(sample, separator), [])
    names = None if has_header([*_records(sample, separator)], known) else [f"c{place}" for place in range(len(first))]
    if names:
        notes.append(
            f"its first line ({some_names(first, 4)}) holds values and no names; it is read as data, and the columns "
            f"are called {names[0]} to {names[-1]}"
        )
    options = arrow_csv.ReadOptions(block_size=min(len(text) + 1, 2**31 - 1), column_names=names)
    parsing = arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    conversion = arrow_csv.ConvertOptions(null_values=list(NO_NUMBER))
    table = arrow_csv.read_csv(io.BytesIO(text), options, parsing, conversion)
    table, commas = _cleaned(table, separator)
    notes += [f"commas {meaning} in {some_names(columns)}" for meaning, columns in commas.items()]
    return table, tuple(f"{path}: {note}." for note in notes)


def find_separator(sample: str) -> str | None:
    r"""Return what separates the cells of these lines: the first of tab, ; | , of which each line has as many.

    Blanks (None) where there is nothing else, and they make as many cells in each line.

    >>> find_separator("weight;pulse\n71,5;60\n80,0;62\n"), find_separator("1 2\n 3  4\n")
    (';', None)
    """
    lines = [re.sub(r'"[^"]*"', "", line) for line in sample.splitlines() if line.strip()]
    counts = {separator: [line.count(separator) for line in lines] for separator in SEPARATORS}
    for separator, each in counts.items():
        if each and 0 < min(each) == max(each):
            return separator
    if lines and not any(map(any, counts.values())):
        cells = {len(line.split()) for line in lines}
        return None if len(lines) > 1 and len(cells) == 1 and cells != {1} else ","
    return max(SEPARATORS[::-1], key=lambda separator: counts[separator][:1])


def has_header(rows: Sequence[Sequence[str]], known: Sequence[str] = ()) -> bool:
    """Return whether the first row names the columns: unless most of its cells are numbers, or come again below.

    Numbers that rise from cell to cell may be names, as wavelengths and a frame's 0, 1, 2 are.

    >>> has_header([["5.1", "3.5", "setosa"], ["4.9", "3.0", "setosa"]]), has_header([["0", "1", "2"], ["5", "4", "4"]])
    (False, True)
    """
    if not rows:
        return True
    first, below = [cell.strip(BLANKS) for cell in rows[0]], [*zip(*rows[1:], strict=False)]
    below = [{cell.strip(BLANKS) for cell in column} for column in below] + [set()] * (len(first) - len(below))
    again = [bool(cell) and cell in column for cell, column in zip(first, below, strict=True)]
    if any(cell.casefold() in known and not there for cell, there in zip(first, again, strict=True)):
        return True
    numbers = [_number(cell) for cell in first]
    rising = [number for number in numbers if number is not None]
    if len(set(first)) == len(first) and rising == sorted(rising) and _are_names(rising):
        return True
    values = sum(number is not None or there for number, there in zip(numbers, again, strict=True))
    return 2 * values <= sum(map(bool, first))


def _are_names(numbers: Sequence[float]) -> bool:
    """Return whether rising numbers may be names of columns: 0, 1, 2, …, or too many to rise by chance."""
    counted = len(numbers) > 2 and [number - numbers[0] for number in numbers] == [*range(len(numbers))]
    return (counted and numbers[0] in (0, 1)) or (len(numbers) > 5 and len(set(numbers)) == len(numbers))


def _content(path: Path) -> bytes:
    """Return the bytes of a file, unpacked; what would unpack beyond all measure is refused."""
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        return path.read_bytes()
    most = max(arrays.MOST_UNPACKED, arrays.MOST_GROWTH * path.stat().st_size)
    with opener(path, "rb") as file:
        content = file.read(most + 1)
    arrays.refuse_bomb(path, len(content), "not compressed")
    return content


def _as_utf8(content: bytes) -> tuple[bytes, list[str]]:
    """Return text as UTF-8, and notes on what it was read as."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16").encode(), []
    if b"\0" in content[:4]:
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be").encode(), []
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        strange = content[error.start : error.start + 1]
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        note = (
            f"it is no UTF-8, and read as Windows' Latin text (its first strange byte is {strange!r}); save it as UTF-8"
        )
        return text.encode(), [note]
    return content, []


def _without_preamble(text: bytes) -> tuple[bytes, str | None]:
    """Return text without blank lines and comments before the header, and the separator that its first line names."""
    separator = None
    while True:
        line, end, rest = text.partition(b"\n")
        bare = line.strip()
        if (named := re.fullmatch(rb'"?sep=(.)"?', bare)) is not None:  # Excel's
            separator = named[1].decode("latin-1")
        elif bare.startswith(b"#") and not _same_cells(bare, rest.partition(b"\n")[0]):
            pass
        elif bare.startswith(b"#"):
            return text.replace(b"#", b"", 1), separator
        elif bare or not end:
            return text, separator
        text = rest


def _same_cells(line: bytes, following: bytes) -> bool:
    """Return whether two lines have as many separators, and any."""
    counts = [[part.count(separator.encode()) for separator in SEPARATORS] for part in (line, following)]
    return any(a and a == b for a, b in zip(*counts, strict=True))


def _lines(text: bytes, most: int) -> Iterator[str]:
    """Yield the first lines; those that break only at a return, as old files do, at these."""
    head = text if text.find(b"\n", 0, 2**20) >= 0 else text.replace(b"\r", b"\n")
    for number, line in enumerate(io.BytesIO(head)):
        if number == most:
            return
        yield line.decode(errors="replace")


def _records(sample: str, separator: str) -> Iterator[list[str]]:
    """Yield the rows of cells, blank lines left out; none further where the text is none of that kind."""
    try:
        yield from filter(None, csv.reader(io.StringIO(sample, newline=""), delimiter=separator))
    except csv.Error:
        return


def _cleaned(table: pa.Table, separator: str) -> tuple[pa.Table, dict[str, list[str]]]:
    """Return a table whose texts have no blanks around, or are numbers where all of a column are; what commas mean."""
    commas: dict[str, list[str]] = {}
    columns = [*table.columns]
    for place, (name, column) in enumerate(zip(table.column_names, columns, strict=True)):
        if pa.types.is_string(column.type):
            texts = column.combine_chunks().dictionary_encode()
            known = [text.strip(BLANKS) for text in texts.dictionary.to_pylist()]
            numbers, meaning = numbers_in(known, separator != ",")
            if meaning:
                commas.setdefault(meaning, []).append(name)
            values = pa.array(known, pa.string()) if numbers is None else pa.array(numbers, pa.float64())
            columns[place] = pa.chunked_array([values.take(texts.indices)])
    return pa.table(columns, names=table.column_names) if columns else table, commas


def numbers_in(texts: Sequence[str], comma_first: bool) -> tuple[list[float | None] | None, str]:
    """Return texts as numbers, None where one is missing, and what commas mean in them; None where some are none."""
    bare = [None if text in NO_NUMBER else text.removesuffix("%").rstrip() for text in texts]
    given = [text for text in bare if text is not None]
    commas = any("," in text for text in given)
    for comma in (True, False) if comma_first and commas else (False, True):
        style = EUROPEAN if comma else ENGLISH
        if given and all(style.fullmatch(text) and any(map(str.isdigit, text)) for text in given):
            meaning = ("are read as decimal points" if comma else "are read as grouping digits") if commas else ""
            return [None if text is None else _plain(text, comma) for text in bare], meaning
    return None, ""


def _plain(text: str, comma: bool) -> float:
    text = re.sub(r"[\u00a0\u202f ']", "", text)
    return float(text.replace(".", "").replace(",", ".") if comma else text.replace(",", ""))


def _number(cell: str) -> float | None:
    numbers, _ = numbers_in([cell], False)
    return None if numbers is None else numbers[0]
