"""Columns of several units → z-scores; how it is seen, without a label, that they are wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.domain import some_rows
from jointadapt.data.mapped import TILE
from jointadapt.discrepancy.columns import (
    Columns,
    Scaling,
    column_name,
    describe_columns,
    fill_note,
    fill_values,
)
from jointadapt.errors import UserError
from jointadapt.inputs.base import InputStep
from jointadapt.inputs.options import InputOptions

KINDS = ("features", "signal")
LOOKED_AT = 4096  # values of a column by which medians are found, and "auto" decides
ONE_LENGTH = 1e-3  # of the mean length, the deviation of the lengths of rows that someone has made equally long
MOST_OF_IT = 0.9  # of that length, which one column alone may make up
APART = 5.0  # sizes of a source column that the target's median lies off, where it must be of another unit
WIDER = 10.0  # times wider or narrower, likewise

Mode = Literal["source", "domain"]


@dataclass(frozen=True)
class Standardize(InputStep):
    """z-scores of features by column, of signals by channel; pictures stay as they are.

    Mean and deviation are taken, in float64, of values held within 20 typical deviations of their column's median, so
    that neither a fill value of 10⁶ nor a long tail moves them, and no z-score exceeds ±10 (`describe_columns`). What
    is constant in the domain that it is standardised by becomes 0.

    Args:
        mode: "source": both domains by the source's columns; "domain": each by its own.
        of_source, of_target: the columns' fences, means and deviations.
        of_origins: those of each of several sources, in mode "domain".
    """

    name: ClassVar[str] = "standardize"
    mode: Mode
    of_source: Scaling
    of_target: Scaling
    of_origins: tuple[Scaling, ...] = ()

    @classmethod
    def fit(cls, options: InputOptions, source: Domain, target: Domain) -> "Standardize | None":
        """Return the step for two domains; None where they stay as they are."""
        if source.precomputed or source.kind not in KINDS or source.shape is None or target.shape is None:
            if options.standardize in ("source", "domain"):
                raise UserError(
                    f"--standardize {options.standardize} is for features and signals, and {source.name} holds images; "
                    "leave it out."
                )
            return None
        if options.standardize == "no" or source.shape[0] != target.shape[0]:
            return None
        parts = source.by_origin()
        mode = _chosen_mode(source, parts, target) if options.standardize == "auto" else options.standardize
        if mode == "no":
            return None
        of_source = _describe(source).scaling
        if mode == "source":
            return cls(mode, of_source, of_source)
        own = tuple(_describe(part).scaling for part in parts) if len(parts) > 1 else ()
        return cls(mode, of_source, _describe(target).scaling, own)

    def source(self, domain: Domain) -> Domain:
        """Return rows of the source's kind as z-scores: in mode "domain" by the columns of the source they are from."""
        if domain.origins is None or len(self.of_origins) != len(domain.origin_names):
            return _standardized(domain, self.of_source)
        parts = zip(domain.by_origin(), self.of_origins, strict=True)
        return domain.with_rows_of([_standardized(part, scaling) for part, scaling in parts])

    def target(self, domain: Domain) -> Domain:
        """Return rows of the target's kind as z-scores: by the target's columns in mode "domain"."""
        return _standardized(domain, self.of_target)

    def values(self) -> dict[str, Any]:
        """Return the mode."""
        return {"mode": self.mode}

    def tensors(self) -> dict[str, Tensor]:
        """Return low, high, mean, deviation (4, d) of each domain that has its own."""
        own = {"source": self.of_source} | ({"target": self.of_target} if self.mode == "domain" else {})
        own |= {f"source {number}": scaling for number, scaling in enumerate(self.of_origins)}
        return {name: torch.stack([*scaling]) for name, scaling in own.items()}

    @classmethod
    def restore(cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Standardize":
        """Return the step that had learnt this."""
        of_source = Scaling(*tensors["source"])
        origins = [f"source {number}" for number in range(len(tensors)) if f"source {number}" in tensors]
        of_target = Scaling(*tensors["target"]) if values["mode"] == "domain" else of_source
        return cls(values["mode"], of_source, of_target, tuple(Scaling(*tensors[name]) for name in origins))


def chosen_mode(source: Tensor, target: Tensor) -> Literal["source", "domain", "no"]:
    """Return what "auto" makes of two samples of rows (n, d) and (m, d), without a label.

    1. "no" where rows are sparse (`Columns.sparse`), or all of one length (‖x‖₁ or ‖x‖₂): someone has chosen a unit.
    2. "domain" where the target seems to be in other units: in most columns its median lies over 5 sizes of the source
       off, or its size is over 10 times the source's, or under a tenth.
    3. "source" where columns have several units: the largest is over 12 times the size of a small one
       (`Columns.mixed`, of both samples together).
    4. Else "no".

    >>> x = torch.randn(90, 3)
    >>> [chosen_mode(x, y) for y in (x, x + 9)], chosen_mode(x * torch.tensor([1.0, 1.0, 99.0]), x)
    (['no', 'domain'], 'source')
    """
    samples = [torch.cat([source, target]), source, target]
    both, of_source, of_target = (describe_columns(rows, rows.split(TILE)) for rows in samples)
    if both.sparse or _of_one_length(samples[0]):
        return "no"
    if _in_other_units(of_source, of_target):
        return "domain"
    return "source" if both.mixed else "no"


def _chosen_mode(source: Domain, parts: Sequence[Domain], target: Domain) -> Literal["source", "domain", "no"]:
    """Return what "auto" makes of two domains: of several sources, "domain" where one is in other units than the first.

    Sparse rows, and rows of one length, stay as they are in any case.
    """
    mode = chosen_mode(_some(source), _some(target))
    first, *others = map(_some, parts)
    return mode if mode == "no" or all(chosen_mode(first, other) != "domain" for other in others) else "domain"


def _in_other_units(source: Columns, target: Columns) -> bool:
    known = (source.size > 0) & (target.size > 0)
    if not known.any():
        return False
    off = (target.middle - source.middle).abs() > APART * source.size
    ratio = target.size / source.size
    return bool((off | (ratio > WIDER) | (ratio < 1 / WIDER))[known].double().mean() > 0.5)


def _of_one_length(rows: Tensor) -> bool:
    """Return whether all rows have one length, and so were made to have it.

    Where one column is nearly all of the length, as a pressure of 101,325 Pa beside small numbers, it says nothing.
    """
    for p in (1, 2):
        lengths, column = rows.double().norm(p, dim=1), rows.double().abs().mean(0).max()
        if lengths.std() <= ONE_LENGTH * lengths.mean() and column <= MOST_OF_IT * lengths.mean():
            return True
    return False


def _describe(domain: Domain) -> Columns:
    """Return the statistics of a domain's columns, or channels; each row is read once, and some of them before."""
    assert not isinstance(domain.content, tuple)
    tiles = (_by_column(domain.content[start : start + TILE]) for start in range(0, len(domain), TILE))
    return describe_columns(_some(domain), tiles)


def _some(domain: Domain) -> Tensor:
    """Return some thousand values of each column or channel (_, d)."""
    assert domain.shape is not None
    rows = some_rows(len(domain), max(1, LOOKED_AT // prod(domain.shape[1:])))
    return _by_column(domain.rows(rows.tolist()))


def _by_column(rows: Tensor) -> Tensor:
    """Return values (_, d): features (n, d) as they are, of signals (n, channels, time) every moment."""
    return rows if rows.ndim == 2 else rows.movedim(1, -1).flatten(0, -2)


def _standardized(domain: Domain, scaling: Scaling) -> Domain:
    """Return a domain as z-scores; one of other columns as it is, which the model then refuses."""
    if domain.kind not in KINDS or domain.shape is None or domain.shape[0] != len(scaling.mean):
        return domain

    def change(rows: Tensor) -> Tensor:
        values = scaling.standardized(_by_column(rows))
        return values if rows.ndim == 2 else values.unflatten(0, (len(rows), -1)).movedim(-1, 1).contiguous()

    return domain.changed(change)


def with_fill_notes(domain: Domain) -> Domain:
    """Return the domain with a note where columns seem to hold a fill value (`fill_values`)."""
    if domain.precomputed or domain.kind not in KINDS:
        return domain
    some = _some(domain)
    found = fill_values(some, describe_columns(some, some.split(TILE)))
    note = fill_note([column_name(fill.column, domain.columns) for fill in found], found)
    return replace(domain, notes=(*domain.notes, f"{domain.name}: {note}")) if note else domain
