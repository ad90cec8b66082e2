"""
Your own folders of pictures
============================

Two folders are enough: one with a subfolder for each class, the other with pictures that nobody has sorted. This is how
most people begin.
"""

# %%
# The folders
# -----------
# Here they are made from scikit-learn's digits: pictures of a scanner, in class folders, and tilted ones of another, in
# a heap. Yours may hold JPEG files of any size.

import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import jointadapt

place = Path(tempfile.mkdtemp())
images, labels = load_digits(return_X_y=True)
for number in range(240):
    picture = Image.fromarray((images[number].reshape(8, 8) * 255 / 16).astype(np.uint8)).resize((64, 64))
    if number < 120:
        path = place / "scanner" / str(labels[number]) / f"{number:03}.png"
    else:
        path, picture = place / "phone" / f"{number:03}.png", picture.rotate(10)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)

for path in sorted(place.glob("*"), reverse=True):
    print(f"{path.name}/:", *sorted(child.name for child in path.iterdir())[:10], "…")

# %%
# Train
# -----
# At the command line::
#
#     jointadapt train --source scanner --target phone --backbone resnet50
#
# A network that was trained on ImageNet is fetched once and kept frozen; every picture passes it once. This page is
# built without a connection, so a small one with random weights stands in; expect yours to be right far more often.

run = jointadapt.train(
    place / "scanner",
    place / "phone",
    out=place / "run",
    backbone="squeezenet1_1",
    weights="none",
    frozen=True,
    steps=200,
    workers=0,  # this page is built in a process that may start no others
    cache=str(place / "cache"),
)

# %%
# What a run leaves
# -----------------
# A model, predictions, a report for your browser, and what is needed to go on.

print(*sorted(path.name for path in (place / "run").iterdir()), sep="\n")

# %%
# ``predictions.csv`` names the class of each picture of the target.

with (place / "run" / "predictions.csv").open(encoding="utf-8") as file:
    predictions = list(csv.DictReader(file))
right = sum(row["class"] == str(labels[int(Path(row["item"]).stem)]) for row in predictions)
print(f"{100 * right / len(predictions):.1f} % of the phone's pictures right (we happen to know)")

figure, row = plt.subplots(1, 8, figsize=(9, 1.8))
for axes, prediction in zip(row, predictions, strict=False):
    axes.imshow(Image.open(place / "phone" / prediction["item"]), cmap="gray")
    axes.set_title(f"{prediction['class']}, {float(prediction['probability']):.2f}", fontsize=9)
    axes.set_axis_off()

# %%
# More pictures later: ``jointadapt predict RUN new.jpg more/``. All kinds of files: :doc:`/guides/data-and-runs`.
