"""
When classes are more or less frequent
======================================

In the target one class is rare that was common in the source, and nothing else differs. Matching the two distributions
is wrong then: it moves examples of the frequent class into the rare one. Estimating the shares first puts it right.
"""

# %%
# The same classes in other shares
# --------------------------------
# Three clouds of points. The source has equally many of each; the target has not.

import matplotlib.pyplot as plt
import numpy as np

from jointadapt import train

generator = np.random.default_rng(0)
centres = np.array([[0, 0], [1.6, 0], [0, 1.6]])
y_s, y_t = np.repeat([0, 1, 2], [150, 150, 150]), np.repeat([0, 1, 2], [320, 100, 30])
x_s, x_t = (centres[y] + 0.8 * generator.normal(size=(450, 2)) for y in (y_s, y_t))

figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True, sharey=True, layout="constrained")
for axes, title, x, y in zip(panels, ("source", "target"), (x_s, x_t), (y_s, y_t), strict=True):
    for number, (colour, marker) in enumerate((("#0072b2", "o"), ("#d55e00", "^"), ("#009e73", "s"))):
        axes.scatter(*x[y == number].T, s=12, color=colour, marker=marker, alpha=0.7, label=f"class {number}")
    axes.set(title=title, xlabel="x₁")
panels[0].set_ylabel("x₂")
panels[0].legend(frameon=False)

# %%
# Train without and with ``label_shift="estimate"``
# -------------------------------------------------
# It estimates the target's shares from its examples, without labels, and weighs source examples by them.

options = {"method": "jan", "steps": 200, "report": False}
plain = train((x_s, y_s), (x_t, y_t), **options)
corrected = train((x_s, y_s), (x_t, y_t), label_shift="estimate", **options)
accuracies = {
    "source-only": plain.summary.baseline.evaluation.accuracy,
    "jan": plain.summary.accuracy,
    "jan, shares estimated": corrected.summary.accuracy,
}
for name, accuracy in accuracies.items():
    print(f"{name:<22}{accuracy:5.1f} % of the target right")

# %%
# The estimated shares
# --------------------
# The interval covers what the choice of the target's examples leaves open. Where more than the shares differs, the
# estimate is misled, and nothing in the data says so: :doc:`/guides/label-shift`.

shares = corrected.summary.class_shares
true = 100 * np.bincount(y_t) / len(y_t)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
places = np.arange(3)
axes.bar(places - 0.27, shares.source, 0.25, color="#999999", label="source")
errors = [np.subtract(shares.target, shares.low), np.subtract(shares.high, shares.target)]
axes.bar(places, shares.target, 0.25, yerr=errors, capsize=3, color="#0072b2", label="target, estimated")
axes.bar(places + 0.27, true, 0.25, color="#d55e00", label="target, true")
axes.set_xticks(places, [f"class {number}" for number in range(3)])
axes.set(ylabel="share, %")
axes.legend(frameon=False)
