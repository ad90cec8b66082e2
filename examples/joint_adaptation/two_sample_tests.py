"""
Do two sets of data differ?
===========================

Before you adapt anything, ask whether there is anything to adapt. A two-sample test answers with a p-value, and names
the examples that say most.
"""

# %%
# Permutations
# ------------
# The source are 150 handwritten digits. Two targets are compared with it: other digits as they are, and others that
# were moved by half a pixel to the right. If source and target come from one distribution, it does not matter which
# example belongs to which, so the test shuffles that many times and computes its statistic each time. The p-value is
# how often chance reaches what was observed.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import shift
from sklearn.datasets import load_digits

from jointadapt import two_sample_test

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#8b8f94"
pictures = np.random.default_rng(0).permutation(load_digits().images)
source, same, moved = pictures[:150], pictures[150:300], shift(pictures[300:450], (0, 0, 0.5), order=1)


def rows(pictures: np.ndarray) -> np.ndarray:
    """Return one row of 64 pixels for each picture."""
    return pictures.reshape(len(pictures), -1)


tests = {
    "more of the same digits": two_sample_test(rows(source), rows(same)),
    "moved by half a pixel": two_sample_test(rows(source), rows(moved)),
}
figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
for axes, (name, test) in zip(panels, tests.items(), strict=True):
    print(f"{name}: MMD² = {test.statistic:.4f}, p = {test.p_value:.3f}")
    axes.hist(test.null, 30, color=GREY, label="shuffled")
    axes.axvline(test.threshold, color="black", linestyle="--", label="critical value, 5 % level")
    axes.axvline(test.statistic, color=ORANGE, linewidth=2.5, label="observed")
    axes.set(title=f"{name}: p = {test.p_value:.3f}", xlabel="MMD²")
panels[0].set_ylabel("permutations")
panels[0].legend(fontsize=8)

# %%
# A small p-value says that the domains differ; a large one does *not* say that they are equal. Printing the result
# gives the whole sentence:

print(tests["moved by half a pixel"])

# %%
# Which examples say so?
# ----------------------
# Each example contributes how much nearer it lies to its own sample than to the other. Those that contribute most are
# typical of their own domain and of it alone; they are where to begin to look.

top_source, top_target = tests["moved by half a pixel"].top_examples(7)
figure, grid = plt.subplots(2, 7, figsize=(7.5, 2.6), layout="constrained")
for row, name, sample, top in zip(grid, ("source", "target"), (source, moved), (top_source, top_target), strict=True):
    for axes, index in zip(row, top, strict=True):
        axes.imshow(sample[index], cmap="gray")
        axes.set_axis_off()
    row[0].set_title(f"most typical of the {name}", loc="left", fontsize=9)

# %%
# Power
# -----
# The *power* of a test is how often it finds a difference that is there. It grows with the number of examples. Here
# the mean of one of five columns moves by 0.4 deviations, and each test is asked 30 times for each size.
# ``permutation`` is the default. ``cross`` needs no permutations. ``linear`` is for millions of examples, and needs
# that many.

sizes, repeats = (60, 120, 240, 480), 30
figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for method, colour, marker in (("permutation", BLUE, "o"), ("cross", GREEN, "s"), ("linear", ORANGE, "^")):
    power = []
    for size in sizes:
        rng = np.random.default_rng(size)  # the same draws for each method
        pairs = [rng.normal(size=(2, size, 5)) for _ in range(repeats)]
        for _, target in pairs:
            target[:, 0] += 0.4
        found = [two_sample_test(*pair, method=method, permutations=99).rejected for pair in pairs]
        power.append(100 * float(np.mean(found)))
    print(f"{method:<12}", "   ".join(f"{size} rows: {value:.0f} %" for size, value in zip(sizes, power, strict=True)))
    axes.plot(sizes, power, color=colour, marker=marker, label=method)
axes.axhline(5, color=GREY, linestyle=":", label="the level: what chance gives")
axes.set(xlabel="examples in each domain", ylabel="difference found, %", ylim=(0, 103), title="Power of three tests")
axes.legend()

# %%
# Which kernel finds which difference is in :doc:`/gallery/joint_adaptation/which_kernel`. On the command line the test
# is ``jointadapt shift SOURCE TARGET``, and all tests are described in :doc:`/guides/two-sample-tests`.
