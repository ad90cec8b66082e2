"""
Tables with a scikit-learn pipeline
===================================

:class:`jointadapt.AdaptedClassifier` is a scikit-learn estimator whose ``fit`` also takes the target. Behind a scaler
in a pipeline, the target must be scaled as the source is. scikit-learn does that if you say so in one word.
"""

# %%
# A table whose columns have units of their own
# ---------------------------------------------
# Three classes, eight columns that differ by a factor of up to a thousand. The target's rows are turned a little and
# moved, as those of another instrument may be.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from jointadapt import AdaptedClassifier

ROWS, COLUMNS = 300, 8
generator = np.random.default_rng(0)
y = generator.integers(0, 3, ROWS)
x = generator.normal(size=(ROWS, COLUMNS))
x[np.arange(ROWS), y] += 4
turn, _ = np.linalg.qr(np.eye(COLUMNS) + 0.35 * generator.normal(size=(COLUMNS, COLUMNS)))
unit = np.logspace(0, 3, COLUMNS)
x, x_target = (x + 10) * unit, (x @ (turn * np.sign(np.diag(turn))) + 11.5) * unit

# %%
# Three ways to fit a pipeline
# ----------------------------
# ``transform_input=["X_target"]`` sends the target through the steps before the classifier. Without it the classifier
# is handed a target in raw units beside a source in standard deviations; it warns, and is silenced here.

sklearn.set_config(enable_metadata_routing=True)
warnings.simplefilter("ignore", UserWarning)


def pipeline(transform_input: list[str] | None = None) -> Pipeline:
    classifier = AdaptedClassifier("jan", steps=300).set_fit_request(X_target=True)
    return Pipeline([("scale", StandardScaler()), ("classify", classifier)], transform_input=transform_input)


fitted = {
    "no target": pipeline().fit(x, y),
    "target not scaled": pipeline().fit(x, y, X_target=x_target),
    "target scaled as the source": pipeline(["X_target"]).fit(x, y, X_target=x_target),
}
accuracies = {way: 100 * model.score(x_target, y) for way, model in fitted.items()}
for way, accuracy in accuracies.items():
    print(f"{way}: {accuracy:.1f} %")

# %%
# What the classifier is handed
# -----------------------------

scaler = StandardScaler().fit(x)
figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
for axes, way, target in zip(panels, list(fitted)[1:], (x_target, scaler.transform(x_target)), strict=False):
    for rows, name, colour in ((scaler.transform(x), "source", "#0072b2"), (target, "target", "#d55e00")):
        axes.scatter(rows[:, 0], rows[:, 1], s=8, color=colour, label=name, alpha=0.7, linewidths=0)
    axes.set(title=way, xlabel="column 1", ylabel="column 2")
    axes.legend(frameon=False)
bars = panels[2].barh(list(accuracies), list(accuracies.values()), color=["#999999", "#d55e00", "#0072b2"])
panels[2].bar_label(bars, fmt="%.1f", padding=3)
panels[2].set(title="target accuracy, %", xlim=(0, 118))
panels[2].invert_yaxis()

# %%
# Alone, without a pipeline, the classifier standardises columns itself where they have several units:
# :doc:`/guides/standardization`.
