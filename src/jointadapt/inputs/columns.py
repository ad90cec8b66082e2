"""One column of a table: is it of numbers, of categories, or no feature at all?"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from jointadapt.data.delimited import numbers_in
from jointadapt.data.labels import MISSING
from jointadapt.data.table_rows import BLANKS, as_float64, is_number, is_text
from jointadapt.errors import UserError

MOST_CATEGORIES = 100
INDEX = "an index, which tells rows apart and nothing else"
FEWEST_RISING = 10  # so many integers rise by chance once in 3.6 million
LARGEST_INTEGER = 2.0**53  # up to here each integer has a float64 of its own
INDEX_NAME = re.compile(r"Unnamed: \d+|__index_level_\d+__")  # as pandas names what had no name
ID_NAME = re.compile(r"index|row_?(id|number|nr)|(.*[ _.-])?id", re.IGNORECASE)
MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
DATE = re.compile(
    rf"\d{{4}}[-/.]\d\d?([-/.]\d\d?)?([T ].*)?|\d\d?[-/.]\d\d?[-/.](\d\d)?\d\d([T ].*)?|\d\d?:\d\d(:\d\d.*)?( ?[ap]m)?"
    rf"|\d\d?[-/ .]+{MONTH}[-/ .]+(\d\d)?\d\d.*|{MONTH}[ .]+\d\d?(,? +\d{{4}})?.*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Column:
    """A named column as it came, and what it may be taken for."""

    name: str
    raw: pa.ChunkedArray

    @classmethod
    def of_numbers(cls, name: str, numbers: np.ndarray) -> "Column":
        """Return a column of numbers."""
        return cls(name, pa.chunked_array([numbers]))

    @cached_property
    def value_type(self) -> pa.DataType:
        """The type of its values, also of a dictionary's."""
        return self.raw.type.value_type if pa.types.is_dictionary(self.raw.type) else self.raw.type

    @cached_property
    def is_text(self) -> bool:
        """Whether its values are texts."""
        return is_text(self.raw.type)

    @cached_property
    def texts(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Its values as texts without blanks around: an index a row (n,), −1 where one is missing, into the texts."""
        column = self.raw
        if not pa.types.is_dictionary(column.type):
            column = _as_strings(column).dictionary_encode()
        column = column.unify_dictionaries().combine_chunks()
        known = ["" if text is None else str(text).strip(BLANKS) for text in column.dictionary.to_pylist()]
        texts = sorted({text for text in known if text not in MISSING})
        index = {text: place for place, text in enumerate(texts)}
        places = np.array([*(index.get(text, -1) for text in known), -1])
        return places[column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)], tuple(texts)

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """Its values as float64 (n,), NaN where one is missing; None where some are no numbers."""
        if pa.types.is_null(self.value_type):
            return np.full(len(self.raw), np.nan)
        if is_number(self.value_type):
            return as_float64(self.raw.cast(self.value_type) if self.value_type != self.raw.type else self.raw)
        if not self.is_text:
            return None
        rows, texts = self.texts
        known, _ = numbers_in(texts, comma_first=False)
        if known is None and texts:
            return None
        return np.array([*(known or ()), None], dtype=np.float64)[rows]

    def no_number(self) -> tuple[int, str]:
        """Return the first row whose value is no number, counted from 0, and that value."""
        rows, texts = self.texts
        strange = [place for place, text in enumerate(texts) if numbers_in([text], comma_first=False)[0] is None]
        row = int(np.isin(rows, strange).argmax())
        return row, texts[rows[row]]

    def is_index(self) -> bool:
        """Return whether its numbers tell rows apart and nothing else: they count, rise or fall from row to row."""
        numbers = self.numbers
        if INDEX_NAME.fullmatch(self.name):
            return True
        if numbers is None or len(numbers) < 2 or np.isnan(numbers).any() or (numbers != np.floor(numbers)).any():
            return False
        steps = np.diff(numbers)
        if len(numbers) >= FEWEST_RISING and ((steps > 0).all() or (steps < 0).all()):
            return True
        return not self.name or (bool(ID_NAME.fullmatch(self.name)) and len(np.unique(numbers)) == len(numbers))

    def left_out_as(self) -> str | None:
        """Return what the column is where it is no feature, "a text …"; None where it is one.

        Dates, and numbers among which a text is, are a `UserError`: only the user knows what to make of them.
        """
        self._refuse_dates()
        numbers = self.numbers
        if numbers is None and not self.is_text:
            return f"of type {self.raw.type}"
        if numbers is not None:
            if np.isnan(numbers).all():
                return "empty"
            if self.is_index():
                return INDEX
            large = pa.types.is_integer(self.value_type) and np.nanmax(np.abs(numbers)) > LARGEST_INTEGER
            return "integers beyond 2^53, as ids and nanoseconds are" if large else None
        rows, texts = self.texts
        given = int((rows >= 0).sum())
        self._refuse_texts_among_numbers()
        if len(texts) == 1:
            return "one text in every row"
        if len(texts) > MOST_CATEGORIES or 2 * len(texts) > given:
            return f"text that differs from row to row ({len(texts):,} values)"
        return None

    def _refuse_dates(self) -> None:
        if pa.types.is_temporal(self.value_type):
            example = next((value for value in self.raw[:100].to_pylist() if value is not None), None)
        else:
            texts = self.texts[1] if self.is_text and self.numbers is None else ()
            example = texts[0] if texts and all(map(DATE.fullmatch, texts)) else None
        if example is not None:
            raise UserError(
                f"column {self.name!r} holds dates or times ({example}); make numbers of what matters in them (days "
                "since, month, hour), or take the column out."
            )

    def _refuse_texts_among_numbers(self) -> None:
        _, texts = self.texts
        strange = [text for text in texts if numbers_in([text], comma_first=False)[0] is None]
        if len(texts) > 10 and 5 * len(strange) < len(texts):
            row, text = self.no_number()
            raise UserError(
                f"column {self.name!r} holds numbers, but {text!r} in row {row} (counted from 0)"
                f"{f' and {len(strange) - 1} other texts' if strange[1:] else ''}; mend it, or leave such cells empty."
            )


def _as_strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text; a float that is an integer without its point."""
    if pa.types.is_floating(column.type):
        numbers = as_float64(column)
        if (np.isnan(numbers) | (numbers == np.floor(numbers))).all() and np.nanmax(np.abs(numbers), initial=0) < 2**53:
            column = pa.chunked_array([pa.array(numbers, pa.float64(), from_pandas=True).cast(pa.int64())])
    if pa.types.is_boolean(column.type):
        return pa.chunked_array([pa.array([None if value is None else str(value) for value in column.to_pylist()])])
    return column.cast(pa.large_string())
