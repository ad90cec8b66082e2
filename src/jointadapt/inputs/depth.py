"""Image files of more than 8 bits → the same black and white for each of them, as their domain had in the training."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.images import DeepPicture
from jointadapt.inputs.base import InputStep
from jointadapt.inputs.options import InputOptions

Span = tuple[float, float]


@dataclass(frozen=True)
class Depth(InputStep):
    """Deep pictures keep the range of the domain that they are like: one alone would be read in its own.

    Args:
        of_source, of_target: which numbers are black and white there; None where no picture was deep.
    """

    name: ClassVar[str] = "depth"
    of_source: Span | None
    of_target: Span | None

    @classmethod
    def fit(cls, options: InputOptions, source: Domain, target: Domain) -> "Depth | None":  # noqa: ARG003
        """Return the step for two domains of image files; None where all of them have 8 bits."""
        spans = [_span(domain) for domain in (source, target)]
        return cls(*spans) if any(spans) else None

    def source(self, domain: Domain) -> Domain:
        """Return image files with the source's black and white."""
        return _with_span(domain, self.of_source)

    def target(self, domain: Domain) -> Domain:
        """Return image files with the target's black and white."""
        return _with_span(domain, self.of_target)

    def values(self) -> dict[str, Any]:
        """Return black and white of each domain."""
        return {"source": self.of_source, "target": self.of_target}

    @classmethod
    def restore(cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Depth":  # noqa: ARG003
        """Return the step of these ranges."""
        spans = (values["source"], values["target"])
        return cls(*(None if span is None else (float(span[0]), float(span[1])) for span in spans))


def _span(domain: Domain) -> Span | None:
    content = domain.content if isinstance(domain.content, tuple) else ()
    return next(((file.black, file.white) for file in content if isinstance(file, DeepPicture)), None)


def _with_span(domain: Domain, span: Span | None) -> Domain:
    if span is None or _span(domain) in (None, span):
        return domain
    assert isinstance(domain.content, tuple)
    black, white = span
    files = [DeepPicture(file.file, black, white) if isinstance(file, DeepPicture) else file for file in domain.content]
    return replace(domain, content=tuple(files))
