"""What can be said of the candidates of a case without target labels: auto's scores, and criteria of others.

    from judges import judged_pool

Judging a case takes seconds and is kept in a file beside the case's own. Higher is better for every criterion. The
target's labels only give `accuracy` and `differing`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from jointadapt.diagnostics.class_shares import estimate_class_shares
from jointadapt.diagnostics.shift_kind import diagnose
from jointadapt.discrepancy.domain_classifier import density_ratio, fit_linear
from jointadapt.discrepancy.moments import find_moments, match_columns
from jointadapt.experiment.candidates import CORRECTED, ONE_CLASS
from jointadapt.selection.criteria import deep_embedded_validation, entropy, information, neighbourhood_density
from jointadapt.selection.models import CAUTIOUS, COMBINATION, Score, nearest, score_models, seems_one_class

MEMBERS = ("source-only", "mcc", "jan+mcc", "shot", "source-only@moments", "mcc@moments")  # of auto's combination
CAREFUL = MEMBERS[:2]
EVERYTHING = "mean of all"
WEIGHTED = "importance-weighted mean"
MEANS = (COMBINATION, CAUTIOUS, EVERYTHING, WEIGHTED)
COMPONENTS = 50  # of the rows that linear models are fitted to here
REVERSED_ROWS = 800
FOLDER = "judged"


@dataclass(frozen=True)
class Judged:
    """A case: what is known of each model without target labels, and what its labels say (None where there are none).

    Args:
        rows: of the target.
        diagnosis: the kind of shift that auto sees before it trains.
        scores: auto's, of each model.
        criteria: criterion → model → value.
        errors: the standard error of a model's neighbours minus source-only's.
        predicted: the classes by source-only, MCC and the combination.
        gain: of matching the columns' moments, in a rehearsal within the source; in points.
        accuracy: of each model, in percent.
        differing: the percentage of labelled examples of which a model and source-only say two things.
    """

    family: str
    case: str
    kind: str
    rows: int
    diagnosis: str
    scores: dict[str, Score]
    criteria: dict[str, dict[str, float]]
    errors: dict[str, float]
    predicted: dict[str, Tensor]
    gain: float
    accuracy: dict[str, float] | None
    differing: dict[str, float] | None

    def noise(self, model: str) -> float:
        """Return two standard errors of the paired difference to source-only, in points, by the binomial: of m examples
        the share d is told apart, and each may go either way: 2 √(d / m).
        """
        assert self.differing is not None
        return 2 * 100 * sqrt(self.differing[model] / 100 / self.rows)


def judged_pool(pool: Path) -> Iterator[Judged]:
    """Yield the judged cases of a pool; what was judged before is read."""
    folder = pool / FOLDER
    folder.mkdir(exist_ok=True)
    for path in sorted(pool.glob("*.pt")):
        known = folder / path.name
        if not known.exists():
            torch.save(judge(torch.load(path, weights_only=False)), known)
        yield torch.load(known, weights_only=False)


def judge(record: Mapping[str, Any]) -> Judged:
    """Return what is said of the models of a case; see pool.py's `trained` for the record."""
    x_s, y_s, x_t, held = (record[name] for name in ("source", "source_labels", "target", "held"))
    single = {name: parts["target"].double() for name, parts in record["probabilities"].items()}
    compact_s, compact_t = compact(x_s, x_t)
    weights = density_ratio(compact_s[~held], compact_t, compact_s[held])
    own_held = {name: parts["held"].double() for name, parts in record["probabilities"].items()}
    models = single | means(single, aggregation(single, own_held, y_s[held], weights))
    kind = diagnose(x_s, y_s, x_t).kind
    if kind == "label shift":
        moved = single["source-only"] * estimate_class_shares(x_s, y_s, x_t, record["classes"]).ratio
        models[CORRECTED] = moved / moved.sum(1, keepdim=True)
    predicted = {name: probabilities.argmax(1) for name, probabilities in models.items()}
    if kind == "covariate shift" and seems_one_class(x_s, y_s, x_t, predicted["source-only"]):
        kind = ONE_CLASS
    near = nearest(x_t)
    agreeing = {name: (found[near] == found[:, None]).double().mean(1) for name, found in predicted.items()}
    differences = {name: each - agreeing["source-only"] for name, each in agreeing.items()}
    known = record["target_labels"] >= 0
    accuracy = differing = None
    if known.any():
        right = {name: (found == record["target_labels"])[known] for name, found in predicted.items()}
        accuracy = {name: 100 * each.double().mean().item() for name, each in right.items()}
        told = {name: (found != predicted["source-only"])[known] for name, found in predicted.items()}
        differing = {name: 100 * each.double().mean().item() for name, each in told.items()}
    return Judged(
        record["family"],
        record["case"],
        record["kind"],
        int(known.sum()) or len(x_t),
        kind,
        score_models(x_s, y_s, x_t, predicted),
        criteria(record, single, weights, predicted, (compact_s, compact_t)),
        {name: each.std().item() / sqrt(len(each)) for name, each in differences.items()},
        {name: predicted[name] for name in (*CAREFUL, COMBINATION)},
        rehearsed_gain(compact_s, y_s, compact_t),
        accuracy,
        differing,
    )


