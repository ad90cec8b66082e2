"""Annotated data (AnnData) → a classifier adapted to one of its domains, and columns of `obs` with its answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jointadapt.data import UNLABELLED, from_arrays
from jointadapt.data.labels import MISSING, encode_labels
from jointadapt.errors import UserError, some
from jointadapt.experiment import Run, train
from jointadapt.runtime.containers import as_numbers, matrix_of
from jointadapt.runtime.progress import Track, silent


def adapt_anndata(
    adata: Any,
    *,
    label: str,
    domain: str,
    target: str | None = None,
    layer: str | None = None,
    obsm: str | None = None,
    key: str = "jointadapt",
    out: str | Path | None = None,
    track: Track = silent,
    **options: Any,
) -> Run:
    """Return the run that adapts a classifier from the labelled rows of annotated data to those of one domain.

    Two columns of `adata.obs` are written: `KEY_label`, the class of each row of the target, and elsewhere the label
    that it has; and `KEY_confidence`, the probability of that class, NaN elsewhere.

    Args:
        adata: anything with `X`, `obs`, `var_names` and `obs_names` (AnnData); sparse matrices are made dense.
        label: the column of `obs` with the classes. Labels of the target serve evaluation only.
        domain: the column of `obs` that tells the domains apart: batch, donor, technology.
        target: the domain to adapt to; None where one domain alone has no labels. All others are the source.
        layer, obsm: the matrix to learn from, by its name there, in place of `X`.
        key: what the written columns begin with.
        out, track, options: as `train` takes them.
    """
    labels, names = _column(adata, label), [str(name) for name in _column(adata, domain)]
    if lacking := sum(name in (*MISSING, "None") for name in names):
        raise UserError(f"obs[{domain!r}] is empty in {lacking} of {len(names)} rows; name their domain, or drop them.")
    known = encode_labels(labels, len(labels), f"obs[{label!r}]")
    target = _target(names, (known.indices == UNLABELLED).tolist(), domain) if target is None else str(target)
    if target not in names:
        raise UserError(
            f"obs[{domain!r}] has no {target!r}; the target is one of {some(map(repr, sorted(set(names))), most=8)}."
        )
    x = as_numbers(matrix_of(adata, "adata", layer, obsm), "adata")
    inside = np.array([name == target for name in names])
    others = sorted(set(names) - {target})
    parts = {}
    for rows, name in ((~inside, others[0] if len(others) == 1 else f"all but {target}"), (inside, target)):
        chosen = np.flatnonzero(rows).tolist()
        items = [str(adata.obs_names[row]) for row in chosen]
        parts[name] = from_arrays(x[rows], [labels[row] for row in chosen], name, items)
    source, to = parts.values()
    run = train(source, to, out, track, **options)
    probabilities = run.model.predict_proba(to, track)
    confidence, predicted = (values.tolist() for values in probabilities.max(1))
    said = np.array([known.classes[i] if i != UNLABELLED else None for i in known.indices.tolist()], dtype=object)
    said[inside] = [run.model.classes[index] for index in predicted]
    sure = np.full(len(names), np.nan)
    sure[inside] = confidence
    adata.obs[f"{key}_label"], adata.obs[f"{key}_confidence"] = said, sure
    return run


def _column(adata: Any, name: str) -> list[Any]:
    """Return a column of the table of rows."""
    if name not in adata.obs:
        raise UserError(f"obs has no column {name!r}; it has {some(map(repr, list(adata.obs)), most=8)}.")
    return np.asarray(adata.obs[name]).tolist()


def _target(names: Sequence[str], unlabelled: Sequence[bool], column: str) -> str:
    """Return the one domain without labels."""
    known = sorted(set(names))
    labelled = {name for name, lacks in zip(names, unlabelled, strict=True) if not lacks}
    without = [name for name in known if name not in labelled]
    if len(known) < 2 or len(without) != 1:
        said = "one domain alone" if len(known) < 2 else f"{len(without)} domains without labels"
        raise UserError(f"obs[{column!r}] has {said}; name the target, one of {some(map(repr, known), most=8)}.")
    return without[0]
