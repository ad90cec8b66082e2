"""A few labels of the target, named by hand → rows that join the labelled side of a training batch."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jointadapt.data.domain import UNLABELLED, Domain
from jointadapt.data.labels import encode_labels, translate_classes
from jointadapt.errors import UserError, as_user_error, unknown_name

LABELLED_SHARE = 4  # of the labelled side one row in four, at least, is a labelled target row


def read_labels(path: str | Path) -> dict[str, str]:
    """Return item → class from a CSV with the columns `item` and `label`; rows without a label are passed over."""
    with (
        as_user_error(Path(path), "as CSV"),
        Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        reader = csv.DictReader(file)
        if not {"item", "label"} <= set(reader.fieldnames or ()):
            raise UserError(
                f"{path} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; it needs item and label, "
                "as `jointadapt suggest-labels` writes them."
            )
        rows = [(row["item"] or "", (row["label"] or "").strip()) for row in reader]
    found: dict[str, str] = {}
    for item, label in rows:
        if label and found.setdefault(item, label) != label:
            raise UserError(f"{path} labels {item!r} twice, {found[item]!r} and {label!r}; leave one of them.")
    if not found:
        raise UserError(f"{path} has no row with a label; fill in its column label.")
    return found


def labels_by_item(target: Domain | None, labels: Any) -> dict[str, str]:
    """Return item → class from such a mapping, or from an array with a label for each row of the target, or none."""
    if isinstance(labels, Mapping):
        return {str(item): str(label) for item, label in labels.items()}
    if target is None:
        raise UserError("target labels without items need a target in memory; give item → class, or a file.")
    found = encode_labels(labels, len(target), "target_labels")
    pairs = zip(target.items, found.indices.tolist(), strict=True)
    return {item: found.classes[index] for item, index in pairs if index != UNLABELLED}


def label_rows(target: Domain, labels: Mapping[str, str]) -> Tensor:
    """Return the class (n,) of each target row that is named in `labels`, `UNLABELLED` of all others."""
    known = translate_classes(list(dict.fromkeys(labels.values())), target.classes, "the target labels")
    for name in labels.values():
        if name not in known:
            raise unknown_name("class", name, target.classes)
    given = [known[labels[item]] if item in labels else None for item in target.items]
    missing = sorted(set(labels) - set(target.items))
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(labels)} labelled items are not in {target.name} ({', '.join(missing[:3])}); "
            "name them as predictions.csv does."
        )
    return torch.tensor([UNLABELLED if name is None else target.classes.index(name) for name in given])


def join_labelled(source: Domain, target: Domain, given: Tensor) -> Domain:
    """Return the source followed by the labelled target rows, repeated to make up a quarter of the whole at least.

    Without repeats, 20 rows beside 1,000 would be seen twice in a hundred. Where source rows have weights, the target's
    have the weight 1. Beside several sources they are one more, which counts for a quarter.
    """
    few = (given != UNLABELLED).nonzero().flatten().tolist()
    times = -(-len(source) // ((LABELLED_SHARE - 1) * len(few)))
    added = replace(target, labels=given).select(few * times)
    match source.content, added.content:
        case Tensor(), Tensor():
            content = torch.cat([source.content, added.content])
        case tuple(), tuple():
            content = (*source.content, *added.content)
        case _:
            raise UserError("labels of target rows need rows in memory, and these stay on disk; give smaller files.")
    labels, weights = torch.cat([source.labels, added.labels]), source.weights
    if weights is not None:
        weights = torch.cat([weights, weights.new_ones(len(added))])
    items = source.items + added.items
    joined = replace(source, content=content, labels=labels, items=items, groups=None, weights=weights)
    return joined if source.origins is None else _as_one_more(joined, source)


def _as_one_more(joined: Domain, source: Domain) -> Domain:
    """Return the rows of several sources and labelled target rows behind them, these as a source of their own."""
    assert source.origins is not None
    number = len(source.origin_names)
    weights = source.origin_weights or (1.0,) * number
    origins = torch.cat([source.origins, source.origins.new_full((len(joined) - len(source),), number)])
    names = (*source.origin_names, "labelled target rows")
    return replace(
        joined, origins=origins, origin_names=names, origin_weights=(*weights, sum(weights) / (LABELLED_SHARE - 1))
    )
