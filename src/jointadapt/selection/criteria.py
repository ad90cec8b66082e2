"""Criteria that need no target label: which checkpoint, or which λ, to select. Higher is better.

Every criterion can be fooled by a model that predicts few classes for all target examples, and published comparisons
show them choosing such models; hence the guard, `eligible`, which is applied before each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import silhouette_score
from torch import Tensor
from torch.nn.functional import normalize
from torch.special import entr

from jointadapt.discrepancy.domain_classifier import density_ratio, fit_linear
from jointadapt.errors import UserError

FOLDS = 5
MOST_ROWS = 5_000  # of criteria whose cost is the square of the rows


@dataclass(frozen=True)
class ValidatorInputs:
    """What a criterion sees: a model's outputs on target examples and, if some are held out, on source examples.

    Args:
        target_features, target_probabilities: (m, d) and (m, classes).
        source_features, source_probabilities, source_labels: likewise (n, d), (n, classes), (n,); only for criteria
            that need held-out examples.
        held_out: which source examples the model was not trained on.
    """

    target_features: Float[Tensor, "m d"]
    target_probabilities: Float[Tensor, "m c"]
    source_features: Float[Tensor, "n d"] | None = None
    source_probabilities: Float[Tensor, "n c"] | None = None
    source_labels: Int[Tensor, " n"] | None = None
    held_out: Bool[Tensor, " n"] | None = None

    @property
    def predicted(self) -> Int[Tensor, " m"]:
        """The predicted class of each target example."""
        return self.target_probabilities.argmax(1)


def entropy(probabilities: Float[Tensor, "m c"]) -> float:
    """Return −1/m Σ_i H(p_i): how certain the model is of each target example. Sign: ≤ 0.

    Source: Grandvalet and Bengio, NIPS 2004; as a validation criterion Morerio et al., ICLR 2018.

    >>> entropy(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    0.0
    """
    return 0.0 - entr(probabilities.double()).sum(1).mean().item()


def information(probabilities: Float[Tensor, "m c"]) -> float:
    """Return H(1/m Σ_i p_i) − 1/m Σ_i H(p_i): certain on each example, diverse over all. Sign: ≥ 0, ≤ log c.

    It is the mutual information of example and class. Source: Shi and Sha, ICML 2012, Eq. (2); Liang et al. (SHOT),
    2020.

    >>> round(information(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), 4)
    0.6931
    """
    return entr(probabilities.double().mean(0)).sum().item() + entropy(probabilities)


def neighbourhood_density(probabilities: Float[Tensor, "m c"], temperature: float = 0.05) -> float:
    """Return SND: the mean entropy of target examples' soft neighbours, softmax_j≠i(cos(p_i, p_j) / τ). Sign: ≥ 0.

    Large when an example has many near neighbours. A model that gives all examples one class has the largest
    value there is, log(m − 1). Cost O(m²). Source: Saito et al., ICCV 2021, Eq. (1)–(3), τ = 0.05.

    >>> round(neighbourhood_density(torch.ones(3, 2) / 2), 4)
    0.6931
    """
    rows = normalize(probabilities.double())
    total = 0.0
    for start in range(0, len(rows), 1024):
        similarity = rows[start : start + 1024] @ rows.T / temperature
        similarity.diagonal(start).fill_(-torch.inf)
        near, p = similarity.amax(1), similarity.softmax(1)
        similarity.diagonal(start).fill_(0)  # where p is 0
        # H(p) = log Z − Σ p s, with log Z = s − log p of the nearest: one logarithm a row, not one a pair.
        total += (near - p.amax(1).log() - (p * similarity).sum(1)).sum().item()
    return total / len(rows)


def clustering(features: Float[Tensor, "m d"], predicted: Int[Tensor, " m"]) -> float:
    """Return the mean silhouette of target features under the predicted classes: tight, and apart. In [−1, 1].

    −1 where it is not defined: one class only, or as many as examples. Cost O(m² d). Source: Rousseeuw 1987; as a
    validation criterion Musgrave et al., arXiv 2208.07360.

    >>> round(clustering(torch.tensor([[0.0], [0.1], [9.0]]), torch.tensor([0, 0, 1])), 2)
    0.66
    """
    if not 2 <= len(predicted.unique()) < len(predicted):
        return -1.0
    return float(silhouette_score(features.double().numpy(), predicted.numpy()))


def deep_embedded_validation(weights: Float[Tensor, " n"], losses: Float[Tensor, " n"]) -> float:
    """Return −R_DEV: minus the importance-weighted risk on held-out source examples, with control variate.

        R = mean(w ℓ) + η mean(w) − η,   η = −Cov(w ℓ, w) / Var(w)

    Sign: either, as the control variate may exceed the risk. Source: You et al., ICML 2019, Eq. (12) and Algorithm 1.

    >>> deep_embedded_validation(torch.ones(4), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    -0.5
    """
    w, weighted = weights.double(), weights.double() * losses.double()
    variance = w.var(correction=0)
    covariance = ((weighted - weighted.mean()) * (w - w.mean())).mean()
    eta = -covariance / variance if variance > 0 else torch.zeros(())
    return -(weighted.mean() + eta * w.mean() - eta).item()


def reverse_risk(weights: Float[Tensor, " n"], right: Float[Tensor, " n"]) -> float:
    """Return −Σ_i w_i |1 − p̄(y_i | x_i)| / Σ_i w_i, p̄ a reverse model's probability of source example i's label.

    Sign: in [−1, 0]. The paper divides by n: its w come from the input and are the same for all models. Ours come from
    each model's own features, and unless they are normalised, a model that keeps the domains apart (all w near 0) wins.
    Source: Zhong et al., ECML PKDD 2010 (transfer cross-validation: density ratio × reverse validation).

    >>> reverse_risk(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]))
    -0.25
    """
    w = weights.double()
    return -((w * (1 - right.double()).abs()).sum() / w.sum()).item()


def score_by_entropy(inputs: ValidatorInputs) -> float:
    """Return `entropy` of the target predictions."""
    return entropy(inputs.target_probabilities)


def score_by_information(inputs: ValidatorInputs) -> float:
    """Return `information` of the target predictions."""
    return information(inputs.target_probabilities)


def score_by_neighbourhood_density(inputs: ValidatorInputs) -> float:
    """Return `neighbourhood_density` of the target predictions."""
    return neighbourhood_density(_some(inputs.target_probabilities))


def score_by_clustering(inputs: ValidatorInputs) -> float:
    """Return `clustering` of the target features."""
    return clustering(_some(inputs.target_features), _some(inputs.predicted))


def score_by_deep_embedded_validation(inputs: ValidatorInputs) -> float:
    """Return `deep_embedded_validation` of the held-out source examples, by their cross-entropy."""
    features, probabilities, labels, held_out = _source(inputs)
    weights = density_ratio(features[~held_out], inputs.target_features, features[held_out])
    right = probabilities[held_out].double().gather(1, labels[held_out, None])[:, 0]
    return deep_embedded_validation(weights, -right.clamp_min(1e-12).log())


def score_by_transfer_cross_validation(inputs: ValidatorInputs) -> float:
    """Return `reverse_risk` of the held-out source examples, by a linear model of the target's predicted classes."""
    features, _, labels, held_out = _source(inputs)
    weights = density_ratio(features[~held_out], inputs.target_features, features[held_out])
    classes = inputs.predicted.unique()  # of which the reverse model learns; it gives no other any probability
    given = torch.zeros(len(weights), inputs.target_probabilities.shape[1], dtype=torch.float64)
    given[:, classes] = 1.0
    if len(classes) > 1:
        reverse = fit_linear(inputs.target_features, inputs.predicted)
        given[:, classes] = torch.from_numpy(reverse.predict_proba(features[held_out].double().numpy()))
    return reverse_risk(weights, given.gather(1, labels[held_out, None])[:, 0])


