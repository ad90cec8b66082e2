"""Numbers of runs → one figure each: its table, its words, how it is drawn; or, as text, what it would need."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from jointadapt.analysis import charts
from jointadapt.analysis.outputs import groups
from jointadapt.discrepancy.a_distance import FEWEST_PER_DOMAIN
from jointadapt.runs.reading import FinishedRun

MAPPED_METHODS = ("source-only", "dan", "jan")
MAPPED_ROWS = 600

Swept = Literal["trade_off", "bandwidth"]


@dataclass(frozen=True)
class FigureSpec:
    """One figure: the name of its files, title, what it shows in words, the rows of its table, and how it is drawn."""

    name: str
    title: str
    words: str
    rows: list[dict[str, Any]]
    draw: Callable[[charts.Table], Figure]
    label: str

    def csv(self) -> str:
        """Return the table as CSV: the numbers that are drawn, in full precision."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


# One figure each: its table, or what it would need


def maps(shown: dict[str, list[dict[str, Any]]]) -> FigureSpec | str:
    task, rows = max(shown.items(), key=lambda item: len({row["method"] for row in item[1]}))
    if not rows:
        return "t-SNE maps: a run of source-only, dan or jan with four rows or more"
    rows = sorted(rows, key=lambda row: MAPPED_METHODS.index(row["method"]))
    return FigureSpec(
        "tsne",
        "Features of both domains",
        f"t-SNE of the last hidden layer, {task}: open circles are source examples, filled triangles target ones, "
        f"up to {MAPPED_ROWS} of each. Every map is a fit of its own; distances between islands and between maps mean "
        "nothing.",
        rows,
        charts.draw_maps,
        "t-SNE maps, one a method, source examples as circles and target examples as triangles.",
    )


def a_distances(measured: list[dict[str, Any]]) -> FigureSpec | str:
    rows, told = [], [row for row in measured if row["a_distance"] is not None]
    for (task, method), runs in _by_task_and_method(told).items():
        own = [run["a_distance"] for run in runs]
        rows.append(
            {
                "task": task,
                "method": method,
                "runs": len(runs),
                "a_distance": mean(own),
                "standard_error": _error(own) if len(own) > 1 else runs[0]["a_distance_error"],
                "rows_fitted_to": mean(run["rows_fitted_to"] for run in runs),
                "classifier_error": mean(run["classifier_error"] for run in runs),
            }
        )
    if not rows:
        return f"proxy A-distance: {FEWEST_PER_DOMAIN} rows or more of each domain, half of them to be held out"
    return FigureSpec(
        "a-distance",
        "Proxy A-distance",
        "How well a linear classifier separates source and target features: 0, not at all; 2, always. Bars: held-out "
        "examples, equally many of both domains, the penalty chosen on the others; error bars: standard "
        "error over runs, or over splits where there is one run. Diamonds: the same on the training examples, "
        "with hardly a penalty. That is near 2 whenever examples are few and features many, whether the domains differ "
        "or not, which is how an A-distance of “always 2.0” comes about.",
        rows,
        lambda rows: charts.draw_bars(rows, "a_distance", "proxy A-distance", naive="rows_fitted_to"),
        "Bars of the proxy A-distance by method.",
    )


def jmmd(measured: list[dict[str, Any]]) -> FigureSpec | str:
    told = [row for row in measured if row["jmmd"] is not None]
    if not told:
        return "JMMD: runs with two or more examples of each domain"
    rows = [
        {
            "task": task,
            "method": method,
            "runs": len(runs),
            "jmmd": mean(run["jmmd"] for run in runs),
            "standard_error": _error([run["jmmd"] for run in runs]),
        }
        for (task, method), runs in _by_task_and_method(told).items()
    ]
    return FigureSpec(
        "jmmd",
        "JMMD of the whole domains",
        "Squared JMMD of all source and target examples, on features × predictions, with JAN's kernels at the mean "
        "distance of each model's own features (unbiased: near 0, of either sign, if the joint distributions agree). "
        "Error bars: standard error over runs.",
        rows,
        lambda rows: charts.draw_bars(rows, "jmmd", "JMMD², features × predictions"),
        "Bars of JMMD by method.",
    )


