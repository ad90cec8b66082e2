"""Parts of a run → parts of the page, in the order in which they are read."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from jointadapt.config import BASELINE
from jointadapt.reporting import run_figures as figures
from jointadapt.reporting.html import Number, counted, duration, percent, plain
from jointadapt.runs.reading import Run

Thumbnail = Callable[[int], Image.Image | None]

MOST_PICTURES = 12
MOST_COUNTED_CLASSES = 40
MOST_MATRIX_CLASSES = 100


def method_title(run: Run) -> str:
    """Return the name of a method as it is printed: acronyms in capitals."""
    method = str(run.summary.get("method") or "adapted")
    return method if method == BASELINE or len(method) > 6 else method.upper()


def class_names(run: Run) -> list[str]:
    """Return the names of the classes; their numbers where the summary has no names."""
    names = [plain(str(name)) for name in run.summary.get("classes") or []]
    return names or [str(i) for i in range(len(run.evaluation.get("confusion") or []))]


def subtitle(run: Run) -> str:
    """Return what was trained, in one line."""
    s = run.summary
    backbone = s.get("backbone") and f"{s['backbone']}, {'frozen' if s.get('frozen') else 'trained along'}"
    parts = [
        f"{method_title(run)} on {backbone}" if backbone else method_title(run),
        counted(s.get("steps"), "step"),
        f"seed\N{NO-BREAK SPACE}{s['seed']}" if s.get("seed") is not None else "",
        duration(s["seconds"]) if s.get("seconds") is not None else "",
    ]
    return " · ".join(part for part in parts if part)


def comparison(run: Run) -> list[tuple[str, Number | None, Number | None, bool]]:
    """Return the rows of the first table, in percent: name, source-only, method, whether target labels were used."""

    def numbers(of: Run | None) -> tuple[Number | None, ...]:
        summary, evaluation = (of.summary, of.evaluation) if of else ({}, {})
        confidence = summary.get("confidence")
        return (
            evaluation.get("accuracy"),
            evaluation.get("mean_per_class_accuracy"),
            summary.get("source_accuracy"),
            None if confidence is None else 100 * confidence,
        )

    names = ("Target accuracy", "Mean per-class accuracy", "Source accuracy", "Mean confidence on the target")
    rows = zip(names, numbers(run.baseline), numbers(run), (True, True, False, False), strict=True)
    return [row for row in rows if (row[1], row[2]) != (None, None)]


def candidates(run: Run) -> list[tuple[str, str, str, Number | None]]:
    """Return the models that were chosen from: name, neighbours, geometry, and target accuracy in percent."""
    return [
        (
            name,
            f"{found['neighbours']:.2f}",
            f"{found['geometry']:.2f}",
            (found["evaluation"] or {}).get("accuracy"),
        )
        for name, found in (run.summary.get("candidates") or {}).items()
    ]


def facts(run: Run) -> list[tuple[str, str]]:
    """Return what was run, as pairs of a term and a value."""
    s = run.summary
    versions = ", ".join(f"{name} {version}" for name, version in (s.get("versions") or {}).items())
    pairs = [
        ("Source", _domain(s.get("source"), labelled="labelled", unlabelled="without labels")),
        ("Target", _domain(s.get("target"), labelled="labels used for evaluation only", unlabelled="without labels")),
        ("Classes", str(len(s.get("classes") or [])) if s.get("classes") else ""),
        *selection_facts(s.get("selection") or {}),
        ("Versions", ", ".join(filter(None, [s.get("jointadapt") and f"jointadapt {s['jointadapt']}", versions]))),
    ]
    return [(term, value) for term, value in pairs if value]


def selection_facts(selection: dict[str, Any]) -> list[tuple[str, str]]:
    """Return which rule chose the checkpoint and λ, and what the last checkpoint and the oracle would have given.

    >>> last = {"step": 600, "accuracy": 88.14}
    >>> selection_facts({"rule": "snd", "step": 60, "candidates": [], "choices": {"last": last}})[0]
    ('Checkpoint', 'step 60, chosen by snd, which sees no target label')
    """
    if not selection:
        return []
    rule, choices = selection["rule"], selection["choices"]
    chosen = "the last" if rule == "last" else f"chosen by {rule}, which sees no target label"
    pairs = [("Checkpoint", f"step {selection['step']}, {chosen}")]
    if selection["candidates"] and not any(candidate["eligible"] for candidate in selection["candidates"]):
        pairs.append(
            ("Guard", "no checkpoint keeps the classes and the balance expected of the target: the last it is")
        )
    others = [name for name in choices if name != rule and choices[name]["accuracy"] is not None]
    given = [f"{name} {percent(choices[name]['accuracy'])} (step {choices[name]['step']})" for name in others]
    if given:
        pairs.append(("Other rules", f"{', '.join(given)}: target accuracy, evaluation only"))
    if selection.get("trade_off"):
        found = selection["trade_off"]
        means: dict[float, list[float]] = {}
        for trial in found["trials"]:
            means.setdefault(trial["trade_off"], []).append(trial["score"])
        tried = ", ".join(f"{value:g}: {sum(scores) / len(scores):.4g}" for value, scores in means.items())
        pairs.append(("Trade-off λ", f"{found['chosen']}, chosen by {found['rule']} (higher is better: {tried})"))
    return pairs


def _domain(domain: dict[str, Any] | None, *, labelled: str, unlabelled: str) -> str:
    if not domain:
        return ""
    parts = [
        str(domain.get("path") or ""),
        counted(domain.get("rows"), "row"),
        labelled if domain.get("labelled") else unlabelled,
        f"{domain['skipped']} skipped" if domain.get("skipped") else "",
    ]
    return " · ".join(part for part in parts if part)


def learning_curves(run: Run) -> list[dict[str, Any]]:
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


def _series(run: Run | None, key: str) -> tuple[list[float], list[float]] | None:
    """Return steps and values of one term; None where it was not recorded, or transfer was never used."""

    def values(key: str) -> list[float]:
        return [math.nan if record.get(key) is None else float(record[key]) for record in run.metrics] if run else []

    used = key == "risk" or any(math.isfinite(v) and v != 0 for v in values("transfer"))
    if run is None or not used or not any(map(math.isfinite, values(key))):
        return None
    return [float(record["step"]) for record in run.metrics], values(key)


def confusion_parts(run: Run, classes: list[str]) -> dict[str, Any]:
    """Return the matrix, the weakest classes and the most frequent confusions; nothing without target labels."""
    counts = run.evaluation.get("confusion")
    if not counts:
        return {"matrix": None, "weakest": [], "confusions": [], "classes": len(classes)}
    counts = np.asarray(counts)
    names = [classes[i] if i < len(classes) else str(i) for i in range(len(counts))]
    matrix = None
    if len(names) <= MOST_MATRIX_CLASSES:
        matrix = figures.confusion_figure(counts, names, counts=len(names) <= MOST_COUNTED_CLASSES)
    before = np.asarray((run.baseline.evaluation if run.baseline else {}).get("confusion") or np.zeros_like(counts))
    return {
        "matrix": matrix,
        "weakest": figures.weakest_classes(counts, before, names),
        "confusions": figures.frequent_confusions(counts, names),
        "classes": len(names),
    }


def feature_maps(run: Run) -> list[dict[str, Any]]:
    """Return for each model its two maps: source-only before, the method after."""
    models = [("Before", BASELINE, run.baseline), ("After", method_title(run), run)]
    if run.summary.get("method") == BASELINE:
        models = [("Features", BASELINE, run)]
    return [found for when, name, model in models if (found := _feature_map(when, name, model)) is not None]


def _feature_map(when: str, name: str, run: Run | None) -> dict[str, Any] | None:
    f = run.features if run else None
    if f is None or not {"source", "target", "source_labels", "target_predicted"} <= f.keys():
        return None
    plane = figures.embed(f["source"], f["target"])
    if plane is None:
        return None
    labels = f.get("target_labels", f["target_predicted"]).astype(int)
    size = f"{len(f['source'])} source and {len(f['target'])} target rows"
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


def pictures(run: Run, thumbnail: Thumbnail | None) -> dict[str, Any] | None:
    """Return the least and the most confident target rows, with pictures where there are any."""
    order = sorted((r for r in run.predictions if math.isfinite(r["probability"])), key=lambda r: r["probability"])
    if not order:
        return None
    least, most = order[: min(MOST_PICTURES, -(-len(order) // 2))], order[::-1][: min(MOST_PICTURES, len(order) // 2)]
    groups = [[_card(row, thumbnail) for row in rows] for rows in (least, most)]
    return {
        "groups": list(zip(("Least confident", "Most confident"), groups, strict=True)),
        "any": any(card["picture"] for cards in groups for card in cards),
        "labelled": any(card["label"] for cards in groups for card in cards),
    }


def _card(row: dict[str, Any], thumbnail: Thumbnail | None) -> dict[str, Any]:
    label = row.get("label") or ""
    image = thumbnail(row["row"]) if thumbnail else None
    return {
        "item": row.get("item") or "",
        "name": (row.get("item") or "").replace("\\", "/").rsplit("/", 1)[-1],
        "class": row.get("class") or "",
        "probability": f"{row['probability']:.2f}",
        "label": label,
        "wrong": bool(label) and label != row.get("class"),
        "picture": None if image is None else figures.data_uri(image),
        "coarse": image is not None and max(image.size) < figures.SMALL_PICTURE,
    }
