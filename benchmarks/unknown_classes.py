"""Tell unknown classes: `--unknown` and the field's scores, on targets with classes that the source lacks.

    python benchmarks/unknown_classes.py [--families digits,photographs,…] [--steps 300] [--most 4]

Of every pair of domains a few classes are taken out of the source. Prints Markdown tables, means over the cases of a
family: the AUROC of each score (unknown against known target examples), the H-score by each way to find a threshold,
and the share of known target examples that are called unknown. Target labels are used for these tables only.
"""

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from statistics import mean
from typing import Any, NamedTuple

import hard_cases
import torch
from families import FAMILIES, ROOT
from torch import Tensor
from torch.nn.functional import normalize
from torch.special import entr

from jointadapt import Model, train
from jointadapt.data import UNLABELLED, Domain
from jointadapt.data.domain import some_rows
from jointadapt.evaluation.open_set import OpenSetEvaluation, evaluate_open_set
from jointadapt.selection.unknown_classes import FALSE_ALARMS, NEIGHBOURS, UnknownClasses, otsu

MOST_ROWS = 1_000  # of a domain
LEFT_OUT = {"gas_sensors": 2, "activity": 2, "bearing_spectra": 3}  # classes of six, six and nine
PHOTOGRAPHS = "squeezenet1_0"
METHODS = ("source-only", "mcc")
WAYS = ("as it is", "rehearsal alone", "Otsu's alone", "95 % of the source")


class Case(NamedTuple):
    """A source that lacks some of the target's classes."""

    family: str
    name: str
    source: Domain
    target: Domain
    options: dict[str, Any]


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="digits,photographs,scanned,gas_sensors,activity,bearing_spectra,clouds")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--most", type=int, default=4, help="cases of a family")
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    started, found = time.monotonic(), defaultdict(list)
    for family in arguments.families.split(","):
        for case in [*cases(family)][: arguments.most]:
            options = {**case.options, "steps": arguments.steps}
            row = judged(case, options, arguments.methods.split(","))
            found[family].append(row)
            print(
                f"{family}, {case.name}:", ", ".join(f"{name} {value:.0f}" for name, value in row.items()), flush=True
            )
    print_tables(found)
    print(f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} thread, torch {torch.__version__}")


def cases(family: str) -> Iterator[Case]:
    """Yield the cases of a family, at most 1,000 rows of a domain."""
    if family == "digits":
        for seed in range(3):
            yield from (_case(family, c.source, c.target, c.options) for c in hard_cases.digits(seed) if _open(c))
        for case in hard_cases.digits():
            if case.name in ("digits → noisy", "digits → tilted", "digits → blurred and pale"):
                yield _case(family, without(case.source, 4, first=True), case.target, case.options)
        return
    if family in LEFT_OUT:
        for first in (False, True):
            for source, target in FAMILIES[family](ROOT).tasks():
                yield _case(family, without(source, LEFT_OUT[family], first, target), target, {})
        return
    weights = ROOT / "weights" / f"{PHOTOGRAPHS}.safetensors"
    drawn = {
        "photographs": lambda: hard_cases.photographs(ROOT / "office_caltech", PHOTOGRAPHS, weights),
        "scanned": lambda: hard_cases.scanned(ROOT / "digits"),
        "clouds": hard_cases.gaussians,
    }[family]()
    chosen = [case for case in drawn if case.kind == "covariate shift" and "parabola" not in case.name]
    for first in (False, True):
        for case in chosen:
            left_out = 1 if family == "clouds" else 4
            yield _case(family, without(case.source, left_out, first), case.target, case.options)


def without(domain: Domain, count: int, first: bool, target: Domain | None = None) -> Domain:
    """Return a domain without its last, or first, classes, counting those that the target has."""
    target = target or domain
    present = sorted({target.classes[label] for label in target.labels.unique().tolist() if label != UNLABELLED})
    gone = present[:count] if first else present[-count:]
    classes = tuple(name for name in domain.classes if name not in gone)
    kept = domain.in_classes(classes)[0]
    return kept.select((kept.labels != UNLABELLED).nonzero().flatten().tolist())


def _open(case: hard_cases.Case) -> bool:
    return case.kind == "unknown classes"


def _case(family: str, source: Domain, target: Domain, options: dict[str, Any]) -> Case:
    source, target = (domain.select(some_rows(len(domain), MOST_ROWS).tolist()) for domain in (source, target))
    return Case(family, f"{source.name} ({len(source.classes)} classes) → {target.name}", source, target, options)


