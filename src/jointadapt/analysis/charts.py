"""Tables → charts of an analysis. A chart draws the rows of its table and nothing else; the table is kept beside it.

Each method has a colour, a marker, a line and a hatching of its own, so that a print in grey still tells them apart.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jointadapt.config import BASELINE
from jointadapt.reporting.style import GREY, INK, SOURCE, TARGET

Table = Sequence[dict[str, Any]]

FIRST = ("dan", "dann", "jan", "jan-a")  # look the same in every figure, whatever stands beside them
FITTED = "rows fitted to"
MOST_TICKS = 8
MOST_TASKS_OF_CURVES = 6


class Look(NamedTuple):
    """How a method is drawn."""

    colour: str
    marker: str
    dashes: str
    hatch: str


# Okabe and Ito's colours for colour-blind readers, yellow left out: it is too pale on paper.
LOOKS = (
    Look("#0072b2", "o", "-.", "..."),
    Look("#009e73", "s", ":", "\\\\\\"),
    Look("#d55e00", "^", "-", "///"),
    Look("#cc79a7", "D", (0, (5, 1, 1, 1, 1, 1)), "xxx"),  # pyright: ignore[reportArgumentType]
    Look("#56b4e9", "v", (0, (3, 1)), "+++"),  # pyright: ignore[reportArgumentType]
    Look("#e69f00", "P", (0, (1, 3)), "ooo"),  # pyright: ignore[reportArgumentType]
)


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Return how each method is drawn; source-only is grey and empty."""
    others = sorted(set(methods) - {BASELINE, *FIRST})
    look = {name: LOOKS[i % len(LOOKS)] for i, name in enumerate((*FIRST, *others)) if name in methods}
    return ({BASELINE: Look(GREY, "X", "--", "")} if BASELINE in methods else {}) | look


def draw_maps(rows: Table) -> Figure:
    """Return one map a method: x and y of each row, source as open circles, target as filled triangles."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(3.1 * len(methods), 3.2), layout="constrained")
    for axes, method in zip(figure.subplots(1, len(methods), squeeze=False)[0], methods, strict=True):
        for domain, colour, marker in (("source", SOURCE, "o"), ("target", TARGET, "^")):
            own = [row for row in rows if row["method"] == method and row["domain"] == domain]
            fill = {"facecolors": "none", "edgecolors": colour} if domain == "source" else {"color": colour}
            x, y = [row["x"] for row in own], [row["y"] for row in own]
            axes.scatter(x, y, s=11, marker=marker, alpha=0.75, linewidths=0.8 * (domain == "source"), **fill)
            if method == methods[0]:
                axes.scatter([], [], s=20, marker=marker, linewidths=0.8, label=domain, **fill)
        axes.set_title(method, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_rasterization_zorder(5)
    _legend(figure)
    return figure


def draw_bars(rows: Table, value: str, label: str, naive: str = "") -> Figure:
    """Return a bar for each method, in groups by task, with its standard error; `naive` is marked by a diamond."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    look = looks([row["method"] for row in rows])
    methods, width = list(look), 0.8 / len(look)
    figure = Figure(figsize=(min(max(5.0, 1.1 + 0.5 * len(tasks) * len(methods)), 11.0), 3.0), layout="constrained")
    axes = figure.add_subplot()
    for number, method in enumerate(methods):
        own = [row for row in rows if row["method"] == method]
        at = [tasks.index(row["task"]) + (number - (len(methods) - 1) / 2) * width for row in own]
        style = look[method]
        axes.bar(
            at,
            [row[value] for row in own],
            0.92 * width,
            yerr=[row["standard_error"] or 0.0 for row in own],
            label=method,
            color="white" if method == BASELINE else style.colour,
            edgecolor=style.colour if method == BASELINE else "white",
            hatch=style.hatch,
            linewidth=1.2,
            error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2.5},
        )
        if naive:
            said = FITTED if number == len(methods) - 1 else None
            axes.scatter(
                at, [row[naive] for row in own], s=22, marker="D", facecolors="white", edgecolors=INK, label=said
            )
    axes.set_xticks(range(len(tasks)), [_task(number, tasks) for number in range(len(tasks))])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(label)
    axes.grid(False, axis="x")
    axes.axhline(0, color=INK, linewidth=0.7)
    axes.margins(y=0.12)
    _legend(figure)
    return figure


