"""The input steps in their order: fitted, applied, kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.dataset_rows import DatasetRows
from jointadapt.inputs.base import InputStep
from jointadapt.inputs.depth import Depth
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pictures import Pictures
from jointadapt.inputs.pixel_range import PixelRange
from jointadapt.inputs.signals import Signals
from jointadapt.inputs.standardize import Standardize, with_fill_notes
from jointadapt.inputs.table import TableColumns

STEPS: tuple[type[InputStep], ...] = (TableColumns, Depth, PixelRange, Pictures, Signals, Standardize)
PREFIX = "inputs."


@dataclass(frozen=True)
class Inputs:
    """Fitted steps: a domain as it was read → the domain as a network is handed it (`Domain.ready`).

    A ready domain passes through as it is, so that nothing is done twice.
    """

    steps: tuple[InputStep, ...] = ()

    @property
    def standardized(self) -> Literal["no", "source", "domain"]:
        """By whose columns rows are standardised."""
        for step in self.steps:
            if isinstance(step, Standardize):
                return step.mode
        return "no"

    @property
    def in_given_units(self) -> "Inputs":
        """The same steps but for standardisation."""
        return Inputs(tuple(step for step in self.steps if not isinstance(step, Standardize)))

    def source(self, domain: Domain) -> Domain:
        """Return a domain like the source, ready."""
        return _through(domain, [step.source for step in self.steps])

    def target(self, domain: Domain) -> Domain:
        """Return a domain like the target, ready: what a model is used on is taken for it."""
        return _through(domain, [step.target for step in self.steps])

    def seen(self, domain: Domain) -> Domain:
        """Return a domain like the target as a person would look at it: recordings cut into windows, all else as it was
        read. Its items are those of the ready domain.
        """
        if domain.ready or not any(isinstance(step, Signals) for step in self.steps):
            return domain
        for step in self.steps:
            if isinstance(step, Signals):
                return step.windows(domain)
            domain = step.target(domain)
        return domain

    def values(self) -> dict[str, dict[str, Any]]:
        """Return what each step has learnt, by its name, as JSON has it."""
        return {step.name: step.values() for step in self.steps}

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of all steps, their names behind the step's."""
        return {f"{PREFIX}{step.name}.{name}": x for step in self.steps for name, x in step.tensors().items()}


def _through(domain: Domain, changes: Sequence[Callable[[Domain], Domain]]) -> Domain:
    """Return the domain after these changes; one that is ready as it is."""
    if domain.ready:
        return domain
    for change in changes:
        domain = change(domain)
    return replace(domain, ready=True)


def fit_inputs(options: InputOptions, source: Domain, target: Domain) -> tuple[Inputs, Domain, Domain]:
    """Return the steps for two domains, each fitted on what those before it have made, and both domains, ready.

    The items of a dataset of one's own stay as its transforms leave them.
    """
    steps = []
    own = any(isinstance(domain.content, DatasetRows) for domain in (source, target))
    for kind in () if own else STEPS:
        if kind is Standardize:
            source, target = with_fill_notes(source), with_fill_notes(target)
        if (step := kind.fit(options, source, target)) is not None:
            source, target = step.source(source), step.target(target)
            steps.append(step)
    return Inputs(tuple(steps)), replace(source, ready=True), replace(target, ready=True)


def restore_inputs(values: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> Inputs:
    """Return the steps that had learnt this; of the tensors those are taken whose names `Inputs.tensors` gives."""
    known = {kind.name: kind for kind in STEPS}
    steps = []
    for name, learnt in values.items():
        start = f"{PREFIX}{name}."
        own = {key.removeprefix(start): x for key, x in tensors.items() if key.startswith(start)}
        steps.append(known[name].restore(learnt, own))
    return Inputs(tuple(steps))
