"""Would a cache of features in half precision change predictions?

    OMP_NUM_THREADS=1 python benchmarks/half_features.py FOLDER... --backbone squeezenet1_0 [--weights FILE]

Every folder is a domain of classes; its features are those of the frozen backbone. For each ordered pair of domains and
each method: how many target predictions change when a model that was trained on float32 sees rounded features, when it
is trained on rounded ones, too, and, to compare, when float32 is kept and the seed is another.
"""

import argparse
import warnings
from itertools import permutations
from pathlib import Path

import numpy as np
import torch

from jointadapt import AdaptedClassifier
from jointadapt.data import Domain, read_domain
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import FeatureExtractor
from jointadapt.runtime.files import default_cache

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def rounded(x: np.ndarray, kind: torch.dtype) -> np.ndarray:
    """Return float32 numbers as they come back from a cache of another kind."""
    return torch.from_numpy(x).to(kind).float().numpy()


def fitted(x: np.ndarray, y: np.ndarray, target: np.ndarray, method: str, seed: int) -> AdaptedClassifier:
    """Return a classifier that is fitted."""
    return AdaptedClassifier(method=method, steps=600, random_state=seed).fit(x, y, target)


def main() -> None:
    """Print a row for each method and kind of rounding, all pairs together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--backbone", default="squeezenet1_0")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--methods", default="source-only,jan,mcc")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    extractor = FeatureExtractor(build_backbone(given.backbone, given.weights), given.backbone, True, default_cache())
    domains: dict[str, Domain] = {folder.name: extractor.prepared(read_domain(folder)) for folder in given.folders}
    rows = {name: domain.rows(range(len(domain))).numpy() for name, domain in domains.items()}
    labels = {name: domain.labels.numpy() for name, domain in domains.items()}
    size = sum(x.nbytes for x in rows.values()) / 1e6
    print(f"{sum(map(len, rows.values()))} rows of {next(iter(rows.values())).shape[1]}: {size:.2f} MB in float32")
    print("method, rounding: predictions; changed in the same model, trained again, by another seed; accuracy")
    for method in given.methods.split(","):
        counts = {name: np.zeros(3, int) for name in HALVES}
        right = {name: np.zeros(2) for name in HALVES}
        total = 0
        for source, target in permutations(rows, 2):
            x, y, t, truth = rows[source], labels[source], rows[target], labels[target]
            model = fitted(x, y, t, method, 0)
            plain, other = model.predict(t), fitted(x, y, t, method, 1).predict(t)
            total += len(t)
            for name, kind in HALVES.items():
                half_x, half_t = rounded(x, kind), rounded(t, kind)
                again = fitted(half_x, y, half_t, method, 0).predict(half_t)
                counts[name] += [(of != plain).sum() for of in (model.predict(half_t), again, other)]
                right[name] += [(plain == truth).sum(), (again == truth).sum()]
        for name, (same, again, other) in counts.items():
            before, after = 100 * right[name] / total
            changes = f"{total:8}{same:8}{again:8}{other:8}"
            print(f"{method:14}{name:12}{changes}{before:10.2f} → {after:.2f}", flush=True)


if __name__ == "__main__":
    main()
