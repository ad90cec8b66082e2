"""One table of several domains → the rows of one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jointadapt.data.domain import Domain
from jointadapt.data.kinds import Reading
from jointadapt.data.table_rows import BLANKS, some_names
from jointadapt.errors import UserError


def column_named(names: Sequence[str], wanted: str) -> str | None:
    """Return the one of the names that is wanted, in any case; None where there is none, or not one alone.

    >>> column_named(["Site", "label"], "site")
    'Site'
    """
    near = [name for name in names if name.casefold() == wanted.strip(BLANKS).casefold()]
    return wanted if wanted in names else near[0] if len(near) == 1 else None


def part_of(domain: Domain, values: Sequence[Any] | None, names: Sequence[str], reading: Reading, where: str) -> Domain:
    """Return the rows of the one domain that is wanted, called by its name; all where none is.

    Args:
        values: each row's domain, None where the table has no such column.
        names: the table's columns.
    """
    if not reading.domain_column or not (reading.only or reading.but):
        return domain
    if values is None:
        raise UserError(
            f"{where} has no column {reading.domain_column!r} to tell its domains apart (its columns: "
            f"{some_names(names)}); name the one that does with --domain-column."
        )
    found = [None if value is None else str(value).strip(BLANKS) for value in values]
    known = sorted({value for value in found if value})
    if reading.only and reading.only not in known:
        raise UserError(
            f"{where} has no rows of the domain {reading.only!r} in {reading.domain_column}; it has "
            f"{some_names(known)}."
        )
    wanted = [reading.only] if reading.only else [name for name in known if name != reading.but]
    if not wanted:
        raise UserError(f"{where} has the domain {reading.but!r} alone in {reading.domain_column}; two are needed.")
    rows = [row for row, value in enumerate(found) if value in wanted]
    return replace(domain.select(rows), name=wanted[0] if len(wanted) == 1 else f"{domain.name} but {reading.but}")
