"""Rows that people say are signals → a domain of signals (channels, time)."""

from dataclasses import replace

import numpy as np

from jointadapt.data.domain import Domain
from jointadapt.data.table_rows import TableRows, as_float64, is_number, some_names
from jointadapt.errors import UserError


def as_signals(domain: Domain) -> Domain:
    """Return a domain whose rows are signals; rows of numbers, or of a table's columns, are signals of one channel.

    >>> from jointadapt.data.arrays import from_arrays
    >>> as_signals(from_arrays(np.ones((2, 3)))).shape
    (1, 3)
    """
    if domain.kind == "signal":
        return domain
    if isinstance(domain.content, TableRows):
        _check_samples(domain.name, domain.content)
    elif domain.kind != "features":
        raise UserError(
            f"{domain.name} holds {domain.kind}, and signals are needed: arrays (n, time) or (n, channels, time); give "
            '--kind signal, or from_arrays(x, kind="signal").'
        )
    return replace(domain, content=domain.rows(range(len(domain)))[:, None], kind="signal")


def _check_samples(name: str, rows: TableRows) -> None:
    """Raise a `UserError` for a table of signals whose columns are not all samples."""
    other = [column for column in rows.names if not is_number(rows.table[column].type)]
    if other:
        raise UserError(
            f"{name}: a signal's columns are its samples, and {some_names(other)} holds no numbers; leave such columns "
            "out, or name the label with --label-column."
        )
    gaps = [column for column in rows.names if np.isnan(as_float64(rows.table[column])).any()]
    if gaps:
        raise UserError(
            f"{name}: signals lack samples in {some_names(gaps)}; interpolate them, or leave these rows out. Signals "
            "of several lengths are cut to one, or go into files of their own."
        )
