"""Rows that people say are signals."""

from dataclasses import replace

from jointadapt.data.domain import Domain
from jointadapt.errors import UserError


def said_signals(domain: Domain) -> Domain:
    """Return a domain whose rows are said to be signals; of a table, and of plain rows, the columns are the samples."""
    if domain.kind not in ("signal", "features", "table"):
        raise UserError(
            f"{domain.name} holds {domain.kind}, and signals are needed: arrays (n, time) or (n, channels, time); give "
            '--kind signal, or from_arrays(x, kind="signal").'
        )
    return replace(domain, kind="signal")


def with_channels(domain: Domain) -> Domain:
    """Return a domain of signals with an axis for their channels, also where each row has one channel.

    >>> from jointadapt.data.arrays import from_arrays
    >>> with_channels(from_arrays([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])).shape
    (1, 3)
    """
    domain = said_signals(domain)
    rows = domain.rows(range(len(domain)))
    return replace(domain, content=rows[:, None] if rows.ndim == 2 else rows, columns=())
