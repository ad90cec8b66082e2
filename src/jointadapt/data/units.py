"""Are the features of one domain bytes, and the other's fractions? Nobody means that, and nothing else tells of it."""

import numpy as np
from torch import Tensor

from jointadapt.data.domain import Domain, some_rows
from jointadapt.data.pixels import BRIGHT, WHITE

ROWS = 2000  # that are looked at
FEWEST = 16  # columns, as of a flattened image


def other_unit(source: Domain, target: Domain) -> tuple[str, ...]:
    """Return a note where one domain has values from 0 to 255, as flattened images have, and the other from 0 to 1."""
    if source.shape != target.shape or not source.kind == target.kind == "features":
        return ()
    highest = {domain.name: _highest(domain) for domain in (source, target)}
    bytes_, fractions = ([name for name, high in highest.items() if low < high <= most] for low, most in RANGES)
    if not bytes_ or not fractions:
        return ()
    large, small = bytes_[0], fractions[0]
    ranges = f"{large}'s values go from 0 to {highest[large]:g}, {small}'s from 0 to {highest[small]:.3g}"
    return (f"{ranges}: if both are pixels, divide the former by 255.",)


RANGES = ((BRIGHT, WHITE), (0.0, 1.0))


def _highest(domain: Domain) -> float:
    """Return the largest value; 0 where there are negative ones, or rows that are no numbers in memory."""
    if not isinstance(domain.content, Tensor) or domain.precomputed or domain.content.shape[1] < FEWEST:
        return 0.0
    rows = domain.rows(some_rows(len(domain), ROWS).tolist()).numpy()
    return float(np.max(rows)) if rows.min() >= 0 else 0.0
