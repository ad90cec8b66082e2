"""The options of how data is read, and of what is done to its rows before the network. It loads no torch."""

from dataclasses import dataclass
from typing import Annotated

from jointadapt.data.kinds import Kind, Reading


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Input"""

    kind: Annotated[Kind, "What arrays are: features, images, signal (channels × time); auto: as their shape says."] = (
        "auto"
    )

    @property
    def reading(self) -> Reading:
        """How files of the run's domains are read."""
        return Reading(kind=self.kind)
