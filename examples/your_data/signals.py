"""
Signals: a fault known on one machine, found on another
=======================================================

Vibrations of a bearing were labelled on one machine: healthy, or which part is worn. On another machine the speed, the
load, the noise and the sensor differ, and nobody has labels.
"""

# %%
# Two machines
# ------------
# :func:`jointadapt.data.synthetic_bearings` makes such signals: impulses at the rate of each fault, rung by a
# resonance. The second machine runs slower and is loaded more, and its sensor adds a resonance of its own.

import matplotlib.pyplot as plt

from jointadapt import train
from jointadapt.data import synthetic_bearings

source = synthetic_bearings(300, noise=0.1, seed=0, name="machine 1, labelled")
target = synthetic_bearings(
    300, speed=1_600.0, load=0.8, noise=0.12, sensor=(1, -0.6), seed=1, name="machine 2, not labelled"
)

figure, grid = plt.subplots(len(source.classes), 2, figsize=(9, 5), sharex=True, layout="constrained")
for column, (domain, colour) in enumerate(((source, "#0072b2"), (target, "#d55e00"))):
    grid[0, column].set_title(domain.name)
    for number, name in enumerate(domain.classes):
        row = int((domain.labels == number).nonzero()[0])
        grid[number, column].plot(domain.rows([row])[0, 0, :600], color=colour, linewidth=0.6)
        grid[number, column].set_yticks([])
        grid[number, 0].set_ylabel(name)
    grid[-1, column].set_xlabel("sample")

# %%
# Train
# -----
# A domain of signals gets a one-dimensional convolutional network by itself (``backbone="cnn1d"``). Your own recordings
# come in as an array (n, channels, time), or as files: :doc:`/guides/signals` says how.

accuracies = {}
for method in ("source-only", "jan"):
    run = train(source, target, method=method, steps=200, baseline=False, report=False)
    accuracies[method] = run.summary.evaluation.accuracy
    print(f"{method:<12}{accuracies[method]:5.1f} % of machine 2 right")

# %%
# Which faults are found
# ----------------------
# The share of each class of machine 2 that JAN's model finds.

predicted = run.model.predict(target)
for number, name in enumerate(target.classes):
    rows = (target.labels == number).nonzero().flatten().tolist()
    found = sum(predicted[row] == name for row in rows)
    print(f"{name:<12}{found:>4} of {len(rows)}")

figure, axes = plt.subplots(figsize=(5, 1.8), layout="constrained")
bars = axes.barh(list(accuracies), list(accuracies.values()), color=["#999999", "#0072b2"])
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(title="Machine 2, without and with JAN", xlabel="accuracy on machine 2, %", xlim=(0, 112))
axes.invert_yaxis()
