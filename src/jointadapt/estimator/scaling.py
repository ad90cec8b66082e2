"""A source that a transformer has scaled beside a target that it has not: seen by what each scaler leaves behind."""

from collections.abc import Callable

import numpy as np

EXACT = 1e-4
FAR = 5.0  # deviations of the source, or as many times its range
MANY = 1 / 3  # of the columns

ADVICE = (
    "In a pipeline only X is scaled, not X_target. Let it be scaled as well: sklearn.set_config("
    "enable_metadata_routing=True), then Pipeline([…, AdaptedClassifier().set_fit_request(X_target=True)], "
    'transform_input=["X_target"]).'
)


def scaled_alone(source: np.ndarray, target: np.ndarray) -> str | None:
    """Return a warning where the source's columns are scaled as a transformer leaves them and the target's are not.

    The source then has exactly the means and deviations, ranges or norms that a scaler makes. A target that passed the
    same scaler is near them however the domains differ; one of which a third of the columns lies 5 deviations off, or
    is 5 times as wide or narrow, did not.

    >>> x = np.random.default_rng(0).normal(size=(50, 4)) * 20 + 100
    >>> scaled_alone((x - x.mean(0)) / x.std(0), x).split(".")[0]
    'the columns of X have mean 0 and deviation 1, as a scaler leaves them, and those of X_target have not'
    >>> scaled_alone(x, x) is None
    True
    """
    varying = source.min(0) < source.max(0)
    if len(source) < 3 or not varying.any():
        return None
    source, target = source[:, varying], target[:, varying]
    for is_left, is_far, words in SCALERS:
        if is_left(source) and is_far(source, target):
            return f"the {words}, as a scaler leaves them, and those of X_target have not. {ADVICE}"
    return None


def _near(values: np.ndarray, wanted: int) -> bool:
    return bool((np.abs(values - wanted) < EXACT).all())


def _standardised(x: np.ndarray) -> bool:
    return _near(x.mean(0), 0) and _near(x.std(0), 1)


def _in_unit_range(x: np.ndarray) -> bool:
    return _near(x.min(0), 0) and _near(x.max(0), 1)


def _at_most_one(x: np.ndarray) -> bool:
    return _near(np.abs(x).max(0), 1)


def _by_quartiles(x: np.ndarray) -> bool:
    lower, median, upper = np.percentile(x, (25, 50, 75), axis=0)
    return _near(median, 0) and _near((upper - lower)[upper > lower], 1)


def _of_unit_norm(x: np.ndarray) -> bool:
    return _near(np.linalg.norm(x, axis=1), 1)


def _elsewhere(source: np.ndarray, target: np.ndarray) -> bool:
    """Return whether many of the target's columns lie far from the source's, or are far wider or narrower."""
    scale = source.std(0)
    off = np.abs(target.mean(0) - source.mean(0)) > FAR * scale
    ratio = target.std(0) / scale
    return bool((off | (ratio > FAR) | (ratio < 1 / FAR)).mean() >= MANY)


def _of_other_norms(source: np.ndarray, target: np.ndarray) -> bool:  # noqa: ARG001
    return not _near(np.linalg.norm(target, axis=1), 1)


SCALERS: tuple[tuple[Callable[..., bool], Callable[..., bool], str], ...] = (
    (_standardised, _elsewhere, "columns of X have mean 0 and deviation 1"),
    (_in_unit_range, _elsewhere, "columns of X lie exactly between 0 and 1"),
    (_at_most_one, _elsewhere, "columns of X have a largest absolute value of 1"),
    (_by_quartiles, _elsewhere, "columns of X have median 0 and quartiles 1 apart"),
    (_of_unit_norm, _of_other_norms, "rows of X have norm 1"),
)
"""For each scaler: is this what it leaves, is the target not, and in words."""
