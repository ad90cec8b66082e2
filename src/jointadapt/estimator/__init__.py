"""The scikit-learn face, for arrays: `fit(X, y, X_target)`, `predict`, `predict_proba`, `score`."""

from jointadapt.estimator.classifier import AdaptedClassifier, MethodChoice
from jointadapt.estimator.given import whole

__all__ = ["AdaptedClassifier", "MethodChoice", "whole"]
