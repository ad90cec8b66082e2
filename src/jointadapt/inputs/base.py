"""The contract of an input step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from jointadapt.data import Domain
from jointadapt.inputs.options import InputOptions


class InputStep(ABC):
    """One thing that is done to rows before the network gets them.

    It is fitted on the rows of both domains, never on a target label. What it has learnt is plain values (`values`)
    and tensors (`tensors`), from which `restore` makes it again: a model's file holds no pickle.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, options: InputOptions, source: Domain, target: Domain) -> "InputStep | None":
        """Return the step for these domains; None where there is nothing to do. Mistakes are `UserError`s."""

    @abstractmethod
    def source(self, domain: Domain) -> Domain:
        """Return rows of the source's kind as the network gets them; the domain's notes say what a user should hear."""

    def target(self, domain: Domain) -> Domain:
        """Return rows of the target's kind as the network gets them; as the source's, unless a step says otherwise."""
        return self.source(domain)

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """Return what was learnt, as JSON has it."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what was learnt, as tensors by name."""
        return {}

    @classmethod
    @abstractmethod
    def restore(cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "InputStep":
        """Return the step that had learnt this."""
