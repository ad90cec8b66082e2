"""Several sources as they were given → one domain, its sources weighed, those that hurt dropped."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jointadapt.config import Config
from jointadapt.data import Domain
from jointadapt.data.batches import FEWEST_ROWS
from jointadapt.data.domain import some_rows
from jointadapt.errors import UserError
from jointadapt.networks.features import FeatureExtractor
from jointadapt.runtime.containers import is_annotated, is_frame
from jointadapt.selection.sources import SourceWeight, weigh_sources

COMPARED_ROWS = 300  # of each domain


def several_of(given: Any) -> tuple[tuple[str, Any], ...]:
    """Return several sources that were given as one thing, a list of domains or a dict of them; none if it is no such.

    Each comes with its name, "" where it has one of its own.

    >>> [name for name, _ in several_of([([[0.0], [1.0]], [0, 1]), ([[2.0], [3.0]], [0, 1])])]
    ['source 1', 'source 2']
    """
    if type(given) is dict:
        return tuple((str(name), each) for name, each in given.items())
    if type(given) is list and given and all(_is_domain(each) for each in given):
        numbered = enumerate(given, 1)
        return tuple(("" if isinstance(each, Domain) else f"source {number}", each) for number, each in numbered)
    return ()


def paths_of(given: Any) -> tuple[str, ...]:
    """Return the paths that were given: one, or a list of them; none where it is something else."""
    each = given if type(given) is list else [given]
    return tuple(map(str, each)) if each and all(isinstance(path, str | Path) for path in each) else ()


def _is_domain(given: Any) -> bool:
    """Return whether a thing in a list is a domain of its own, and no row."""
    kinds = isinstance(given, Domain | Dataset | DataLoader | str | Path)
    return kinds or (isinstance(given, tuple) and len(given) == 2) or is_frame(given) or is_annotated(given)


def without_origins(domain: Domain) -> Domain:
    """Return the domain as one whose rows are of one source."""
    return replace(domain, origins=None, origin_names=(), origin_weights=())


def weighed(
    config: Config, extractor: FeatureExtractor, source: Domain, target: Domain
) -> tuple[Domain, tuple[SourceWeight, ...], tuple[str, ...]]:
    """Return the source with the weights of its origins, what was found of each, and notes for the user.

    Where a batch is too small for so many, they are pooled.
    """
    assert source.origins is not None
    names, batch = source.origin_names, config.batch_size
    if config.source_weights == "equal":
        found = tuple(SourceWeight(part.name, len(part), 1 / len(names)) for part in source.by_origin())
    else:
        sizes = torch.bincount(source.origins, minlength=len(names)).tolist()
        found = weigh_sources(*_features(extractor, source, target), sizes)
    notes = tuple(
        f"the source {weight.name} ({weight.rows:,} rows) is dropped: {weight.why}; --source-weights equal keeps it."
        for weight in found
        if weight.dropped
    )
    if notes:
        return source, found, notes
    if batch < FEWEST_ROWS * len(names):
        least = FEWEST_ROWS * len(names)
        note = (
            f"{len(names)} sources are pooled as one, as a batch of {batch} has few rows of each; --batch-size {least}."
        )
        return without_origins(source), tuple(replace(each, weight=each.rows / len(source)) for each in found), (note,)
    if config.method_options.get("estimator") == "linear":
        raise UserError(
            "estimator = 'linear' pairs rows of source and target, and of several sources a batch has fewer rows each; "
            "give another --estimator, or --source-weights pooled."
        )
    return replace(source, origin_weights=tuple(weight.weight for weight in found)), found, ()


def with_dropped(found: Sequence[SourceWeight], others: Sequence[SourceWeight]) -> tuple[SourceWeight, ...]:
    """Return the weights of the sources that are left, as they were weighed anew, between those that were dropped.

    One that is left alone counts for all.
    """
    anew = {weight.name: weight for weight in others}
    return tuple(weight if weight.dropped else anew.get(weight.name, replace(weight, weight=1.0)) for weight in found)


def kept_of(source: Domain, found: Sequence[SourceWeight]) -> Domain:
    """Return the rows of the sources that were not dropped."""
    dropped = [weight.name for weight in found if weight.dropped]
    if source.origins is None or not dropped:
        return source
    return source.of_origins([number for number, name in enumerate(source.origin_names) if name not in dropped])


def _features(
    extractor: FeatureExtractor, source: Domain, target: Domain
) -> tuple[Tensor, Tensor, Tensor, tuple[str, ...], Tensor]:
    """Return input features of some rows of each source, their labels and origins, and the target's features."""
    assert source.origins is not None
    rows = [(source.origins == number).nonzero().flatten() for number in range(len(source.origin_names))]
    chosen = [row for own in rows for row in own[some_rows(len(own), COMPARED_ROWS)].tolist()]
    few = source.select(chosen)
    assert few.origins is not None
    seen, there = (
        extractor.as_rows(domain) for domain in (few, target.select(some_rows(len(target), COMPARED_ROWS).tolist()))
    )
    x_s, x_t = (domain.rows(range(len(domain))).flatten(1) for domain in (seen, there))
    return x_s, few.labels, few.origins, source.origin_names, x_t