def draw_curves(rows: Table) -> Figure:
    """Return how training went: a panel for each quantity, a line of panels for each task, a curve for each method."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))[:MOST_TASKS_OF_CURVES]
    quantities = list(dict.fromkeys(row["quantity"] for row in rows))
    look = looks([row["method"] for row in rows])
    figure = Figure(figsize=(3.1 * len(quantities), 0.5 + 2.4 * len(tasks)), layout="constrained")
    grid = figure.subplots(len(tasks), len(quantities), squeeze=False)
    labelled = set()
    for line, task in zip(grid, tasks, strict=True):
        for axes, quantity in zip(line, quantities, strict=True):
            for method, style in look.items():
                own = [row for row in rows if (row["task"], row["quantity"], row["method"]) == (task, quantity, method)]
                if not own:
                    continue
                few = len(own) <= 20
                axes.plot(
                    [row["step"] for row in own],
                    [row["value"] for row in own],
                    color=style.colour,
                    linestyle=style.dashes,
                    linewidth=1.5,
                    marker=style.marker if few else "",
                    markersize=4,
                    label=None if method in labelled else method,
                )
                labelled.add(method)
            axes.set_title(quantity if len(tasks) == 1 else f"{_task(tasks.index(task), tasks)}: {quantity}", color=INK)
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(5))
    _legend(figure)
    return figure


def draw_sensitivity(rows: Table, key: str, label: str) -> Figure:
    """Return the accuracy, ± standard error, against an option, which is positive; a line for each task and method."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    look = looks([row["method"] for row in rows])
    figure = Figure(figsize=(4.4, 3.1), layout="constrained")
    axes = figure.add_subplot()
    for task in tasks:
        for method, style in look.items():
            own = [row for row in rows if (row["task"], row["method"]) == (task, method)]
            if not own:
                continue
            name = method if len(tasks) == 1 else f"{method}, {_task(tasks.index(task), tasks)}"
            errors = [row["standard_error"] or 0.0 for row in own]
            axes.errorbar(
                [row[key] for row in own],
                [row["accuracy"] for row in own],
                errors,
                color=style.colour,
                linestyle=style.dashes,
                marker=style.marker,
                markersize=5,
                linewidth=1.5,
                capsize=2.5,
                label=name,
            )
    axes.set_xscale("log")
    values = sorted({row[key] for row in rows})
    if len(values) <= MOST_TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(label)
    axes.set_ylabel("target accuracy, %")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    _legend(figure)
    return figure


def draw_scatter(rows: Table, keys: Sequence[tuple[str, str]]) -> Figure:
    """Return the accuracy of every run against its discrepancies, a panel for each (key, label)."""
    look = looks([row["method"] for row in rows])
    figure = Figure(figsize=(3.4 * len(keys), 3.1), layout="constrained")
    for number, (key, label) in enumerate(keys):
        axes: Axes = figure.add_subplot(1, len(keys), number + 1)
        for method, style in look.items():
            own = [row for row in rows if row["method"] == method]
            if own:
                axes.scatter(
                    [row[key] for row in own],
                    [row["accuracy"] for row in own],
                    s=30,
                    marker=style.marker,
                    color=style.colour,
                    edgecolors="white",
                    linewidths=0.5,
                    alpha=0.85,
                    label=method if number == 0 else None,
                )
        axes.set_xlabel(label)
        axes.set_ylabel("target accuracy, %")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    _legend(figure)
    return figure


def _task(number: int, tasks: Sequence[str]) -> str:
    """Return what stands for a task: its name may hold anything, and stands in the page around the chart."""
    return "" if len(tasks) == 1 else f"task {number + 1}"


def _legend(figure: Figure) -> None:
    """Put the legend above the panels, as many entries in a line as its width has room for."""
    pairs = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    pairs.sort(key=lambda pair: pair[1] == FITTED)  # matplotlib names marks before bars
    fit = max(1, int(figure.get_figwidth() / 1.25))
    figure.legend(
        *zip(*pairs, strict=True), loc="outside upper center", ncols=min(len(pairs), fit), frameon=False, fontsize=8
    )
