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
        only, but: the one domain whose rows are read, or the one whose rows are not.
    """

    kind: Kind = "auto"
    label_column: str = ""
    domain_column: str = ""
    only: str = ""
    but: str = ""


AS_IT_SAYS = Reading()
