"""A linear classifier of rows: which domain, or which class; and the density ratio that it gives."""

import warnings

import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor


def density_ratio(
    source: Float[Tensor, "n d"], target: Float[Tensor, "m d"], rows: Float[Tensor, "k d"]
) -> Float[Tensor, " k"]:
    """Return w = n/m · P(target | x) / P(source | x) of rows, by a regularised logistic regression on the two samples.

    Source: You et al., ICML 2019, Eq. (9).
    """
    domain = torch.arange(len(source) + len(target)) >= len(source)
    scores = fit_linear(torch.cat([source, target]), domain.long()).decision_function(rows.double().numpy())
    return len(source) / len(target) * torch.from_numpy(scores).clamp(-50, 50).exp()


def fit_linear(rows: Float[Tensor, "n d"], labels: Int[Tensor, " n"], strength: float = 0.01) -> Pipeline:
    """Return a logistic regression on standardised rows, C = strength: small, as rows are few and columns many."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # on separable rows it is the penalty that bounds it
        return model.fit(rows.double().numpy(), labels.numpy())
