"""Arrays of images → images of one size and of as many channels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import interpolate

from jointadapt.data import Domain
from jointadapt.inputs.base import InputStep
from jointadapt.inputs.options import InputOptions

GREY, COLOUR = 1, 3


@dataclass(frozen=True)
class Pictures(InputStep):
    """Images get the source's size by antialiased bilinear interpolation, grey ones colour if either domain has it.

    Args:
        shape: (channels, height, width) of an image as the network gets it.
    """

    name: ClassVar[str] = "pictures"
    shape: tuple[int, int, int]

    @classmethod
    def fit(cls, options: InputOptions, source: Domain, target: Domain) -> "Pictures | None":  # noqa: ARG003
        """Return the step for two domains of pixels; None for rows of another kind."""
        if source.shape is None or target.shape is None or not source.kind == target.kind == "pixels":
            return None
        channels, height, width = source.shape
        coloured = {channels, target.shape[0]} == {GREY, COLOUR}
        return cls((COLOUR if coloured else channels, height, width))

    def source(self, domain: Domain) -> Domain:
        """Return images of the step's shape; those that cannot have it as they are."""
        if domain.kind != "pixels" or domain.shape == self.shape or not isinstance(domain.content, Tensor):
            return domain
        pixels, (channels, *size) = domain.content, self.shape
        if pixels.shape[1] not in (GREY, channels):
            return domain
        notes = domain.notes
        if pixels.shape[2:] != (*size,):
            before, after = (f"{height} × {width}" for height, width in (pixels.shape[2:], size))
            notes += (f"{domain.name}: images of {before} pixels are brought to {after}, the size of the source's.",)
            pixels = interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        return replace(domain, content=pixels.expand(-1, channels, -1, -1).contiguous(), notes=notes)

    def values(self) -> dict[str, Any]:
        """Return the shape."""
        return {"shape": self.shape}

    @classmethod
    def restore(cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Pictures":  # noqa: ARG003
        """Return the step of that shape."""
        return cls(tuple(values["shape"]))
