"""Parts of a run → parts of the page, in the order in which they are read."""

import math
from collections.abc import Callable
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image

from jointadapt.config import BASELINE
from jointadapt.methods.names import method_title
from jointadapt.reporting import run_figures as figures
from jointadapt.reporting.html import Number, counted, duration, percent, plain
from jointadapt.runs.reading import FinishedRun, Prediction, shown
from jointadapt.runs.summary import DomainSummary, Selection, TradeOffSearch
from jointadapt.selection.registry import LAST
from jointadapt.selection.sources import SourceWeight

Thumbnail = Callable[[int], Image.Image | None]

MOST_PICTURES = 12
MOST_COUNTED_CLASSES = 40
MOST_MATRIX_CLASSES = 100


STANDARDIZED = {
    "no": (),
    "source": ("features as z-scores by the source's columns",),
    "domain": ("features as z-scores by each domain's columns",),
}


def title_of(run: FinishedRun) -> str:
    """Return the method of a run as a heading has it."""
    return method_title(run.summary.method or "adapted")


def class_names(run: FinishedRun) -> list[str]:
    """Return the names of the classes."""
    return [plain(name) for name in run.summary.classes]


def subtitle(run: FinishedRun) -> str:
    """Return what was trained, in one line."""
    summary = run.summary
    network = f"on {summary.backbone}, {'frozen' if summary.frozen else 'trained along'}"
    return " · ".join(
        [
            f"{title_of(run)} {'without a backbone' if summary.backbone == 'none' else network}",
            *STANDARDIZED[summary.standardized],
            counted(summary.steps, "step"),
            f"seed\N{NO-BREAK SPACE}{summary.seed}",
            duration(summary.seconds),
        ]
    )


def comparison(run: FinishedRun) -> list[tuple[str, Number | None, Number | None, bool]]:
    """Return the rows of the first table, in percent: name, source-only, method, whether target labels were used."""

    def numbers(of: FinishedRun | None) -> tuple[Number | None, ...]:
        if of is None:
            return (None,) * 4
        found = of.summary.evaluation
        rates = (found.accuracy, found.mean_per_class_accuracy) if found else (None, None)
        return (*rates, of.summary.source_accuracy, 100 * of.summary.confidence)

    names = ("Target accuracy", "Mean per-class accuracy", "Source accuracy", "Mean confidence on the target")
    rows = zip(names, numbers(run.baseline), numbers(run), (True, True, False, False), strict=True)
    return [row for row in rows if (row[1], row[2]) != (None, None)]


def candidates(run: FinishedRun) -> list[tuple[str, tuple[str, ...], Number | None]]:
    """Return the models that were chosen from: name, scores, and target accuracy in percent."""
    rows = []
    for name, found in run.summary.candidates.items():
        scores = (found.neighbours, found.beyond_chance, found.geometry)
        shown = tuple("–" if score is None else f"{score:.2f}" for score in scores)
        rows.append((name, shown, found.evaluation and found.evaluation.accuracy))
    return rows


def class_shares(run: FinishedRun, classes: list[str]) -> list[tuple[str, Number, Number, str, Number | None]]:
    """Return of each class its share in percent: source, estimated target, its interval, and the true one if known."""
    found, evaluation = run.summary.class_shares, run.summary.evaluation
    if found is None:
        return []
    counts = None if evaluation is None else np.asarray(evaluation.confusion).sum(1)
    true = [None] * len(classes) if counts is None else (100 * counts / max(counts.sum(), 1)).tolist()
    intervals = [f"{low:.1f} – {high:.1f}" for low, high in zip(found.low, found.high, strict=True)]
    return list(zip(classes, found.source, found.target, intervals, true, strict=True))


