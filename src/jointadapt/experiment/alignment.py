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
    """Return the session with the source moved as its configuration says; the target stays as it is.

    So the trained model is used on the target as any other, and what it says of the source is said of moved rows.
    """
    how, data = session.config.align, session.data
    if how == "no":
        return session
    whole = how == "covariance"
    moments = [find_moments(_tiles(domain), whole) for domain in (data.source, data.target)]
    move = (match_covariances if whole else match_columns)(*moments)
    return replace(session, data=replace(data, source=data.source.changed(move)))


def _tiles(domain: Domain) -> Iterator[Tensor]:
    """Yield the rows (_, d) of a domain of features, some thousand at a time."""
    return (domain.rows(range(start, min(start + TILE, len(domain)))) for start in range(0, len(domain), TILE))
