"""
A handful of target labels
==========================

Somebody can label a few target examples. Which ones? ``suggest_labels`` names those that the model would learn most
from; training then uses them beside the source.
"""

# %%
# A first run
# -----------
# The labels that we hold back play the expert who is asked.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import jointadapt
from jointadapt.diagnostics.label_suggestion import suggest_labels
from jointadapt.experiment.demo import digit_domains

source, target = digit_domains()
truth = np.array(target.classes)[target.labels]
options = {"method": "jan", "backbone": "none", "steps": 200, "baseline": False, "report": False}

folder = Path(tempfile.mkdtemp()) / "run"
first = jointadapt.train(source, target, out=folder, **options)
print(f"without target labels: {first.summary.accuracy:.1f} %")

# %%
# Ask for labels
# --------------
# At the command line this is ``jointadapt suggest-labels RUN --budget 20``, which writes a CSV to fill in, or a page to
# click through (:doc:`/guides/labelling`).

asked = suggest_labels(folder, budget=80, target=target)
for suggestion in asked[:5]:
    print(f"example {suggestion.item}: taken for {suggestion.predicted}, probability {suggestion.probability:.2f}")

figure, row = plt.subplots(1, 8, figsize=(9, 1.6))
for axes, suggestion in zip(row, asked, strict=False):
    number = target.items.index(suggestion.item)
    axes.imshow(target.rows([number]).reshape(8, 8).numpy(), cmap="gray")
    axes.set_title(f"{suggestion.predicted}?")
    axes.set_axis_off()

# %%
# Train with them
# ---------------
# ``target_labels`` takes the answers, ``None`` where nobody was asked. They are compared with as many labels of
# examples drawn at random.


def with_labels(rows: list[int]) -> float:
    labels = np.full(len(target), None, dtype=object)
    labels[rows] = truth[rows]
    return jointadapt.train(source, target, target_labels=labels, **options).summary.accuracy


chosen = [target.items.index(suggestion.item) for suggestion in asked]
drawn = np.random.default_rng(0).permutation(len(target)).tolist()
budgets = [10, 20, 40, 80]
curves = {
    "suggested": [first.summary.accuracy, *(with_labels(chosen[:budget]) for budget in budgets)],
    "at random": [first.summary.accuracy, *(with_labels(drawn[:budget]) for budget in budgets)],
}
for name, accuracies in curves.items():
    print(f"{name}:", "  ".join(f"{accuracy:.1f} %" for accuracy in accuracies))

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (name, accuracies), colour, marker in zip(curves.items(), ("#0072b2", "#d55e00"), "o^", strict=True):
    axes.plot([0, *budgets], accuracies, color=colour, marker=marker, label=name)
axes.set(title="Suggested labels and labels at random", xlabel="labelled target examples", ylabel="target accuracy, %")
axes.legend(frameon=False)

# %%
# The accuracy counts all target examples, labelled ones too. One draw at random is a noisy rival; over many data sets
# :doc:`/guides/few-labels` says what suggestions were worth.
