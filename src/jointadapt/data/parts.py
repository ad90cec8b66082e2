"""One table of several domains → the rows of one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from jointadapt.data.domain import Domain
from jointadapt.data.kinds import Reading, names_in
from jointadapt.data.several import several_names
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
    """Return the rows of the domains that are wanted, called by their names; all where none is.

    Of several the rows know their origins (`Domain.origins`).

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
    only, but = names_in(reading.only), names_in(reading.but)
    if lacking := [name for name in only if name not in known]:
        raise UserError(
            f"{where} has no rows of the domain {lacking[0]!r} in {reading.domain_column}; it has {some_names(known)}."
        )
    wanted = [*only] or [name for name in known if name not in but]
    if not wanted:
        raise UserError(f"{where} has the domain {but[0]!r} alone in {reading.domain_column}; two are needed.")
    place = {name: number for number, name in enumerate(wanted)}
    rows = [row for row, value in enumerate(found) if value in place]
    part = domain.select(rows)
    if len(wanted) == 1:
        return replace(part, name=wanted[0])
    origins = torch.tensor([place[str(found[row])] for row in rows])
    name = several_names(wanted) if only else f"{domain.name} but {several_names(but)}"
    return replace(part, name=name, origins=origins, origin_names=tuple(wanted))
