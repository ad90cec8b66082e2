"""Named columns → numbers: matched by name, gaps filled, categories one-hot, what is no feature left out by name."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.domain import some_rows
from jointadapt.data.kinds import RowKind
from jointadapt.data.labels import simplified
from jointadapt.data.mapped import MappedRows
from jointadapt.data.table_rows import TableRows, some_names
from jointadapt.errors import UserError
from jointadapt.inputs.base import InputStep
from jointadapt.inputs.columns import INDEX, Column
from jointadapt.inputs.options import InputOptions

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer

MEDIAN_ROWS = 100_000  # of rows on disk, so many give the medians
LARGEST = float(np.finfo(np.float32).max)
UNSEEN = -1.0  # no index of a category, so that the encoder makes zeros of it


@dataclass(frozen=True)
class TableColumns(InputStep):
    """The source's columns, found by their names in any table, as numbers.

    Numbers and truths come first, in the source's order, then a column for each that had gaps in the source (is a
    value missing?), then one for each category. Gaps get the source's median; a missing category is one of its own
    where the source had such, else none.

    Args:
        numbers: columns of numbers or truths, each with the source's median.
        gaps: those that lacked values in the source.
        categories: columns of texts, each with the source's texts, sorted.
        lacking: those that lacked texts in the source.
        left_out: columns of the source that are no features.
        fill: whether gaps are filled, or refused.
    """

    name: ClassVar[str] = "table"
    numbers: Mapping[str, float]
    gaps: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    lacking: tuple[str, ...]
    left_out: tuple[str, ...]
    fill: bool
    notes: tuple[str, ...] = ()

    @classmethod
    def fit(cls, options: InputOptions, source: Domain, target: Domain) -> "TableColumns | None":
        """Return the step for two domains of which one at least has columns with names; else None.

        Where the source's have none, they are in the order of the target's.
        """
        known = source if is_named(source) else target
        if not is_named(known):
            return None
        fill = options.missing == "fill"
        step = cls._of_table(known, fill) if isinstance(known.content, TableRows) else cls._of_rows(known, fill)
        if known.kind == "signal":
            _check_samples(step, known.name)
        if not fill and (step.gaps or step.lacking):
            tables = [domain for domain in (source, target) if isinstance(domain.content, TableRows)]
            raise _gaps_refused({domain.name: step.match(domain)[1] for domain in tables})
        return step

    @classmethod
    def _of_table(cls, domain: Domain, fill: bool) -> "TableColumns":
        """Return the step that a table in memory gives."""
        assert isinstance(domain.content, TableRows)
        numbers, categories = {}, {}
        no_features: dict[str, list[str]] = {}
        for name, raw in zip(domain.content.names, domain.content.table.columns, strict=True):
            column = Column(name, raw)
            if (why := _told(column, domain)) is not None:
                no_features.setdefault(why, []).append(name)
            elif column.numbers is not None:
                numbers[name] = _numbers(column, domain)
            else:
                categories[name] = column.texts
        if not numbers and not categories:
            raise UserError("".join(_left_out(no_features, domain)) + " No column is left to learn from.")
        medians, gaps = _medians(numbers)
        lacking = tuple(name for name, (rows, _) in categories.items() if (rows < 0).any())
        texts = {name: known for name, (_, known) in categories.items()}
        left_out = tuple(name for names in no_features.values() for name in names)
        return cls(medians, gaps, texts, lacking, left_out, fill, _left_out(no_features, domain))

    @classmethod
    def _of_rows(cls, domain: Domain, fill: bool) -> "TableColumns":
        """Return the step that named columns of numbers on disk give, which have no gaps."""
        sample = domain.rows(some_rows(len(domain), MEDIAN_ROWS).tolist()).numpy()
        columns = {name: sample[:, place] for place, name in enumerate(domain.columns)}
        left_out = tuple(name for name, numbers in columns.items() if Column.of_numbers(name, numbers).is_index())
        medians = {name: float(np.median(numbers)) for name, numbers in columns.items() if name not in left_out}
        return cls(medians, (), {}, (), left_out, fill, _left_out({INDEX: [*left_out]} if left_out else {}, domain))

    def source(self, domain: Domain) -> Domain:
        """Return the source's rows as numbers, with a note on what was left out of them."""
        return self.target(replace(domain, notes=(*domain.notes, *self.notes)))

    def target(self, domain: Domain) -> Domain:
        """Return rows of a table as numbers, with notes on columns, categories and gaps unlike the source's."""
        if isinstance(domain.content, TableRows):
            values, gaps, notes = self.match(domain)
            if gaps and not self.fill:
                raise _gaps_refused({domain.name: gaps})
            if gaps:
                notes.append(f"values are missing in {_counted(gaps)}; they are filled by the source's.")
            return self._ready(domain, torch.from_numpy(self.transformed(values).astype(np.float32)), notes)
        if isinstance(domain.content, Tensor | MappedRows) and domain.columns:
            found, notes = self._find(domain, domain.columns)
            known = {name: place for place, name in enumerate(domain.columns)}
            places, rows = [known[name] for name in found.values()], domain.content
            return self._ready(domain, rows[:, places] if isinstance(rows, Tensor) else rows.of_columns(places), notes)
        width = len(self.numbers)
        if self.categories or domain.shape != (width,):
            return domain
        return self._ready(
            domain, domain.content, [f"its {width} columns have no names, and are taken in their order."]
        )

    def match(self, domain: Domain) -> tuple[np.ndarray, dict[str, int], list[str]]:
        """Return a table's values (n, columns) in the source's order, where some are missing, and what is to be told.

        A category is its index among the source's; a missing one is the last.
        """
        assert isinstance(domain.content, TableRows)
        found, notes = self._find(domain, domain.content.names)
        places = {name: place for place, name in enumerate(domain.content.names)}
        values, gaps, unseen = np.empty((len(domain), len(found))), dict[str, int](), dict[str, int]()
        for place, (name, there) in enumerate(found.items()):
            column = Column(there, domain.content.table.column(places[there]))
            if (known := self.categories.get(name)) is None:
                given = _numbers(column, domain)
            else:
                given, strange = _codes(column, known)
                unseen |= {f"{name} = {text}": count for text, count in strange.items()}
            if missing := int(np.isnan(given).sum()):
                gaps[name] = missing
            values[:, place] = given if known is None else np.nan_to_num(given, nan=len(known))
        if unseen:
            notes.append(f"the source has no {_counted(unseen)}; in these rows the category is none of the known.")
        return values, gaps, notes

    def transformed(self, values: np.ndarray) -> np.ndarray:
        """Return the values with gaps filled and categories one-hot."""
        if not self.gaps and not self.categories and not np.isnan(values).any():
            return values
        return np.asarray(self._transformer().transform(values))

    def _transformer(self) -> "ColumnTransformer":
        """Return scikit-learn's transformer as the source has fitted it: by two rows that hold what was learnt."""
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import OneHotEncoder

        width, names = len(self.numbers), [*self.numbers]
        learnt = np.zeros((2, width + len(self.categories)))
        learnt[:, :width] = [*self.numbers.values()]
        learnt[1, [names.index(name) for name in self.gaps]] = np.nan
        codes = [np.arange(len(known) + (name in self.lacking)) for name, known in self.categories.items()]
        filled = SimpleImputer(strategy="median", add_indicator=True)
        one_hot = OneHotEncoder(categories=codes, handle_unknown="ignore", sparse_output=False)  # pyright: ignore[reportArgumentType]
        parts = [("numbers", filled, [*range(width)]), ("categories", one_hot, [*range(width, learnt.shape[1])])]
        return ColumnTransformer(parts).fit(learnt)

    def _find(self, domain: Domain, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Return where a table has each of the source's columns, in their order, and notes on names that differ.

        A name that is not there is looked for in another spelling; one that nobody has is a `UserError`.
        """
        wanted, there = {**self.numbers, **self.categories}, {*names}
        missing = [name for name in wanted if name not in there]
        respelt = _respelt(missing, [name for name in names if name not in wanted], wanted) if missing else {}
        if lacking := [name for name in missing if name not in respelt]:
            raise _columns_missing(domain, lacking, names)
        found = {name: respelt.get(name, name) for name in wanted}
        surplus = there - {*found.values()} - {*self.left_out}
        pairs = some_names([f"{name} as {wanted}" for wanted, name in respelt.items()])
        notes = [f"columns in another spelling are read as the source's: {pairs}."] if respelt else []
        if surplus:
            listed = some_names([name for name in names if name in surplus])
            notes.append(f"{listed} left out, as the source has no such column.")
        return found, notes

    def _ready(self, domain: Domain, content: Any, notes: Sequence[str]) -> Domain:
        told = tuple(f"{domain.name}: {note}" for note in notes)
        kind: RowKind = "signal" if domain.kind == "signal" else "features"
        return replace(domain, content=content, kind=kind, columns=self.outputs, notes=(*domain.notes, *told))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the columns that come out."""
        one_hot = [f"{name} = {text}" for name, known in self.categories.items() for text in self._texts(name, known)]
        return (*self.numbers, *(f"{name} is missing" for name in self.gaps), *one_hot)

    def _texts(self, name: str, known: Sequence[str]) -> tuple[str, ...]:
        return (*known, "missing") if name in self.lacking else (*known,)

    def values(self) -> dict[str, Any]:
        """Return what was learnt, as JSON has it."""
        kept = ("numbers", "gaps", "categories", "lacking", "left_out", "fill")
        return {name: getattr(self, name) for name in kept}

    @classmethod
    def restore(cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "TableColumns":  # noqa: ARG003
        """Return the step that had learnt this."""
        lists = {name: tuple(values[name]) for name in ("gaps", "lacking", "left_out")}
        categories = {name: tuple(known) for name, known in values["categories"].items()}
        return cls(numbers=dict(values["numbers"]), categories=categories, fill=bool(values["fill"]), **lists)


def _respelt(missing: Sequence[str], others: Sequence[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return for each missing name the one of the others that is certainly the same in another spelling.

    >>> _respelt(["Body Mass", "age"], ["body_mass", "AGE", "Age"], ["Body Mass", "age"])
    {'Body Mass': 'body_mass'}
    """
    spelt, ours = Counter(map(simplified, others)), Counter(map(simplified, wanted))
    same = {simplified(name): name for name in others if spelt[simplified(name)] == ours[simplified(name)] == 1}
    return {name: same[simplified(name)] for name in missing if simplified(name) in same}


def is_named(domain: Domain) -> bool:
    """Return whether the columns of a domain have names."""
    return isinstance(domain.content, TableRows) or bool(domain.columns)


def _medians(numbers: Mapping[str, np.ndarray]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the median of each column, and the columns that lack values."""
    if not numbers:
        return {}, ()
    from sklearn.impute import SimpleImputer

    imputer = SimpleImputer(strategy="median", add_indicator=True).fit(np.stack([*numbers.values()], axis=1))
    names = [*numbers]
    medians, indicator = np.asarray(imputer.statistics_), imputer.indicator_
    assert indicator is not None
    return dict(zip(names, medians.tolist(), strict=True)), tuple(names[place] for place in indicator.features_)


def _numbers(column: Column, domain: Domain) -> np.ndarray:
    """Return the values of a column that is of numbers in the source."""
    if (numbers := column.numbers) is None:
        row, value = column.no_number() if column.is_text else (0, f"a value of type {column.raw.type}")
        raise UserError(
            f"{domain.name}: column {column.name!r} is of numbers in the source, and holds {value!r} in row {row} "
            "(counted from 0); mend it, or leave such cells empty."
        )
    if rows := np.flatnonzero(np.abs(numbers) > LARGEST).tolist():
        raise UserError(
            f"{domain.name}: column {column.name!r} holds infinite values, or values beyond 3e38, in {len(rows)} of "
            f"{len(numbers)} rows (counted from 0: {', '.join(map(str, rows[:5]))}{', …' if len(rows) > 5 else ''}); "
            "mend or remove them first."
        )
    return numbers


def _codes(column: Column, known: Sequence[str]) -> tuple[np.ndarray, dict[str, int]]:
    """Return the indices of a column's texts among those known, NaN where one is missing, and the unknown, counted."""
    rows, texts = column.texts
    index = {text: float(place) for place, text in enumerate(known)}
    spelt = (
        {simplified(text): place for text, place in index.items()}
        if len({*map(simplified, known)}) == len(known)
        else {}
    )
    codes = [index.get(text, spelt.get(simplified(text), UNSEEN)) for text in texts]
    strange = {text: int((rows == place).sum()) for place, text in enumerate(texts) if codes[place] == UNSEEN}
    return np.array([*codes, np.nan])[rows], strange


def _counted(counts: Mapping[str, int]) -> str:
    """Return names with their counts of rows, the first of many.

    >>> _counted({"age": 3, "pulse": 1})
    'age (3 rows), pulse (1)'
    """
    texts = [
        f"{name} ({count:,}{'' if place else ' rows' if count > 1 else ' row'})"
        for place, (name, count) in enumerate(counts.items())
    ]
    return some_names(texts)


def _left_out(no_features: Mapping[str, Sequence[str]], domain: Domain) -> tuple[str, ...]:
    """Return a note on the columns that are no features, by what they are."""
    told = "; ".join(f"{some_names(names)} left out, as {why}" for why, names in no_features.items())
    return (f"{domain.name}: {told}.",) if told else ()


def _check_samples(step: "TableColumns", name: str) -> None:
    """Raise a `UserError` for a table of signals of which a column holds no samples, or not all of them."""
    if step.categories:
        raise UserError(
            f"{name}: a signal's columns are its samples, and {some_names([*step.categories])} holds texts; leave such "
            "columns out, or name the label with --label-column."
        )
    if step.gaps:
        raise UserError(
            f"{name}: signals lack samples in {some_names(step.gaps)}; interpolate them, or leave these rows out. "
            "Signals of several lengths are cut to one, or go into files of their own."
        )


def _gaps_refused(gaps: Mapping[str, Mapping[str, int]]) -> UserError:
    """Return an error that counts the missing values of each domain by column."""
    told = "; ".join(f"{name}: {_counted(counts)}" for name, counts in gaps.items() if counts)
    return UserError(
        f"values are missing, by column: {told}. Fill them with the source's medians by --missing fill (in Python "
        'missing="fill") as you train, or remove these rows or columns.'
    )


def _columns_missing(domain: Domain, missing: Sequence[str], names: Sequence[str]) -> UserError:
    """Return an error that names the columns of the source that a table lacks."""
    no_header = all(name == f"c{place}" for place, name in enumerate(names))
    advice = "its first line is data: give it a header" if no_header else "give both the same ones"
    columns = "the column" if len(missing) == 1 else f"{len(missing)} columns"
    return UserError(
        f"{domain.name} lacks {columns} {some_names(missing)}, which the source has (its own columns: "
        f"{some_names(names)}); columns are matched by name: {advice}."
    )


def _told(column: Column, domain: Domain) -> str | None:
    """Return what a column is where it is no feature; what only the user can mend is told with the domain's name."""
    try:
        return column.left_out_as()
    except UserError as error:
        raise UserError(f"{domain.name}: {error}") from None
