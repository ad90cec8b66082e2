"""
JAN, DAN and MCC on the same problem
====================================

Three ideas of what to change when the domains differ: match the layers one by one (DAN), match them jointly (JAN), or
ask for certain predictions that do not mix up classes (MCC). Which is best depends on the data.
"""

# %%
# Two moons, turned
# -----------------
# The target's moons are the source's, turned by 30°. Training sees the source's labels and the target's points.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.datasets import make_moons

from jointadapt import AdaptedClassifier, train
from jointadapt.experiment.demo import digit_domains

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8b8f94"
METHODS = {"source-only": GREY, "dan": "#56b4e9", "jan": BLUE, "mcc": "#e69f00"}

x_source, y_source = make_moons(300, noise=0.1, random_state=0)
x_target, y_target = make_moons(300, noise=0.1, random_state=1)
centre, angle = x_source.mean(0), np.deg2rad(30)
turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
x_source, x_target = x_source - centre, (x_target - centre) @ turn

# %%
# :class:`jointadapt.AdaptedClassifier` is used as scikit-learn's classifiers are; its ``fit`` takes the target's
# points, too. The target's labels serve ``score`` alone.

moons = {}
for method in METHODS:
    classifier = AdaptedClassifier(method, backbone="mlp", steps=300, standardize="no")
    moons[method] = classifier.fit(x_source, y_source, x_target)

# %%
# Each panel shows the target's points in the colour of their true class, on the regions that a classifier gives to each
# class.

grid = np.stack(np.meshgrid(np.linspace(-2.3, 2.3, 120), np.linspace(-1.8, 1.8, 120)), -1).reshape(-1, 2)
figure, panels = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained", sharey=True)
on_moons = {}
for axes, (method, classifier) in zip(panels, moons.items(), strict=True):
    regions = classifier.predict(grid).reshape(120, 120)
    axes.imshow(regions, cmap=ListedColormap([BLUE, ORANGE]), alpha=0.25, extent=(-2.3, 2.3, -1.8, 1.8), origin="lower")
    for label, colour, marker in ((0, BLUE, "o"), (1, ORANGE, "^")):
        axes.scatter(*x_target[y_target == label].T, s=9, c=colour, marker=marker, label=f"class {label}")
    on_moons[method] = 100 * classifier.score(x_target, y_target)
    axes.set(title=f"{method}: {on_moons[method]:.0f} % right", xlabel="column 1")
    print(f"{method:<12} {on_moons[method]:.1f} % of the target's moons right")
panels[0].set_ylabel("column 2")
panels[0].legend(fontsize=8, loc="lower left")

# %%
# DAN and MCC do worse than no adaptation here. DAN makes the features of the domains alike, but may lay a piece of one
# moon on the other moon. MCC looks at the predictions alone: it makes the first, wrong, guesses certain. JAN compares
# features *together with* predictions, so that a moon is drawn to the moon that has its prediction.
#
# Another problem, another order
# ------------------------------
# The same methods on the digits of :doc:`/gallery/first_steps/first_adaptation`, whose target is tilted, blurred and
# pale.

source, target = digit_domains()
on_digits = {}
for method in METHODS:
    run = train(source, target, method=method, backbone="none", steps=200, baseline=False)
    on_digits[method] = run.summary.accuracy
    print(f"{method:<12} {on_digits[method]:.1f} % of the target's digits right")

figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
for place, (method, colour) in enumerate(METHODS.items()):
    bars = axes.bar([place, place + 5], [on_moons[method], on_digits[method]], color=colour, label=method)
    axes.bar_label(bars, fmt="%.0f", fontsize=8)
axes.set_xticks([1.5, 6.5], ["moons, turned", "digits, another scanner"])
axes.set(ylabel="target accuracy, %", ylim=(0, 104), title="Four methods on two problems")
axes.legend(ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1))

# %%
# Now all three help, and they lie closer together. One seed of two small problems is no ranking; tables of many tasks
# are in :doc:`/results/benchmarks`. Where you have no target labels to compare with,
# :doc:`/gallery/first_steps/choosing_without_labels` shows what chooses for you.
