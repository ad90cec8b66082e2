"""Arrays of images with values in several ranges → one range: 0 to 1 where either domain has it, else as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.pixels import WHITE
from jointadapt.errors import UserError
from jointadapt.inputs.base import InputStep
from jointadapt.inputs.options import InputOptions

Range = Literal["unit", "bytes", "other"]
SLACK = 0.25  # of white, that interpolation and noise may lie outside
MOST_WIDER = 8.0  # times that one domain's pixels may be spread wider than the other's


@dataclass(frozen=True)
class PixelRange(InputStep):
    """Values lie from 0 to 1 ("unit"), from 0 to 255 ("bytes"), or elsewhere, as standardised ones ("other").

    Args:
        range: that of the source's images as the network gets them.
        spread: the standard deviation of their values.
    """

    name: ClassVar[str] = "pixel_range"
    range: Range
    spread: float

    @classmethod
    def fit(cls, options: InputOptions, source: Domain, target: Domain) -> "PixelRange | None":  # noqa: ARG003
        """Return the step for two domains of pixels; None for rows of another kind."""
        if source.kind != "pixels" or target.kind != "pixels" or not isinstance(source.content, Tensor):
            return None
        found, spread = range_of(source), float(source.content.std(correction=0))
        if found == "bytes" and range_of(target) == "unit":
            return cls("unit", spread / WHITE)
        return cls(found, spread)

    def source(self, domain: Domain) -> Domain:
        """Return images of the step's range; those of which nobody can tell how to bring them there as they are."""
        if domain.kind != "pixels" or not isinstance(domain.content, Tensor):
            return domain
        found, notes = range_of(domain), domain.notes
        if found == "unit" and self.range != "unit" and domain.white != 1:  # they came as 0 to 255
            return replace(domain, content=domain.content * domain.white, white=1.0)
        if found == "bytes" and self.range == "unit":
            highest = float(domain.content.max())
            notes += (f"{domain.name}: pixels from 0 to {highest:g} are divided by 255, as the other domain's are.",)
            return replace(domain, content=domain.content / WHITE, white=WHITE, notes=notes)
        if found != self.range:
            notes += (self._told(domain),)
        return replace(domain, notes=notes)

    def _told(self, domain: Domain) -> str:
        """Return a note on pixels of another range; where it is much wider or narrower, raise it as a `UserError`."""
        assert isinstance(domain.content, Tensor)
        low, high = float(domain.content.min()), float(domain.content.max())
        spread = float(domain.content.std(correction=0))
        note = f"{domain.name}: its pixels lie from {low:.3g} to {high:.3g}, the source's {SAID[self.range]}"
        if not self.spread / MOST_WIDER <= spread <= self.spread * MOST_WIDER:
            raise UserError(f"{note}; bring both to one range, as 0 to 1.")
        return f"{note}; are they meant to?"

    def values(self) -> dict[str, Any]:
        """Return the range."""
        return {"range": self.range, "spread": self.spread}

    @classmethod
    def restore(cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "PixelRange":  # noqa: ARG003
        """Return the step of that range."""
        return cls(values["range"], values["spread"])


SAID: dict[Range, str] = {"unit": "from 0 to 1", "bytes": "from 0 to 255", "other": "neither from 0 to 1 nor to 255"}


def range_of(domain: Domain) -> Range:
    """Return the range of a domain's pixels, as they are now."""
    assert isinstance(domain.content, Tensor)
    low, high = float(domain.content.min()), float(domain.content.max())
    ranges: tuple[tuple[Range, float], ...] = (("unit", 1.0), ("bytes", WHITE))
    for found, white in ranges:
        if low >= -SLACK * min(white, high) and high <= (1 + SLACK) * white:
            return found
    return "other"
