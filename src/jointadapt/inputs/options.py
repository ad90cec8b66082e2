"""The options of how data is read, and of what is done to its rows before the network. It loads no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from jointadapt.data.kinds import Kind, Reading

Representation = Literal["raw", "fft", "log-spectrogram"]
SIGNAL_OPTIONS = ("window", "stride", "representation", "zscore", "recenter")


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Input"""

    kind: Annotated[Kind, "What arrays are: features, images, signal (channels × time); auto: as their shape says."] = (
        "auto"
    )
    window: Annotated[int, Field(ge=0), "Cut signals into windows of so many samples; 0: they stay whole."] = 0
    stride: Annotated[int, Field(ge=0), "Samples from one window's start to the next; 0: windows do not overlap."] = 0
    representation: Annotated[
        Representation, "Signals as samples, as magnitudes of their Fourier transform, or as log-spectrograms."
    ] = "raw"
    zscore: Annotated[
        bool | Literal["auto"], "Bring each window to mean 0 and deviation 1; auto: unless --recenter is given."
    ] = "auto"
    recenter: Annotated[
        bool, "Bring the mean covariance of each domain's channels to the identity (Euclidean alignment, for EEG)."
    ] = False

    @property
    def reading(self) -> Reading:
        """How files of the run's domains are read."""
        return Reading(kind=self.kind)
