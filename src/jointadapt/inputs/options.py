"""The options of how data is read, and of what is done to its rows before the network. It loads no torch."""

from dataclasses import dataclass, replace
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
        Representation, "Signals as samples, as log(1 + magnitudes of their Fourier transform), or as log-spectrograms."
    ] = "raw"
    zscore: Annotated[
        bool | Literal["auto"], "Bring each window to mean 0 and deviation 1; auto: unless --recenter is given."
    ] = "auto"
    recenter: Annotated[
        bool, "Bring the mean covariance of each domain's channels to the identity (Euclidean alignment, for EEG)."
    ] = False
    label_column: Annotated[str, "Column of a table that holds the label; by default the one called so."] = ""
    domain_column: Annotated[str, "Column of a table that says of which domain a row is: one table, split in two."] = ""
    source_domain: Annotated[
        str | tuple[str, ...],
        "The source's name in that column; repeated: several sources; by default all but the target.",
    ] = ""
    target_domain: Annotated[str, "The target's name in that column; by default all but the sources."] = ""
    missing: Annotated[
        Literal["refuse", "fill"],
        "Missing values of a table: refuse them, or fill them by the source's medians and say where they were.",
    ] = "refuse"
    standardize: Annotated[
        Literal["auto", "source", "domain", "no"],
        "z-scores of features: by the source's columns, or by each domain's own; auto: as the rows suggest.",
    ] = "auto"

    @property
    def reading(self) -> Reading:
        """How files are read, whatever domains they hold."""
        return Reading(kind=self.kind, label_column=self.label_column, domain_column=self.domain_column)

    @property
    def splits_table(self) -> bool:
        """Whether one table holds both domains."""
        return bool(self.domain_column and (self.source_domain or self.target_domain))

    def reading_again(self, **given: str) -> Reading:
        """Return how other files are read than those trained on: as they were, but for what is given now.

        All domains of a table are read, but where the target's name is given.
        """
        now = replace(self, **given)
        return now.reading_of("target") if given.get("target_domain") else now.reading

    def reading_of(self, role: str) -> Reading:
        """Return how the source, or the target, is read."""
        domains = self.source_domain, self.target_domain
        only, but = domains if role == "source" else domains[::-1]
        return replace(self.reading, only=only, but="" if only else but)
