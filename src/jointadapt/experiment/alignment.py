"""`--align`: the source's rows, moved onto the target's before the training."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.mapped import TILE
from jointadapt.discrepancy.moments import find_moments, match_columns, match_covariances
from jointadapt.errors import UserError
from jointadapt.experiment.session import Session

MOST_COLUMNS = 4096  # of which a covariance is inverted: 130 MB of it


def can_align(domain: Domain, how: str = "columns") -> bool:
    """Return whether the rows of a domain, as the network is handed them, are features that can be moved so."""
    if not domain.holds_arrays or domain.shape is None or len(domain.shape) != 1:
        return False
    return how == "columns" or domain.shape[0] <= MOST_COLUMNS


def check_alignment(session: Session) -> None:
    """Raise a `UserError` for a source that cannot be moved as the configuration says."""
    how, source = session.config.align, session.data.source
    if how != "no" and not can_align(source):
        raise UserError(
            f"--align {how} moves rows of features, and {source.name} holds images or signals that the network is "
            "trained on; leave it out, or give --frozen, or features."
        )
    if how != "no" and not can_align(source, how):
        raise UserError(
            f"--align covariance is for up to {MOST_COLUMNS:,} columns, and {source.name} has "
            f"{sum(source.shape or ()):,}; use --align columns."
        )


def aligned(session: Session) -> Session:
    """Return the session with the source, or each of several, moved as its configuration says; not the target.

    So the trained model is used on the target as any other, and what it says of the source is said of moved rows.
    """
    how, data = session.config.align, session.data
    if how == "no":
        return session
    whole = how == "covariance"
    of_target = find_moments(_tiles(data.target), whole)
    match = match_covariances if whole else match_columns
    parts = [part.changed(match(find_moments(_tiles(part), whole), of_target)) for part in data.source.by_origin()]
    source = parts[0] if data.source.origins is None else data.source.with_rows_of(parts)
    return replace(session, data=replace(data, source=source))


def _tiles(domain: Domain) -> Iterator[Tensor]:
    """Yield the rows (_, d) of a domain of features, some thousand at a time."""
    return (domain.rows(range(start, min(start + TILE, len(domain)))) for start in range(0, len(domain), TILE))
