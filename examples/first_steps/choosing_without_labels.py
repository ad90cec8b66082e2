"""
Choosing a method without target labels
=======================================

Which method is best for your data? Without target labels nobody can measure it. ``method="auto"`` trains several, looks
at what they agree on, and keeps the plain model if adapting is not worth it.
"""

# %%
# Digits from another scanner
# ---------------------------

import matplotlib.pyplot as plt

import jointadapt
from jointadapt.experiment.demo import digit_domains

source, target = digit_domains()
options = {"method": "auto", "backbone": "none", "steps": 150, "report": False}
run = jointadapt.train(source, target, **options)
print(run.summary.verdict)

# %%
# What it looked at
# -----------------
# No target label takes part in the choice. *Neighbours* says how often target examples that lie side by side get one
# class; *geometry* whether the predicted classes lie to one another as the source's do. We know the labels here, and
# can put the true accuracy beside them.

print(f"{'candidate':<24}{'neighbours':>12}{'geometry':>10}{'true accuracy':>15}")
for name, scores in run.summary.candidates.items():
    print(f"{name:<24}{scores.neighbours:>12.2f}{scores.geometry:>10.2f}{scores.evaluation.accuracy:>13.1f} %")
print("used:", run.summary.chosen)

names = [*run.summary.candidates, "auto"]
accuracies = [scores.evaluation.accuracy for scores in run.summary.candidates.values()] + [run.summary.accuracy]
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
bars = axes.barh(names, accuracies, color=["#999999"] * (len(names) - 1) + ["#0072b2"])
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(xlabel="true target accuracy, %", xlim=(0, 100))
axes.invert_yaxis()

# %%
# When there is nothing to adapt to
# ---------------------------------
# Two halves of one set of digits do not differ. Matching them could only do harm, so nothing is trained but the plain
# model.

rows, labels = source.content.permute(0, 2, 3, 1), source.labels  # height, width, channels
alike = jointadapt.train(
    jointadapt.from_arrays(rows[:449], labels[:449], "first half", kind="images"),
    jointadapt.from_arrays(rows[449:], labels[449:], "second half", kind="images"),
    **options,
)
print(alike.summary.diagnosis.words)
print(alike.summary.verdict)

# %%
# How well this choice does on 127 cases, and where it errs: :doc:`/guides/choosing`.