def facts(run: FinishedRun) -> list[tuple[str, str]]:
    """Return what was run, as pairs of a term and a value."""
    summary = run.summary
    versions = [f"jointadapt {summary.jointadapt}"] if summary.jointadapt else []
    versions += [f"{name} {version}" for name, version in summary.versions.items()]
    pairs = [
        ("Source", _domain(summary.source, labelled="labelled")),
        *((f"Source {found.name}", _source(found)) for found in summary.sources),
        ("Target", _domain(summary.target, labelled="labels used for evaluation only")),
        ("Classes", str(len(summary.classes)) if summary.classes else ""),
        *selection_facts(summary.selection),
        ("Versions", ", ".join(versions)),
    ]
    return [(term, value) for term, value in pairs if value]


def selection_facts(selection: Selection) -> list[tuple[str, str]]:
    """Return how the checkpoint and λ were selected, and the accuracies of the last checkpoint and the oracle.

    >>> from jointadapt.runs.summary import CheckpointChoice
    >>> selection_facts(Selection("snd", 60, (), {"last": CheckpointChoice(600, 88.14, 88.0)}))[0]
    ('Checkpoint', 'step 60, chosen by snd, which sees no target label')
    """
    rule = selection.rule
    chosen = "the last" if rule == LAST else f"chosen by {rule}, which sees no target label"
    pairs = [("Checkpoint", f"step {selection.step}, {chosen}")]
    if selection.candidates and not any(candidate.eligible for candidate in selection.candidates):
        pairs.append(
            (
                "Guard",
                "no checkpoint keeps the classes and the balance expected of the target; the last one is reported",
            )
        )
    others = {name: choice for name, choice in selection.choices.items() if name != rule}
    given = [f"{n} {percent(c.accuracy)} (step {c.step})" for n, c in others.items() if c.accuracy is not None]
    if given:
        pairs.append(("Other criteria", f"{', '.join(given)}: target accuracy, evaluation only"))
    return pairs + ([("Trade-off λ", _search(selection.trade_off))] if selection.trade_off else [])


def _search(found: TradeOffSearch) -> str:
    scores: dict[float, list[float]] = {}
    for trial in found.trials:
        scores.setdefault(trial.trade_off, []).append(trial.score)
    tried = ", ".join(f"{value:g}: {mean(own):.4g}" for value, own in scores.items())
    return f"{found.chosen}, chosen by {found.rule} (higher is better: {tried})"


def _source(found: SourceWeight) -> str:
    """Return what one of several sources counts for, and what that is seen by."""
    parts = [
        "dropped" if found.dropped else f"counts for {100 * found.weight:.0f} %",
        counted(found.rows, "row"),
        "" if found.distance is None else f"MMD² to the target {found.distance:.3g}",
        "" if found.skill is None else f"skill with the source most like it {found.skill:.2f}",
        found.why,
    ]
    return " · ".join(part for part in parts if part)


def _domain(domain: DomainSummary, *, labelled: str) -> str:
    parts = [
        domain.path,
        counted(domain.rows, "row"),
        labelled if domain.labelled else "without labels",
        f"{domain.skipped} skipped" if domain.skipped else "",
    ]
    return " · ".join(part for part in parts if part)


