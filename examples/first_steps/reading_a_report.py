"""
Reading a report
================

A run leaves ``report.html``. This page draws its main parts once more, from the same records, and says what each tells
you and what it cannot tell.
"""

# %%
# A run
# -----

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import jointadapt
from jointadapt.experiment.demo import digit_domains

folder = Path(tempfile.mkdtemp()) / "run"
source, target = digit_domains()
run = jointadapt.train(source, target, out=folder, method="jan", backbone="none", steps=300)
summary = run.summary

# %%
# The verdict
# -----------
# The first line. It compares the adapted model with ``source-only``, which was trained along. *Gained* and *lost* count
# target examples that only one of the two has right; the p-value says whether chance could have done that. Without
# target labels this line says how often the two agree instead, since then nobody knows which is right.

print(summary.verdict)
print(f"right on the source, which it was trained on: {summary.source_accuracy:.1f} %")
print(f"mean confidence on the target: {100 * summary.confidence:.1f} %")

# %%
# Confidence is no accuracy: a model is sure of itself far from what it was trained on. ``estimate=True`` gives a number
# that can be relied on more (:doc:`/gallery/trust/estimating_accuracy`).
#
# The curves of the training
# --------------------------
# *Risk* is the error on the labelled source, *transfer* the discrepancy of the two domains. The weight of the second,
# λ, grows during the training. A risk that stays high means that the network cannot even learn the source; a transfer
# term that does not fall means that the domains were not brought together.

records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
steps = [record["step"] for record in records]
figure, panels = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
for axes, name, title in zip(
    panels, ("risk", "transfer", "trade_off"), ("risk", "transfer: JMMD²", "weight λ of the transfer"), strict=True
):
    axes.plot(steps, [record[name] for record in records], color="#0072b2", linewidth=0.8)
    axes.set(title=title, xlabel="step")

# %%
# Which classes are mistaken for which
# ------------------------------------
# Only where the target has labels. A row is a true class, a column a predicted one.

confusion = np.array(summary.evaluation.confusion)
figure, axes = plt.subplots(figsize=(4.6, 4), layout="constrained")
picture = axes.imshow(confusion / confusion.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
axes.set(xlabel="predicted", ylabel="true", title="share of each class")
axes.set_xticks(range(10), summary.classes)
axes.set_yticks(range(10), summary.classes)
figure.colorbar(picture)

recalls = 100 * confusion.diagonal() / confusion.sum(1)
weakest = int(recalls.argmin())
print(f"the weakest class is {summary.classes[weakest]}: {recalls[weakest]:.1f} % of it are found")

# %%
# Notes
# -----
# Whatever the data reader or the training noticed stands under "Please note". Read these first when a result is
# strange.

print(*(summary.warnings or ["(nothing was noticed)"]), sep="\n")
