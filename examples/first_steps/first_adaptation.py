"""
Your first adaptation
=====================

A classifier learns digits from one scanner and fails on the digits of another, for which nobody has written down
labels. One call adapts it.
"""

# %%
# Two domains
# -----------
# A *domain* is data from one place. The **source** has labels. The **target** has another distribution: its scanner
# tilts the paper, a third of its pictures are blurred and a third are pale. We do know the target's labels here, so
# that we can see how right the result is; training never does.

import matplotlib.pyplot as plt

import jointadapt
from jointadapt.experiment.demo import digit_domains

source, target = digit_domains()

figure, rows = plt.subplots(2, 9, figsize=(9, 2.6))
for row, domain in zip(rows, (source, target), strict=True):
    for axes, picture in zip(row, domain.rows(range(9)), strict=True):
        axes.imshow(picture.reshape(8, 8).numpy(), cmap="gray")
        axes.set_axis_off()
    row[0].set_title(f"{domain.name}, {len(domain)} examples", loc="left")

# %%
# Train
# -----
# ``jan`` stands for joint adaptation networks: beside the error on the source, training makes the joint distribution of
# features and predictions alike in both domains (:func:`jointadapt.jmmd_unbiased` measures the difference). A model
# without adaptation, ``source-only``, is trained along for comparison.

run = jointadapt.train(source, target, method="jan", backbone="cnn", bottleneck=128, dropout=0.0, trade_off=1.0)

before, after = run.summary.baseline.evaluation.accuracy, run.summary.evaluation.accuracy
print(f"source-only: {before:.1f} % of the target right\njan:         {after:.1f} %")

# %%
# Use the model
# -------------
# ``run.model`` predicts any domain, raw as it came. ``Model.save`` keeps it as one file, and ``out="folder"`` above
# keeps the whole run: the model, predictions, and a report for your browser.

predictions = run.model.predict(target)
figure, row = plt.subplots(1, 9, figsize=(9, 1.5))
for axes, picture, label in zip(row, target.rows(range(9)), predictions[:9], strict=True):
    axes.imshow(picture.reshape(8, 8).numpy(), cmap="gray")
    axes.set_axis_off()
    axes.set_title(label)

# %%
# :doc:`/gallery/first_steps/own_folders` does the same with folders of pictures, and
# :doc:`/gallery/your_data/tables_with_a_pipeline` with tables.