def means(single: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the combinations of models' probabilities (m, c)."""
    groups = {COMBINATION: MEMBERS, CAUTIOUS: CAREFUL, EVERYTHING: tuple(single)}
    found = {
        name: torch.stack([single[each] for each in group if each in single]).mean(0) for name, group in groups.items()
    }
    weighted = torch.stack([weight * single[name] for name, weight in weights.items()])
    return found | {WEIGHTED: weighted.sum(0)}


def aggregation(
    target: Mapping[str, Tensor], held: Mapping[str, Tensor], labels: Tensor, weights: Tensor, ridge: float = 1e-2
) -> dict[str, float]:
    """Return the weights a of auto's members that IWA gives them: the least squares of Σ_k a_k f_k on the target.

        (G + λ I) a = g,   G_kl = 1/m Σ_j f_k(x_j) · f_l(x_j),   g_k = 1/n Σ_i w_i y_i · f_k(x_i)

    y is one-hot, i the held-out source examples, w the density ratio, here of mean 1. Source: Dinu et al., ICLR 2023,
    Eq. (4)-(6); the ridge is ours, as the members are alike.
    """
    names = [name for name in MEMBERS if name in target]
    of_target = torch.stack([target[name].flatten() for name in names])
    gram = of_target @ of_target.T / len(target[names[0]])
    wanted = one_hot(labels, target[names[0]].shape[1]).double() * (weights / weights.mean())[:, None]
    right = torch.stack([(held[name] * wanted).sum() / len(labels) for name in names])
    ridges = ridge * torch.eye(len(names), dtype=torch.float64)
    return dict(zip(names, torch.linalg.solve(gram + ridges, right).tolist(), strict=True))


def criteria(
    record: Mapping[str, Any],
    single: Mapping[str, Tensor],
    weights: Tensor,
    predicted: Mapping[str, Tensor],
    rows: tuple[Tensor, Tensor],
) -> dict[str, dict[str, float]]:
    """Return criterion → model → value, of single models; `rows`: of both domains, compact."""
    y_s, held = record["source_labels"], record["held"]
    compact_s, compact_t = rows
    votes = one_hot(
        y_s[torch.cdist(compact_t, compact_s).topk(min(5, len(y_s)), largest=False).indices], record["classes"]
    )
    members = [name for name in MEMBERS if name in single]

    def losses(name: str) -> Tensor:
        right = record["probabilities"][name]["held"].double().gather(1, y_s[held, None])[:, 0]
        return -right.clamp_min(1e-12).log()

    def agreement(name: str, others: list[str]) -> float:
        same = [(predicted[name] == predicted[other]).double().mean().item() for other in others if other != name]
        return sum(same) / len(same)

    return {
        "entropy": {name: entropy(p) for name, p in single.items()},
        "information (IM)": {name: information(p) for name, p in single.items()},
        "SND": {name: neighbourhood_density(p) for name, p in single.items()},
        "DEV": {name: deep_embedded_validation(weights, losses(name)) for name in single},
        "IWV": {name: -(weights * losses(name)).mean().item() for name in single},
        "EnsV": {name: agreement(name, [COMBINATION]) for name in single},
        "held-out accuracy on the source": {
            name: (record["probabilities"][name]["held"].argmax(1) == y_s[held]).double().mean().item()
            for name in single
        },
        "agreement with the others": {name: agreement(name, members) for name in single},
        "nuclear norm": {name: torch.linalg.matrix_norm(p, "nuc").item() for name, p in single.items()},
        "nearest source examples": {
            name: votes.double().mean(1).gather(1, predicted[name][:, None]).mean().item() for name in single
        },
        "reverse validation": {
            name: reversed_accuracy(compact_t, predicted[name], compact_s[held], y_s[held]) for name in single
        },
    }


def compact(x_s: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of both domains by the first principal components of the two together, on their common scale."""
    rows = torch.cat([x_s, x_t]).double()
    rows = (rows - rows.mean(0)) / rows.std(0).clamp_min(1e-9)
    if rows.shape[1] > COMPONENTS:
        torch.manual_seed(0)
        _, _, directions = torch.pca_lowrank(rows.float(), COMPONENTS, center=False, niter=2)
        rows = rows @ directions.double()
    return rows[: len(x_s)], rows[len(x_s) :]


def reversed_accuracy(x_t: Tensor, predicted: Tensor, x_s: Tensor, y_s: Tensor) -> float:
    """Return how often a linear model of the target's predicted classes is right on the source; Zhong et al., 2010."""
    some = torch.randperm(len(x_t), generator=torch.Generator().manual_seed(0))[:REVERSED_ROWS]
    classes = predicted[some].unique()
    if len(classes) < 2:
        return (y_s == classes[0]).double().mean().item()
    reverse = fit_linear(x_t[some], predicted[some], strength=0.1, iterations=100)
    return (torch.from_numpy(reverse.predict(x_s.numpy())) == y_s).double().mean().item()


def rehearsed_gain(x_s: Tensor, y_s: Tensor, x_t: Tensor) -> float:
    """Return what matching the columns' moments gains a logistic regression within the source, in points.

    The source is split along the direction in which it differs from the target: within each class the half that is
    most unlike the target is the rehearsal's source, the other its target, whose labels are known.
    """
    generator = torch.Generator().manual_seed(0)
    first, first_t = (torch.rand(len(x), generator=generator) < 0.5 for x in (x_s, x_t))
    likeness = torch.zeros(len(x_s), dtype=torch.float64)
    for fitted, fitted_t in ((first, first_t), (~first, ~first_t)):
        if min(fitted.sum(), (~fitted).sum(), fitted_t.sum()) < 2:
            return 0.0
        rows = torch.cat([x_s[fitted], x_t[fitted_t]])
        model = fit_linear(rows, (torch.arange(len(rows)) >= fitted.sum()).long(), strength=0.001, iterations=100)
        likeness[~fitted] = torch.from_numpy(model.decision_function(x_s[~fitted].numpy()))
    unlike = torch.zeros(len(x_s), dtype=torch.bool)
    for label in y_s.unique():
        rows = (y_s == label).nonzero().flatten()
        unlike[rows[likeness[rows].argsort()[: (len(rows) + 1) // 2]]] = True
    here, there = x_s[unlike], x_s[~unlike]
    moved = match_columns(find_moments([here]), find_moments([there]))(here)
    right = []
    for rows in (here, moved):
        model = fit_linear(rows, y_s[unlike], strength=0.1, iterations=100)
        right.append((torch.from_numpy(model.predict(there.numpy())) == y_s[~unlike]).double().mean().item())
    return 100 * (right[1] - right[0])
