"""Several sources, one of them at odds with the others: it is dropped and named, the others are weighed.

    python examples/your_data/several_sources.py

Digits of 8 × 8 pixels from five scanners: four hold the paper at another angle, one inverts its pictures. The target
scans straight.
"""

import warnings

import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits

from jointadapt import train

x, y = load_digits(return_X_y=True)
parts = np.array_split(np.random.default_rng(0).permutation(len(x)), 6)


def scanned(part: np.ndarray, degrees: float) -> np.ndarray:
    """Return the digits of a part as a scanner sees them that holds the paper at an angle."""
    return np.stack([rotate(image, degrees, reshape=False, order=1) for image in x[part].reshape(-1, 8, 8)])


sources = {
    f"{degrees}°": (scanned(part, degrees), y[part])
    for part, degrees in zip(parts[:4], (-30, -15, 15, 30), strict=True)
}
sources["inverted"] = (16 - scanned(parts[4], 0), y[parts[4]])
target = scanned(parts[5], 0), y[parts[5]]  # its labels serve the evaluation only

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always", UserWarning)
    run = train(sources, target, kind="images", backbone="none", method="jan", steps=200)
    pooled = train(sources, target, kind="images", backbone="none", method="jan", steps=200, source_weights="pooled")

print("\n".join(str(warning.message) for warning in told if "dropped" in str(warning.message)))
print("weights:", ", ".join(map(str, run.summary.sources)))
print(f"target accuracy: pooled {pooled.summary.accuracy:.1f} %, weighed {run.summary.accuracy:.1f} %")
