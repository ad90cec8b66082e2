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
    """

    kind: Kind = "auto"


AS_IT_SAYS = Reading()
