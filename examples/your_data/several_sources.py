"""
Several sources, one of them at odds with the rest
==================================================

You have labelled data from five places, not from one. Some resemble the target, some do not, and one may do harm. Hand
them in together: they are weighed, and one that hurts is dropped and named.
"""

# %%
# Five scanners and a sixth
# -------------------------
# Four scanners hold the paper at an angle; one inverts its pictures. The target scans straight. Its labels serve the
# evaluation alone.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits

from jointadapt import train

x, y = load_digits(return_X_y=True)
parts = np.array_split(np.random.default_rng(0).permutation(len(x)), 6)


def scanned(part: np.ndarray, degrees: float) -> np.ndarray:
    return np.stack([rotate(image, degrees, reshape=False, order=1) for image in x[part].reshape(-1, 8, 8)])


sources = {
    f"{degrees}°": (scanned(part, degrees), y[part])
    for part, degrees in zip(parts[:4], (-30, -15, 15, 30), strict=True)
}
sources["inverted"] = (16 - scanned(parts[4], 0), y[parts[4]])
target = scanned(parts[5], 0), y[parts[5]]

figure, panels = plt.subplots(1, 6, figsize=(9, 2))
for axes, (name, (images, _)) in zip(panels, {**sources, "target": target}.items(), strict=True):
    axes.imshow(images[0], cmap="gray")
    axes.set_title(name)
    axes.set_axis_off()

# %%
# Train on all of them
# --------------------
# A dictionary of sources gives them their names. ``source_weights="pooled"`` would treat them as one heap; by default
# each has a weight. What the library decided, it says in a warning and in the summary.

options = {"kind": "images", "backbone": "none", "method": "jan", "steps": 200, "report": False}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always", UserWarning)
    weighed = train(sources, target, **options)
    pooled = train(sources, target, source_weights="pooled", **options)

print(*(str(warning.message) for warning in told if "dropped" in str(warning.message)), sep="\n")
print(f"pooled:  {pooled.summary.accuracy:.1f} % of the target right")
print(f"weighed: {weighed.summary.accuracy:.1f} %")

# %%
# What each source counted for
# ----------------------------

figure, axes = plt.subplots(figsize=(6, 2.2), layout="constrained")
names, weights = zip(*((source.name, source.weight) for source in weighed.summary.sources), strict=True)
bars = axes.bar(names, weights, color="#0072b2")
axes.bar_label(bars, fmt="%.2f", padding=2)
axes.set(title="Weight of each source", ylabel="weight", ylim=(0, 1.25 * max(weights)))

# %%
# :doc:`/guides/several-sources` has the rule, and says where the best single source would have done better.
