"""
Classes that the source lacks
=============================

The target holds things for which there is no class. A classifier calls each of them by the name of one that it knows,
often with confidence. With ``unknown=True`` each target example also gets a score for "none of these".
"""

# %%
# Seven digits that are known, three that are not
# -----------------------------------------------
# The source holds the digits 0 to 6. The target holds all ten; its labels serve the evaluation alone.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from jointadapt import from_arrays, train

x, y = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(x))
half = len(x) // 2
source_rows = order[:half][y[order[:half]] <= 6]
target_rows = order[half:]
target = from_arrays(x[target_rows], y[target_rows], "all digits")

warnings.simplefilter("ignore", UserWarning)  # which names the three: the target has labels here
run = train((x[source_rows], y[source_rows]), target, method="jan", unknown=True, steps=200, report=False)

# %%
# How well are they told apart?
# -----------------------------
# AUROC is the chance that an unknown example has a higher score than a known one; 50 % would be blind.

found = run.summary.unknown
print(f"called unknown: {found.rows} of {len(target)} target examples, with a score above {found.threshold:.2f}")
print(f"AUROC                              {found.evaluation.auroc:5.1f} %")
print(f"known ones: right, not unknown     {found.evaluation.known_accuracy:5.1f} %")
print(f"unknown ones: called unknown       {found.evaluation.unknown_recall:5.1f} %")

# %%
# The scores
# ----------
# Where there are two heaps, the threshold means something. On a target without unknown classes there is one heap, and
# the threshold still parts it: ask for unknown classes only where you expect some (:doc:`/guides/unknown-classes`).

scores = run.model.unknown_scores(target)
known = y[target_rows] <= 6
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
bins = np.linspace(0, 1, 41)
axes.hist(scores[known], bins, color="#0072b2", alpha=0.7, label="digits 0 to 6, known")
axes.hist(scores[~known], bins, color="#d55e00", alpha=0.7, label="digits 7 to 9, unknown")
axes.axvline(found.threshold, color="black", linestyle="dashed", label="threshold")
axes.set(xlabel='score of "none of the classes"', ylabel="target examples")
axes.legend(frameon=False)

# %%
# ``predict`` says ``unknown`` above the threshold.

predictions = run.model.predict(target)
figure, row = plt.subplots(1, 10, figsize=(9, 1.6))
for digit, axes in enumerate(row):
    number = int(np.flatnonzero(y[target_rows] == digit)[0])
    axes.imshow(x[target_rows][number].reshape(8, 8), cmap="gray")
    axes.set_title(predictions[number], fontsize=9)
    axes.set_axis_off()
