"""What `fit` is given, under the names that others route → source rows with labels, target rows, a few with labels."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import column_or_1d

from jointadapt.data import Domain
from jointadapt.data.labels import UNKNOWN
from jointadapt.errors import UserError, some


class Whole:
    """Rows that a search or a cross-validation hands on whole: to scikit-learn this is one thing, to a scaler the rows.

    Args:
        rows: anything that `fit` takes as `X_target`.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one row: a cross-validation cuts what is as long as X, and a scaler looks at the columns."""
        return (1, *np.shape(self.rows)[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.rows, dtype) if copy else np.asarray(self.rows, dtype)


def whole(rows: Any) -> Whole:
    """Return target rows as they have to be given to `GridSearchCV`, `cross_val_score` and the like.

    These cut whatever has as many rows as X into folds, and so train on a part of a target that happens to have; of
    other lengths they hand it on as it is. These rows are handed on in any case.

    >>> whole(np.zeros((5, 2))).shape
    (1, 2)
    """
    return Whole(rows)


class Target(NamedTuple):
    """Target rows as they were given, in parts, and of each part the labels that are trained on, or None."""

    parts: tuple[tuple[Any, Any], ...]

    def __bool__(self) -> bool:
        return bool(self.parts)


class Source(NamedTuple):
    """Source rows, their labels, and of each row the name of the source it is from, or None where there is one."""

    X: Any
    y: Any
    domains: Any = None


def split_domains(X: Any, y: Any, sample_domain: Any) -> tuple[Source, Target]:
    """Return the source and the target from rows of both: a source has a positive domain.

    Several positive numbers are several sources. The labels of rows of a negative domain are not looked at. That is how
    skada says it.
    """
    domains = column_or_1d(np.asarray(sample_domain))
    if len(domains) != len(y) or domains.dtype.kind not in "iuf" or not domains.all():
        zeros = ", with zeros" if len(domains) == len(y) else ""
        raise UserError(
            f"sample_domain: one number a row is needed, {len(y)} in all, positive for the source and negative for "
            f"the target; got {domains.dtype} of shape {domains.shape}{zeros}."
        )
    source, target = np.flatnonzero(domains > 0), np.flatnonzero(domains < 0)
    if not len(source):
        raise UserError("sample_domain holds negative numbers alone; the rows of the source need a positive one.")
    rows = ((_safe_indexing(X, target), None),) if len(target) else ()
    several = domains[source] if len(np.unique(domains[source])) > 1 else None
    return Source(_safe_indexing(X, source), _safe_indexing(y, source), several), Target(rows)


def with_origins(source: Domain, domains: Any) -> Domain:
    """Return the source with its rows' origins, of which one name or number a row says which source it is from."""
    if domains is None:
        return source
    named = column_or_1d(np.asarray(domains))
    if len(named) != len(source):
        raise UserError(f"source_domain: one name a row of X is needed, {len(source)} in all; got {len(named)}.")
    names, origins = np.unique(named, return_inverse=True)
    if len(names) < 2:
        return source
    return replace(source, origins=torch.from_numpy(origins), origin_names=tuple(map(str, names.tolist())))


def target_of(
    X_target: Any = None,
    target_labels: Any = None,
    X_target_unlabeled: Any = None,
    X_target_labeled: Any = None,
    y_target_labeled: Any = None,
) -> Target:
    """Return the target from the arguments of `fit` that name it."""
    if X_target is not None and X_target_unlabeled is not None:
        raise UserError("X_target and X_target_unlabeled are two names of one thing; give one of them.")
    if (X_target_labeled is None) != (y_target_labeled is None):
        raise UserError("X_target_labeled and y_target_labeled belong together; give both, or neither.")
    if target_labels is not None and X_target is None:
        raise UserError("target_labels are the labels of X_target, and that is not given.")
    unlabelled = X_target if X_target is not None else X_target_unlabeled
    given = ((unlabelled, target_labels), (X_target_labeled, y_target_labeled))
    parts = ((rows.rows if isinstance(rows, Whole) else rows, labels) for rows, labels in given if rows is not None)
    return Target(tuple(parts))


def label_of_unknown(classes: np.ndarray, wanted: Any = None) -> Any:
    """Return what rows of none of the classes are called: "unknown" beside texts, −1 beside numbers, or what is wanted.

    A `UserError` where that is a class already, or where the classes are truth values, beside which there is no third.

    >>> label_of_unknown(np.array([0, 1])), label_of_unknown(np.array(["cat", "dog"]))
    (-1, 'unknown')
    """
    kind = classes.dtype.kind
    if kind == "b":
        raise UserError(
            "y holds truth values, and beside these there is no label for unknown rows; give y as texts or integers."
        )
    label = wanted if wanted is not None else -1 if kind in "iuf" else UNKNOWN
    if (kind in "iuf") == isinstance(label, str):
        raise UserError(
            f"unknown_label={label!r} is no label beside the classes {some(map(str, classes.tolist()))}; give one of "
            "their type."
        )
    if label in classes.tolist():
        raise UserError(f"{label!r} is a class of y already; call unknown rows otherwise: unknown_label=….")
    return label
