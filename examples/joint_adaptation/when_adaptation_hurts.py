"""
When adaptation hurts
=====================

Matching two domains assumes that the same classes are about as frequent in both. Where they are not, examples of a
frequent class are pulled into a rare one, and the adapted model is worse than one that was never adapted.
"""

# %%
# Other class shares
# ------------------
# Three classes, equally frequent in the source. In the target, which lies a little to the upper right, ten examples of
# twelve are of the first class.

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

import jointadapt

COLOURS, MARKERS = ("#0072b2", "#d55e00", "#009e73"), "o^s"


def clouds(seed, counts, move):
    """Return points (n, 2) of three round clouds, and their classes."""
    y = np.repeat([0, 1, 2], counts)
    centres = np.array([[-2, 0], [2, 0], [0, 2.5]]) + move
    return centres[y] + 0.7 * np.random.default_rng(seed).normal(size=(len(y), 2)), y


source = clouds(0, (150, 150, 150), move=0)
x_target, y_target = clouds(1, (250, 25, 25), move=0.6)

# %%
# What JAN does
# -------------
# A run trains a source-only model along, and its verdict compares the two. It can do so here because we hand it the
# target's labels; they serve the evaluation alone.

options = {"backbone": "mlp", "steps": 120}
jan = jointadapt.train(source, (x_target, y_target), method="jan", **options)
print(jan.summary.verdict)

# %%
# Say that the shares differ
# --------------------------
# ``label_shift="estimate"`` estimates the target's class shares from its points, without labels, and weighs the
# source's classes by them before anything is matched. Classes that the target lacks altogether have
# ``label_shift="missing"``.

corrected = jointadapt.train(source, (x_target, y_target), method="jan", label_shift="estimate", **options)
print(corrected.summary.verdict)
print("estimated shares:", ", ".join(f"{share:.0f} %" for share in corrected.summary.class_shares.target))

# %%
# The regions that each of the three models gives to the classes, with the target's points in the colours of their true
# classes. Plain JAN moves its borders into the big cloud, as a third of the target has to become class 1 and a third
# class 2.

models = {
    "source-only": (jan.baseline, jan.summary.baseline.evaluation.accuracy),
    "JAN": (jan.model, jan.summary.accuracy),
    "JAN, shares estimated": (corrected.model, corrected.summary.accuracy),
}
grid = np.stack(np.meshgrid(np.linspace(-4, 5, 120), np.linspace(-2, 5.5, 120)), -1).reshape(-1, 2)
figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained", sharey=True)
for axes, (name, (model, accuracy)) in zip(panels, models.items(), strict=True):
    regions = np.array(model.predict(jointadapt.from_arrays(grid)), dtype=int).reshape(120, 120)
    axes.imshow(regions, cmap=ListedColormap(COLOURS), alpha=0.25, extent=(-4, 5, -2, 5.5), origin="lower")
    for label in range(3):
        points = x_target[y_target == label]
        axes.scatter(*points.T, s=9, c=COLOURS[label], marker=MARKERS[label], label=f"class {label}")
    axes.set(title=f"{name}: {accuracy:.0f} % right", xlabel="column 1")
panels[0].set_ylabel("column 2")
panels[0].legend(fontsize=8, loc="upper right")

# %%
# Without target labels
# ---------------------
# Then no verdict can say that adapting hurt. ``method="auto"`` looks at what can be seen: how the domains differ, and
# whether the adapted models move the class shares. Here it is handed the points alone:

auto = jointadapt.train(source, x_target, method="auto", **options)
print(textwrap.fill(auto.summary.verdict, 100))

# %%
# Only we know the labels, and can tell whether it was right to:

right = np.array(auto.model.predict(jointadapt.from_arrays(x_target)), dtype=int) == y_target
print(f"auto: {100 * right.mean():.1f} % right, source-only {models['source-only'][1]:.1f} %")

# %%
# It is not always right: where classes are rare *and* look different it has harmed, and :doc:`/guides/choosing` says on
# which data and by how much. If you know your target's class shares to be others, say so. See also
# :doc:`/gallery/trust/label_shift` and :doc:`/guides/label-shift`.