def convergence(runs: Sequence[FinishedRun]) -> FigureSpec | str:
    rows, done = [], set()
    for run in runs:
        if (run.task, run.method) in done:
            continue
        done.add((run.task, run.method))
        about = {"task": run.task, "method": run.method, "run": str(run.folder)}
        candidates = run.summary.selection.candidates
        errors = [(c.step, 100 - c.accuracy) for c in candidates if c.accuracy is not None]
        for quantity, points in (
            ("target error, %", errors),
            ("risk on the source", _smoothed(run, "risk")),
            ("transfer", _smoothed(run, "transfer") if run.adapts else []),
        ):
            rows += [{**about, "quantity": quantity, "step": step, "value": value} for step, value in points]
    rows.sort(key=lambda row: ("target error, %", "risk on the source", "transfer").index(row["quantity"]))
    if not rows:
        return "convergence curves: runs with a metrics.jsonl"
    return FigureSpec(
        "convergence",
        "Convergence",
        "How each method's training went, in its first run for each task. The target error is that of the checkpoints "
        "(evaluation only: no training sees it); risk and transfer are means over a twentieth of the training. The "
        "size of transfer is each method's own and says nothing across methods.",
        rows,
        charts.draw_curves,
        "Curves of target error, risk and transfer against the step.",
    )


def _smoothed(run: FinishedRun, key: str) -> list[tuple[int, float]]:
    """Return the means of a term over twentieths of the training, at their last step."""
    records = run.metrics
    size = max(1, len(records) // 20)
    parts = [records[start : start + size] for start in range(0, len(records), size)]
    return [(part[-1]["step"], mean(record[key] for record in part)) for part in parts]


def sensitivity(runs: Sequence[FinishedRun], option: Swept) -> FigureSpec | str:
    rows = [
        {
            "task": first.task,
            "method": first.method,
            option: value,
            "runs": len(same),
            "accuracy": mean(accuracies := [run.accuracy for run in same if run.accuracy is not None]),
            "standard_error": _error(accuracies),
        }
        for first, by_value in groups(runs, option)
        for value, same in by_value.items()
    ]
    title, label, axis = {
        "trade_off": ("Sensitivity to λ", "the trade-off λ", "trade-off λ"),
        "bandwidth": ("Kernel bandwidth", "the bandwidth γ of the kernel on the features", "bandwidth γ"),
    }[option]
    if not rows:
        return (
            f"target accuracy against {label}: target labels, and runs that differ in {option} alone, of "
            f"three values or more (jointadapt analyze RUN --sweep {option} makes them)"
        )
    return FigureSpec(
        option.replace("_", "-"),
        title,
        f"Target accuracy (evaluation only) against {label}, of runs that differ in nothing else but the seed. Error "
        "bars: standard error over seeds.",
        rows,
        lambda rows: charts.draw_sensitivity(rows, option, axis),
        f"Target accuracy against {label}.",
    )


def scatter(measured: list[dict[str, Any]]) -> FigureSpec | str:
    rows = [row for row in measured if None not in (row["accuracy"], row["a_distance"], row["jmmd"])]
    if len(rows) < 3:
        return "discrepancy against accuracy: three runs or more with target labels"
    accuracies = rankdata([row["accuracy"] for row in rows])
    words = []
    for key, name in (("jmmd", "JMMD"), ("a_distance", "the A-distance")):
        values = rankdata([row[key] for row in rows])
        if values.std() and accuracies.std():
            words.append(f"of {name} {np.corrcoef(values, accuracies)[0, 1]:+.2f}")
    return FigureSpec(
        "discrepancy",
        "Discrepancy against accuracy",
        "Target accuracy of every run (evaluation only) against the discrepancy left between its domains. Rank "
        f"correlation with the accuracy over these {len(rows)} runs: {', '.join(words) or 'none, as all are equal'}. "
        "Runs of several tasks differ in more than the method.",
        rows,
        lambda rows: charts.draw_scatter(rows, [("jmmd", "JMMD²"), ("a_distance", "proxy A-distance")]),
        "Accuracy of each run against its JMMD and its A-distance.",
    )


def _by_task_and_method(measured: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in measured:
        found.setdefault((row["task"], row["method"]), []).append(row)
    return found


def _error(values: Sequence[float]) -> float | None:
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
