"""One target, handed to a pipeline in three ways: left out, unscaled by mistake, and through `transform_input`.

python examples/your_data/tables_with_a_pipeline.py                                 # the accuracies
python examples/your_data/tables_with_a_pipeline.py --plot docs/images/scikit-learn.png  # and a picture
"""

import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from jointadapt import AdaptedClassifier

ROWS, COLUMNS = 300, 8
WAYS = ("no target", "target not scaled", "target scaled as the source")


def measured(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return source rows, labels and target rows: three classes, columns in units of their own, a turned target."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, ROWS)
    x = generator.normal(size=(ROWS, COLUMNS))
    x[np.arange(ROWS), y] += 4
    turn, _ = np.linalg.qr(np.eye(COLUMNS) + 0.35 * generator.normal(size=(COLUMNS, COLUMNS)))
    unit = np.logspace(0, 3, COLUMNS)
    return (x + 10) * unit, y, (x @ (turn * np.sign(np.diag(turn))) + 11.5) * unit


def fitted(way: str, x: np.ndarray, y: np.ndarray, x_t: np.ndarray) -> Pipeline:
    """Return a pipeline, trained."""
    classifier = AdaptedClassifier("jan", steps=300).set_fit_request(X_target=True)
    scaled = ["X_target"] if way == WAYS[2] else None
    pipeline = Pipeline([("scale", StandardScaler()), ("classify", classifier)], transform_input=scaled)
    return pipeline.fit(x, y) if way == WAYS[0] else pipeline.fit(x, y, X_target=x_t)


def draw(x: np.ndarray, x_t: np.ndarray, found: dict[str, float], path: str) -> None:
    """Write a picture: two columns of both domains as the classifier is handed them, in the two ways."""
    scaler = StandardScaler().fit(x)
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for axes, way, target in zip(panels[:2], WAYS[1:], (x_t, scaler.transform(x_t)), strict=True):
        for rows, name, colour in ((scaler.transform(x), "source", "#0072b2"), (target, "target", "#d55e00")):
            axes.scatter(rows[:, 0], rows[:, 1], s=8, color=colour, label=name, alpha=0.7, linewidths=0)
        axes.set(title=way, xlabel="column 1", ylabel="column 2")
        axes.legend(frameon=False)
    panels[2].barh(list(found), list(found.values()), color=["#999999", "#d55e00", "#0072b2"])
    panels[2].set(title="target accuracy, %", xlim=(0, 100))
    panels[2].invert_yaxis()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the target accuracy of each way."""
    warnings.simplefilter("ignore", UserWarning)  # which says what is wrong with the second
    x, y, x_t = measured()
    with sklearn.config_context(enable_metadata_routing=True):
        found = {way: 100 * fitted(way, x, y, x_t).score(x_t, y) for way in WAYS}
    for way, accuracy in found.items():
        print(f"{way}: {accuracy:.1f} %")
    if "--plot" in sys.argv:
        draw(x, x_t, found, sys.argv[-1])


if __name__ == "__main__":
    main()
