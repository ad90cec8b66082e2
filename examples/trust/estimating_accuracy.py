"""
How right is it, without labels?
================================

You have a trained model and no target labels, and want to know what share of its answers is right. ``estimate=True``
says what to expect, with an interval. Here we know the truth, and look how near it comes.
"""

# %%
# A shift that grows
# ------------------
# Three clouds, turned by a growing angle around the middle: from no shift to one that no method can undo.

import matplotlib.pyplot as plt
import numpy as np

from jointadapt import train

ANGLES = (0, 20, 40, 60)
generator = np.random.default_rng(0)
centres = np.array([[0.0, 2.4], [2.1, -1.2], [-2.1, -1.2], [0.0, 0.0]])


def clouds(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    y = generator.integers(0, 4, 300)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (centres[y] + 0.7 * generator.normal(size=(300, 2))) @ turn.T, y


source = clouds(0)
targets = {degrees: clouds(degrees) for degrees in ANGLES}
figure, panels = plt.subplots(1, 4, figsize=(10, 2.8), sharex=True, sharey=True, layout="constrained")
for axes, (degrees, (x, y)) in zip(panels, targets.items(), strict=True):
    for number, colour in enumerate(("#0072b2", "#d55e00", "#009e73", "#e69f00")):
        axes.scatter(*x[y == number].T, s=5, color=colour)
    axes.set(title=f"target turned by {degrees}°", xlabel="x₁")
panels[0].set_ylabel("x₂")

# %%
# Train and estimate
# ------------------
# The estimate looks at how often models agree that were trained apart, and at examples of the source that one of them
# has not seen. It never sees a target label.

found = {}
for degrees, target in targets.items():
    summary = train(source, target, method="source-only", estimate=True, steps=150, report=False).summary
    expected = summary.accuracy_estimate
    told = "cannot be told"
    if expected.told:
        told = f"{expected.value:.0f} % ({expected.low:.0f} to {expected.high:.0f} %)"
    print(f"turned by {degrees:>2}°: expected {told}, true {summary.accuracy:.0f} %")
    found[degrees] = expected, summary.accuracy

# %%
# Beside the truth
# ----------------

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
told = {degrees: expected for degrees, (expected, _) in found.items() if expected.told}
values = [expected.value for expected in told.values()]
errors = [
    [expected.value - expected.low for expected in told.values()],
    [expected.high - expected.value for expected in told.values()],
]
axes.errorbar(list(told), values, errors, color="#0072b2", marker="o", capsize=4, label="expected, 90 % interval")
truth = [accuracy for _, accuracy in found.values()]
axes.plot(list(found), truth, color="#d55e00", marker="^", linestyle="none", markersize=9, label="true")
axes.set(xlabel="angle, degrees", ylabel="target accuracy, %", ylim=(0, 105))
axes.legend(frameon=False, loc="lower left")

# %%
# An estimate assumes that examples that look alike have one label in both domains. A turn that carries one class onto
# the place of another breaks that, as the largest angle here does, and nothing in the data shows it:
# :doc:`/guides/accuracy-estimates` has cases in which the estimate was wrong.
