"""What the rows of a domain are, and how a file is read. It loads no torch."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["auto", "features", "images", "signal"]
"""What people say of arrays that they give; "auto": what their shape says."""

RowKind = Literal["images", "pixels", "signal", "features", "table"]
"""What a row is: an image file, an array of pixels (channels, h, w), a signal (channels, time), numbers (d,), or named
columns that are yet to become numbers."""


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    Args:
        kind: what its arrays are.
        label_column: the column of a table that holds the label; "": the one that is called so.
        domain_column: the column of a table that says which domain a row is of; no feature.
        only, but: the domains whose rows are read, or those whose rows are not: a name, or several.
    """

    kind: Kind = "auto"
    label_column: str = ""
    domain_column: str = ""
    only: str | tuple[str, ...] = ""
    but: str | tuple[str, ...] = ""


AS_IT_SAYS = Reading()


def names_in(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in an option that may be one, several or none.

    >>> names_in(""), names_in("A"), names_in(("A", "B"))
    ((), ('A',), ('A', 'B'))
    """
    return tuple(name for name in ((given,) if isinstance(given, str) else given) if name)
