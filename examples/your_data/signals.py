"""Bearings on two machines: faults labelled on one are found on the other, whose speed, load, noise and sensor differ.

python examples/your_data/signals.py                              # the accuracies
python examples/your_data/signals.py --plot docs/images/signals.png      # and a picture of both
"""

import sys

import matplotlib.pyplot as plt

from jointadapt import train
from jointadapt.data import Domain, synthetic_bearings

ROWS = 300
METHODS = ("source-only", "jan")


def accuracies(source: Domain, target: Domain) -> dict[str, float]:
    """Return the target accuracy of each method; the target's labels serve nothing else."""
    found = {}
    for method in METHODS:
        run = train(source, target, method=method, steps=200, baseline=False, report=False)
        assert run.summary.evaluation is not None
        found[method] = run.summary.evaluation.accuracy
    return found


def draw(source: Domain, target: Domain, found: dict[str, float], path: str) -> None:
    """Write a picture: a signal of each class on both machines, and what the methods make of the second."""
    figure = plt.figure(figsize=(10, 4.2), layout="constrained")
    traces, bars = figure.subfigures(1, 2, width_ratios=(3, 1))
    grid = traces.subplots(len(source.classes), 2, sharex=True)
    for column, (domain, colour) in enumerate(((source, "#0072b2"), (target, "#d55e00"))):
        grid[0, column].set_title(domain.name)
        for number, name in enumerate(domain.classes):
            row = int((domain.labels == number).nonzero()[0])
            grid[number, column].plot(domain.rows([row])[0, 0, :600], color=colour, linewidth=0.6)
            grid[number, column].set_yticks([])
            grid[number, 0].set_ylabel(name)
    for axes in grid[-1]:
        axes.set_xlabel("sample")
    axes = bars.subplots()
    axes.bar(list(found), list(found.values()), color=("#8b8f94", "#0b5c8a"))
    axes.bar_label(axes.containers[0], fmt="%.1f %%")
    axes.set(ylim=(0, 105), ylabel=f"accuracy on {target.name}, %")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    north = synthetic_bearings(ROWS, noise=0.1, seed=0, name="machine 1, labelled")
    other = {"speed": 1_600.0, "load": 0.8, "noise": 0.12, "sensor": (1, -0.6)}
    south = synthetic_bearings(ROWS, **other, seed=1, name="machine 2, not labelled")
    found = accuracies(north, south)
    for method, accuracy in found.items():
        print(f"{method}: {accuracy:.1f} %")
    if "--plot" in sys.argv:
        draw(north, south, found, sys.argv[-1])
