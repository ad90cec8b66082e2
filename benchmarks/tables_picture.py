"""Draw docs/images/tables.png: two tables as people have them, and the numbers that the network gets of both.

python benchmarks/tables_picture.py docs/images/tables.png
"""

import sys

import matplotlib
import pyarrow as pa

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from jointadapt.data.domain import Domain
from jointadapt.data.tables import from_table
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.table import TableColumns

INK, PAPER, HEAD = "#222222", "#ffffff", "#dfe7f0"
SOURCE = {
    "Unnamed: 0": [0, 1, 2, 3, 4],
    "age": [63, 41, None, 57, 50],
    "ward": ["north", "south", "north", "north", "south"],
    "label": ["ill", "well", "ill", "ill", "well"],
}
TARGET = {"ward": ["South", "east", "north"], "bed": [7, 3, 9], "age": [38, 66, 59]}


def show(axes: plt.Axes, title: str, head: list[str], rows: list[list[str]]) -> None:
    """Draw a table."""
    axes.set_axis_off()
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=8)
    drawn = axes.table(rows, colLabels=head, cellLoc="center", bbox=(0, 0, 1, 1))
    drawn.auto_set_font_size(value=False)
    drawn.set_fontsize(9)
    for (row, _), cell in drawn.get_celld().items():
        cell.set(edgecolor="#b0b8c0", facecolor=PAPER if row else HEAD, linewidth=0.6)


def texts(columns: dict[str, list]) -> list[list[str]]:
    """Return the cells of a table."""
    return [["" if cell is None else str(cell) for cell in row] for row in zip(*columns.values(), strict=True)]


def numbers(domain: Domain) -> list[list[str]]:
    """Return the cells of a domain's rows."""
    return [[f"{value:g}" for value in row] for row in domain.rows(range(len(domain))).tolist()]


def main(path: str) -> None:
    """Draw the picture."""
    source, target = from_table(pa.table(SOURCE), "source"), from_table(pa.table(TARGET), "target")
    step = TableColumns.fit(InputOptions(missing="fill"), source, target)
    assert step is not None
    ready = step.source(source), step.target(target)
    figure, axes = plt.subplots(2, 2, figsize=(9, 3.4), height_ratios=(6, 4), width_ratios=(4, 5), layout="constrained")
    head = [name.replace(" is ", "\nis ") for name in ready[0].columns]
    show(axes[0, 0], "source.csv", [*SOURCE], texts(SOURCE))
    show(axes[1, 0], "target.csv", [*TARGET], texts(TARGET))
    show(axes[0, 1], "source, as the network gets it", head, numbers(ready[0]))
    show(axes[1, 1], "target, as the network gets it", head, numbers(ready[1]))
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(sys.argv[1])