for _criterion in (score_by_deep_embedded_validation, score_by_transfer_cross_validation):
    _criterion.holds_out = True  # pyright: ignore[reportFunctionMemberAccess]


def _source(inputs: ValidatorInputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    parts = (inputs.source_features, inputs.source_probabilities, inputs.source_labels, inputs.held_out)
    features, probabilities, labels, held_out = parts
    if features is None or probabilities is None or labels is None or held_out is None:
        raise ValueError("this criterion needs source rows that were held out of training; see `hold_out`.")
    return features, probabilities, labels, held_out


def _some(rows: Tensor) -> Tensor:
    """Return the rows or, where there are many, a fixed subset, since the cost is quadratic."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MOST_ROWS]]


def hold_out(labels: Int[Tensor, " n"], fold: int = 0, groups: Int[Tensor, " n"] | None = None) -> Bool[Tensor, " n"]:
    """Return which examples one of five folds holds out: a fifth of each class, the same on every call.

    Folds are disjoint in classes of five examples or more; no class is ever held out as a whole. Examples of one group,
    windows of one recording, are held out together, by the class of the first.

    >>> hold_out(torch.tensor([0, 0, 0, 0, 0, 1])).sum()
    tensor(1)
    >>> hold_out(torch.tensor([0, 0, 0, 0, 1]), groups=torch.tensor([5, 5, 9, 9, 7])).tolist() in (
    ...     [True, True, False, False, False], [False, False, True, True, False])
    True
    """
    if groups is not None:
        names, own = groups.unique(return_inverse=True)
        first = torch.full_like(names, len(own)).scatter_reduce(0, own, torch.arange(len(own)), "amin")
        return _folded(labels[first], fold, "recording")[own]
    return _folded(labels, fold, "example")


def _folded(labels: Tensor, fold: int, what: str) -> Tensor:
    """Return which one of five folds holds out."""
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        if len(rows) > 1:
            # A class of fewer rows than folds gives its rows in turn: some are held out twice, but never all at once.
            held_out[rows[fold::FOLDS] if fold < len(rows) else rows[fold % len(rows) :][:1]] = True
    if not held_out.any():
        raise UserError(
            f"every class of the source has one {what}, and none can be held out; use --select information."
        )
    return held_out


def choose(values: Sequence[float], allowed: Sequence[bool]) -> int | None:
    """Return the position of the highest value among those allowed, of equal ones the last; None if there is none.

    >>> choose([1.0, 3.0, 3.0, 9.0], [True, True, True, False])
    2
    """
    positions = [i for i, (value, ok) in enumerate(zip(values, allowed, strict=True)) if ok and value == value]
    return max(positions, key=lambda i: (values[i], i), default=None)