def learning_curves(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the panels: the risk and, where the run ever used them, transfer and λ."""
    panels = []
    for key, title in (("risk", "Risk on the source"), ("transfer", "Transfer"), ("trade_off", "Trade-off λ")):
        own, other = _series(run, key), _series(run.baseline, key)
        if own is None:
            continue
        values, smooth = [v for v in own[1] if math.isfinite(v)], key != "trade_off"
        alt = f"{title}, {counted(len(own[0]), 'record')}: first {values[0]:.3g}, last {values[-1]:.3g}."
        svg = figures.curve(own, other, smooth=smooth, name=f"curve {key}", alt=alt)
        pale = smooth and len(own[0]) >= figures.FEWEST_SMOOTHED
        panels.append({"title": title, "svg": svg, "grey": other is not None, "pale": pale})
    return panels


def _series(run: FinishedRun | None, key: str) -> tuple[list[float], list[float]] | None:
    """Return steps and values of one term; None where it was not recorded, or transfer was never used."""

    def values(key: str) -> list[float]:
        return [math.nan if record.get(key) is None else float(record[key]) for record in run.records] if run else []

    used = key == "risk" or any(math.isfinite(v) and v != 0 for v in values("transfer"))
    if run is None or not used or not any(map(math.isfinite, values(key))):
        return None
    return [float(record["step"]) for record in run.records], values(key)


def confusion_parts(run: FinishedRun, classes: list[str]) -> dict[str, Any]:
    """Return the matrix, the weakest classes and the most frequent confusions; nothing without target labels."""
    if run.summary.evaluation is None:
        return {"matrix": None, "weakest": [], "confusions": [], "classes": len(classes)}
    counts = np.asarray(run.summary.evaluation.confusion)
    names = [classes[i] if i < len(classes) else str(i) for i in range(len(counts))]
    matrix = None
    if len(names) <= MOST_MATRIX_CLASSES:
        matrix = figures.confusion_figure(counts, names, counts=len(names) <= MOST_COUNTED_CLASSES)
    plain_evaluation = run.baseline and run.baseline.summary.evaluation
    before = np.asarray(plain_evaluation.confusion) if plain_evaluation else np.zeros_like(counts)
    return {
        "matrix": matrix,
        "weakest": figures.weakest_classes(counts, before, names),
        "confusions": figures.frequent_confusions(counts, names),
        "classes": len(names),
    }


def feature_maps(run: FinishedRun) -> list[dict[str, Any]]:
    """Return for each model its two maps: source-only before, the method after."""
    models = [("Before", BASELINE, run.baseline), ("After", title_of(run), run)]
    if run.summary.method == BASELINE:
        models = [("Features", BASELINE, run)]
    return [found for when, name, model in models if (found := _feature_map(when, name, model)) is not None]


def _feature_map(when: str, name: str, run: FinishedRun | None) -> dict[str, Any] | None:
    f = shown(lambda: run.features, {}) if run else {}
    if not {"source", "target", "source_labels", "target_predicted"} <= f.keys():
        return None
    plane = figures.tsne(f["source"], f["target"])
    if plane is None:
        return None
    labels = f.get("target_labels", f["target_predicted"]).astype(int)
    size = f"{len(f['source'])} source and {len(f['target'])} target examples"
    return {
        "when": when,
        "name": name,
        "domain": figures.map_by_domain(
            *plane, name=f"{when} domain", alt=f"t-SNE of the features of {name}, {size}, coloured by domain."
        ),
        "class": figures.map_by_class(
            *plane,
            f["source_labels"].astype(int),
            labels,
            name=f"{when} class",
            alt=f"The same map of {name}, coloured by class.",
        ),
    }


def pictures(run: FinishedRun, thumbnail: Thumbnail | None) -> dict[str, Any] | None:
    """Return the least and the most confident target examples, with pictures where there are any."""
    rows = [row for row in shown(lambda: run.predictions, []) if math.isfinite(row.probability)]
    order = sorted(rows, key=lambda row: row.probability)
    if not order:
        return None
    least, most = order[: min(MOST_PICTURES, -(-len(order) // 2))], order[::-1][: min(MOST_PICTURES, len(order) // 2)]
    groups = [[_card(row, thumbnail) for row in rows] for rows in (least, most)]
    return {
        "groups": list(zip(("Least confident", "Most confident"), groups, strict=True)),
        "any": any(card["picture"] for cards in groups for card in cards),
        "labelled": any(card["label"] for cards in groups for card in cards),
    }


def _card(row: Prediction, thumbnail: Thumbnail | None) -> dict[str, Any]:
    image = thumbnail(row.row) if thumbnail else None
    return {
        "item": row.item,
        "name": row.item.replace("\\", "/").rsplit("/", 1)[-1],
        "class": row.predicted,
        "probability": f"{row.probability:.2f}",
        "label": row.label,
        "wrong": bool(row.label) and row.label != row.predicted,
        "picture": None if image is None else figures.data_uri(image),
        "coarse": image is not None and max(image.size) < figures.SMALL_PICTURE,
    }
