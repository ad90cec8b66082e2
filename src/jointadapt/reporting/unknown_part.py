"""What `--unknown` found → a part of the page: a histogram of the scores with the threshold, and the rates."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jointadapt.reporting.style import INK, SOURCE, TARGET, house_style, inline
from jointadapt.runs.reading import FinishedRun
from jointadapt.runs.summary import UnknownSummary

UNKNOWN_COLOUR = "#832db6"
SHOWN = {
    "source": ("source, each without its own label", SOURCE),
    "known": ("target, known classes", TARGET),
    "unknown": ("target, unknown classes", UNKNOWN_COLOUR),
    "target": ("target, no label", TARGET),
}


def unknown_part(run: FinishedRun) -> dict[str, Any] | None:
    """Return what the page says of unknown classes; None where nobody asked for them."""
    found = run.summary.unknown
    if found is None:
        return None
    names = [name for name in SHOWN if name in found.histograms]
    return {
        "rows": found.rows,
        "share": found.share,
        "threshold": f"{found.threshold:.3f}",
        "figure": histogram(found, names),
        "key": [SHOWN[name] for name in names],
        "evaluation": found.evaluation,
    }


def histogram(found: UnknownSummary, names: list[str]) -> Markup:
    """Return the scores' histograms, one above the other on one axis, and the threshold through all of them."""
    with house_style("unknown"):
        figure = Figure(figsize=(6.8, 0.5 + 1.05 * len(names)), layout="constrained")
        panels = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, names, strict=True):
            _bars(axes, np.asarray(found.histograms[name]), SHOWN[name][1], found.threshold)
        panels[-1].set_xlabel("score: 0 = of one known class, 1 = of none")
        return inline(figure, f"Histograms of scores, the threshold at {found.threshold:.3f}.")


def _bars(axes: Axes, counts: np.ndarray, colour: str, threshold: float) -> None:
    edges = np.linspace(0, 1, len(counts) + 1)
    axes.stairs(100 * counts / max(counts.sum(), 1), edges, fill=True, color=colour, alpha=0.75)
    axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, 1)
    axes.set_ylabel("%")
