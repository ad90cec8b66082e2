"""A two-sample test's null distribution, drawn."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jointadapt.reporting.style import GREY, INK, TARGET, house_style
from jointadapt.two_sample import TwoSampleTest


def null_figure(tests: Sequence[TwoSampleTest], file: BinaryIO, kind: str) -> None:
    """Write, as "svg" or "png", for each test the null distribution, the threshold and the statistic observed.

    A statistic far above the null distribution stands at the right edge with an arrow: the axis is that of the null.
    """
    with house_style("null"):
        figure = Figure(figsize=(5.2, 2.5 * len(tests)), layout="constrained")
        for axes, test in zip(figure.subplots(len(tests), squeeze=False)[:, 0], tests, strict=True):
            _null(axes, test)
        figure.savefig(file, format=kind, dpi=200)


def _null(axes: Axes, test: TwoSampleTest) -> None:
    threshold = test.threshold
    if len(test.null):
        values = test.null.cpu().numpy()
        heights, edges = np.histogram(values, bins=min(40, max(5, len(values) // 15)))
        axes.stairs(100 * heights / len(values), edges, fill=True, color=GREY, alpha=0.75)
        low, high = float(edges[0]), float(edges[-1])
        axes.set_ylabel("% of permutations")
    else:
        spread = max(test.null_quantiles[0.95] / NormalDist().inv_cdf(0.95), 1e-300)
        z = np.linspace(-4, 4, 201)
        axes.fill_between(z * spread, np.exp(-(z**2) / 2), color=GREY, alpha=0.75, linewidth=0)
        low, high = -4 * spread, 4 * spread
        axes.set_yticks([])
        axes.set_ylabel("normal density")
    span = max(high, threshold) - low or 1.0
    right = max(high, threshold) + 0.7 * span
    far = test.statistic > right
    axes.set_xlim(min(low, test.statistic) - 0.05 * span, right)
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
    axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--")
    axes.text(
        threshold,
        0.83,
        f" different above {threshold:.3g}",
        transform=axes.get_xaxis_transform(),
        color=INK,
    )
    label = f"observed {test.statistic:.3g}"
    if far:
        tip, tail = (1.0, 0.6), (0.98, 0.68)
        axes.annotate(
            "", tip, (0.86, 0.6), xycoords="axes fraction", arrowprops={"arrowstyle": "-|>", "color": TARGET, "lw": 2}
        )
        axes.text(*tail, f"{label}, further right", transform=axes.transAxes, color=TARGET, ha="right", weight="bold")
    else:
        axes.axvline(test.statistic, color=TARGET, linewidth=2)
        side = "right" if test.statistic > low + 0.75 * (right - low) else "left"
        axes.text(
            test.statistic,
            0.93,
            f" {label} ",
            transform=axes.get_xaxis_transform(),
            color=TARGET,
            ha=side,
            weight="bold",
        )
    axes.set_xlabel(f"{test.statistic_name} if both came from one distribution (p = {test.p_value:.2g})")
    axes.xaxis.set_major_locator(MaxNLocator(6))