def judged(case: Case, options: dict[str, Any], methods: list[str]) -> dict[str, float]:
    """Return AUROCs, H-scores and shares of known examples called unknown, in percent, by name."""
    found: dict[str, float] = {}
    for number, method in enumerate(methods):
        given = {**options, "method": method, "baseline": False, "report": False}
        model = train(case.source, case.target, unknown=number == 0, **given).model
        if number == 0:
            found |= of_unknown(case, model)
        found |= {f"{method}: {name}": of_case(case, model, s).auroc for name, s in network_scores(case, model).items()}
    return found


def of_unknown(case: Case, model: Model) -> dict[str, float]:
    """Return what is measured of `--unknown`: its score, and the threshold found in several ways."""
    told = model.unknown
    assert told is not None
    scores = model.unknown_scores(case.target)
    gap = otsu(scores)
    found = (told.threshold, 2 * told.threshold - gap, gap, _of_source(told))  # it is the mean of the next two
    thresholds = dict(zip(WAYS, found, strict=True))
    measured = {name: of_case(case, model, scores, threshold) for name, threshold in thresholds.items()}
    return (
        {"--unknown": measured[WAYS[0]].auroc}
        | {f"H, {name}": of.h_score for name, of in measured.items()}
        | {f"false unknown, {name}": of.false_unknown for name, of in measured.items()}
    )


def _of_source(told: UnknownClasses) -> float:
    return told.source_scores.quantile(1 - FALSE_ALARMS).item()


def of_case(case: Case, model: Model, scores: Tensor, threshold: float = 0.5) -> OpenSetEvaluation:
    """Return how well scores tell the unknown examples of a case's target."""
    known = case.target.in_classes(model.classes)[0].labels
    predicted = model.predict_proba(case.target).argmax(1)
    found = evaluate_open_set(predicted, scores, threshold, known, known == UNLABELLED)
    assert found is not None
    return found


def network_scores(case: Case, model: Model) -> dict[str, Tensor]:
    """Return the field's scores of the target, higher for unknown examples: of a trained network's outputs."""
    source, target = model.inputs.source(case.source), model.inputs.target(case.target)
    x_s, x_t = (model.outputs(domain).features.double() for domain in (source, target))
    with torch.no_grad():
        logits = model.network.head.classifier(x_t.float()).double()
    p, labels = logits.softmax(1), source.labels
    present = labels.unique()
    means = torch.stack([x_s[labels == label].mean(0) for label in present])
    own = means[torch.searchsorted(present, labels)]
    near = torch.cdist(normalize(x_t), normalize(x_s)).topk(min(NEIGHBOURS, len(x_s)), largest=False).values
    return {
        "1 − max p": 1 - p.max(1).values,
        "entropy": entr(p).sum(1),
        "max logit": -logits.max(1).values,
        "energy": -logits.logsumexp(1),
        "neighbours": near[:, -1],
        "Mahalanobis": mahalanobis(x_t, means, x_s - own).min(1).values,
        "relative Mahalanobis": mahalanobis(x_t, means, x_s - own).min(1).values
        - mahalanobis(x_t, x_s.mean(0, keepdim=True), x_s - x_s.mean(0))[:, 0],
    }


def mahalanobis(x: Tensor, means: Tensor, residuals: Tensor) -> Tensor:
    """Return the squared Mahalanobis distances (n, classes) to means, by the covariance of residuals."""
    covariance = residuals.T @ residuals / len(residuals)
    ridge = 0.01 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    root = torch.linalg.cholesky(torch.linalg.inv(covariance + ridge))
    return torch.cdist(x @ root, means @ root).square()


def print_tables(found: dict[str, list[dict[str, float]]]) -> None:
    """Print the means by family."""
    names = list(dict.fromkeys(name for rows in found.values() for row in rows for name in row))
    groups = {
        "AUROC": [name for name in names if not name.startswith(("H, ", "false"))],
        "H-score, by threshold": [name for name in names if name.startswith("H, ")],
        "known examples called unknown, %": [name for name in names if name.startswith("false")],
    }
    for title, own in groups.items():
        print(f"\n| {title} | {' | '.join(f'{f} ({len(rows)})' for f, rows in found.items())} | mean |")
        print("|:---|" + "---:|" * (len(found) + 1))
        for name in own:
            means = [mean(row[name] for row in rows) for rows in found.values()]
            print(f"| {name} | {' | '.join(f'{value:.1f}' for value in (*means, mean(means)))} |")


if __name__ == "__main__":
    main()
