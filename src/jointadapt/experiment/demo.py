"""The demonstration: scikit-learn's handwritten digits, and others of them as another scanner would see them."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from scipy.ndimage import gaussian_filter, rotate
from sklearn.datasets import load_digits

from jointadapt.data import Domain, from_arrays
from jointadapt.experiment import train
from jointadapt.runtime.progress import Track, silent

METHODS = ("source-only", "jan")
SEEDS = (0, 1, 2)
OPTIONS = {"backbone": "cnn", "bottleneck": 128, "dropout": 0.0, "trade_off": 1.0}


@dataclass(frozen=True)
class Demo:
    """Target accuracies in percent, of each method with each seed, and the report of the last seed's run."""

    accuracies: dict[str, list[float]]
    report: Path

    def mean(self, method: str) -> float:
        """Return the mean over the seeds."""
        return mean(self.accuracies[method])


def digit_domains(seed: int = 0) -> tuple[Domain, Domain]:
    """Return 898 digits as they are, and the other 899 tilted by 15 to 45°; of these a third blurred, a third pale."""
    rows, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(rows))
    images, labels = rows[order].reshape(-1, 8, 8) / 16, labels[order]
    half = len(images) // 2
    tilted = [_scan(image, generator.uniform(15, 45), number % 3) for number, image in enumerate(images[half:])]
    return (
        from_arrays(images[:half], labels[:half], "digits", kind="images"),
        from_arrays(np.stack(tilted), labels[half:], "another scanner", kind="images"),
    )


def run_demo(out: Path | None = None, track: Track = silent) -> Demo:
    """Return what source-only and JAN reach on the other scanner's digits, three seeds each; runs are kept in `out`."""
    out = Path(tempfile.mkdtemp(prefix="jointadapt-demo-")) if out is None else out
    accuracies: dict[str, list[float]] = {method: [] for method in METHODS}
    for seed in SEEDS:
        run = train(*digit_domains(), out=out / f"seed-{seed}", track=track, seed=seed, **OPTIONS)
        for method, found in zip(METHODS, (run.summary.baseline, run.summary), strict=True):
            assert found is not None
            assert found.evaluation is not None
            accuracies[method].append(found.evaluation.accuracy)
    return Demo(accuracies, out / f"seed-{SEEDS[-1]}" / "report.html")


def _scan(image: np.ndarray, angle: float, kind: int) -> np.ndarray:
    image = np.clip(rotate(image, angle, reshape=False, order=1), 0, 1)
    match kind:
        case 1:
            return gaussian_filter(image, 0.5)
        case 2:
            return 0.2 + 0.6 * image
        case _:
            return image
