"""A linear classifier of rows: which domain, or which class; and the density ratio that it gives."""

import warnings
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def density_ratio(
    source: Float[Tensor, "n d"], target: Float[Tensor, "m d"], rows: Float[Tensor, "k d"]
) -> Float[Tensor, " k"]:
    """Return w(x) = p_t(x) / p_s(x) of rows, by a regularised logistic regression that tells target from source:

        w(x) = n/m · P(target | x) / P(source | x) = n/m · exp(score(x))

    The weights that make a source mean a target mean, as importance-weighted validation needs them. Positive; the score
    is clamped to [−50, 50], so that w is finite. A linear score sees a shift of the mean, not one of the correlations.

    Args:
        source, target: the two samples that the classifier is fitted to.
        rows: where the ratio is wanted; rows that were not fitted to give the less biased weights.

    Source: You et al., ICML 2019, Eq. (9).

    >>> x = torch.linspace(-1, 1, 200)[:, None]
    >>> density_ratio(x, x + 1, torch.tensor([[-1.0], [0.5], [2.0]])).round(decimals=1)
    tensor([0.3000, 1.0000, 3.8000], dtype=torch.float64)
    """
    domain = torch.arange(len(source) + len(target)) >= len(source)
    scores = fit_linear(torch.cat([source, target]), domain.long()).decision_function(rows.double().numpy())
    return len(source) / len(target) * torch.from_numpy(scores).clamp(-50, 50).exp()


def fit_linear(
    rows: Float[Tensor, "n d"], labels: Int[Tensor, " n"], strength: float = 0.01, iterations: int = 1000
) -> "Pipeline":
    """Return a logistic regression on standardised rows, fitted; its `decision_function` gives scores.

        min_w  ½ ‖w‖² + C Σ_i log-loss(y_i, w · x_i + b)

    Args:
        rows, labels: the sample; two classes or more.
        strength: C, of the data against the penalty: small by default, as rows are few and columns many.
        iterations: at most so many of L-BFGS; that it has not converged then is no warning, as on separable rows it is
            the penalty alone that bounds w.

    Deterministic. Source: scikit-learn's `LogisticRegression`.

    >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> fit_linear(x, torch.tensor([0, 0, 1, 1])).predict(x.numpy()).tolist()
    [0, 0, 1, 1]
    """
    from sklearn.exceptions import ConvergenceWarning  # not for whom a module that fits nothing is loaded
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=iterations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(rows.double().numpy(), labels.numpy())
