"""The scikit-learn face, for arrays: `fit(X, y, X_target)`, `predict`, `predict_proba`, `score`."""

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from jointadapt.config import BASELINE, fitting
from jointadapt.data import from_arrays
from jointadapt.experiment import train
from jointadapt.methods import Method


class AdaptedClassifier(ClassifierMixin, BaseEstimator):
    """A classifier trained on labelled source rows and unlabelled target rows, as scikit-learn's estimators are used.

    Args:
        method: how to adapt; a name of `METHODS`, or a subclass of `Method`.
        backbone: "none" (rows are features already), "mlp", or a module of one's own (`Backbone.of`), which is copied.
        bottleneck, dropout, steps, batch_size, learning_rate: as in `Config`.
        random_state: the seed of everything, an integer.
        options: further options of a run, or of the method, by name (`{"estimator": "linear"}`).

    Attributes:
        classes_: the labels, sorted.
        model_: the trained `Model`.

    Without target rows, `fit` trains on the source alone, whatever the method. Nothing is written to disk.

    >>> x = np.random.default_rng(0).normal(size=(80, 4))
    >>> classifier = AdaptedClassifier(steps=30).fit(x, x[:, 0] > 0, x + 1)
    >>> classifier.predict(x[:2]).dtype
    dtype('bool')
    """

    def __init__(
        self,
        method: str | type[Method] = "jan",
        *,
        backbone: str | nn.Module = "none",
        bottleneck: int = 256,
        dropout: float = 0.5,
        steps: int = 600,
        batch_size: int = 36,
        learning_rate: float = 0.01,
        random_state: int = 0,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.method, self.backbone, self.bottleneck, self.dropout = method, backbone, bottleneck, dropout
        self.steps, self.batch_size, self.learning_rate = steps, batch_size, learning_rate
        self.random_state, self.options = random_state, options

    def fit(self, X: Any, y: Any, X_target: Any = None) -> "AdaptedClassifier":
        """Return the estimator, trained.

        Args:
            X, y: source rows (n, d) and their labels (n,).
            X_target: target rows (m, d), without labels; None trains on the source alone.
        """
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs two classes or more; y holds one class only ({self.classes_[0]!r}).")
        adapts = X_target is not None
        target = validate_data(self, X_target, reset=False) if adapts else X
        options = self._run_options()
        if not adapts:
            options = {**fitting(options, BASELINE), "method": BASELINE}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(.*)fewer than a batch", UserWarning)
            run = train((X, indices), target, **options)
        self.model_ = run.model
        return self

    def _run_options(self) -> dict[str, Any]:
        """Return the options of the run: parameters of this estimator, by their name in `Config`, and further ones."""
        own = {**self.get_params(deep=False), "baseline": False, "report": False}
        seed, options = own.pop("random_state"), own.pop("options") or {}
        return {**own, "seed": seed, **options}

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class of `classes_`, (n, classes)."""
        check_is_fitted(self)
        rows = np.asarray(validate_data(self, X, reset=False))
        return self.model_.predict_proba(from_arrays(rows)).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (n,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]
