"""
A table of the paper's kind
===========================

Papers compare methods by a table: one column for each pair of domains, one row for each method, the mean over several
seeds with its standard error. ``jointadapt compare`` makes such tables, of the benchmarks that it knows by name and of
your own data.
"""

# %%
# A benchmark of your own
# -----------------------
# A few lines of TOML name the domains. Here they are digits from three scanners, each in a file of arrays.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter, rotate
from sklearn.datasets import load_digits

from jointadapt.comparison.plan import plan
from jointadapt.comparison.run import compare
from jointadapt.comparison.table import tabulate

root = Path(tempfile.mkdtemp())
images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8) / 16
scanners = {
    "straight": lambda image: image,
    "tilted": lambda image: rotate(image, 20, reshape=False, order=1),
    "blurred": lambda image: gaussian_filter(image, 0.7),
}
parts = np.array_split(np.random.default_rng(0).permutation(len(images)), 3)
for (name, scan), part in zip(scanners.items(), parts, strict=True):
    np.savez(root / f"{name}.npz", x=[scan(image).ravel() for image in images[part]], y=labels[part])

(root / "scanners.toml").write_text(
    'title = "Three scanners"\n' + "".join(f'[domains.{name}]\npath = "{name}.npz"\n' for name in scanners)
)

# %%
# Plan and run
# ------------
# At the command line::
#
#     jointadapt compare --benchmark scanners.toml --root . --methods source-only,dan,jan --seeds 2
#
# Runs that are finished are never trained again, so an interrupted table goes on where it stopped. ``--jobs`` trains
# several at once, and no number depends on it.

tasks = ["straight → tilted", "tilted → blurred", "blurred → straight"]
methods = ["source-only", "dan", "jan"]
comparison, _ = plan(str(root / "scanners.toml"), root, tasks, methods, seeds=2, out=root / "table", steps=100)
outcomes, failures = compare(comparison)
table = tabulate(comparison, outcomes, [], failures)

measure = next(iter(table.rows))
print(f"{'':<24}", *(f"{heading:>17}" for heading in table.headings))
for method, checkpoint, cells in table.texts(measure):
    print(f"{method:<12}{checkpoint:<12}", *(f"{cell:>17}" for cell in cells))

# %%
# As a figure
# -----------
# ``table.write(folder)`` writes it as Markdown, LaTeX, CSV and a page. Rows named *last* are the last checkpoint; the
# middle one is chosen without target labels; *oracle* is the best on target labels, which nobody has in practice.

rows = [row for row in table.rows[measure] if row.rule == "last"]
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for number, (row, colour) in enumerate(zip(rows, ("#999999", "#e69f00", "#0072b2"), strict=True)):
    cells = row.all_cells
    places = np.arange(len(cells)) + 0.25 * (number - 1)
    errors = [cell.error for cell in cells]
    axes.bar(places, [cell.mean for cell in cells], 0.23, yerr=errors, color=colour, capsize=2, label=row.method)
axes.set_xticks(range(len(table.headings)), table.headings, rotation=20, ha="right")
axes.set(ylabel="target accuracy, %", ylim=(0, 105))
axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2))

# %%
# The mean of DAN, which matches each layer by itself, is above that of JAN on this small table: no method is ahead
# everywhere, which is why one makes a table.
