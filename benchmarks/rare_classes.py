"""A class of 1 % of the rows, with and without balanced batches, beside a logistic regression.

    python benchmarks/rare_classes.py

Three Gaussians in 10 dimensions, two frequent and one rare, 1,000 rows a domain, the target moved a little; three
draws. Prints a Markdown table in percent of target rows: the rare class's that are found, all, and the mean per class.
"""

import warnings
from collections import defaultdict

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from jointadapt import train
from jointadapt.data import from_arrays

ROWS, COLUMNS, RARE = 1_000, 10, 0.01
METHODS = ("source-only", "jan", "dann", "mcc")
Rows = tuple[np.ndarray, np.ndarray]


def made(seed: int) -> tuple[Rows, Rows]:
    """Return source and target, rows and labels; class 0 is rare."""
    generator = np.random.default_rng(seed)
    centres = 1.1 * np.random.default_rng(99).normal(size=(3, COLUMNS))
    offset = np.r_[0.3, -0.3, np.zeros(COLUMNS - 2)]

    def domain(moved: np.ndarray | float) -> Rows:
        labels = generator.choice(3, ROWS, p=[RARE, (1 - RARE) / 2, (1 - RARE) / 2])
        return (centres[labels] + generator.normal(size=(ROWS, COLUMNS)) + moved).astype(np.float32), labels

    return domain(0.0), domain(offset)


def rates(predicted: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return recall of the rare class, accuracy, mean accuracy per class."""
    recalls = [100 * float((predicted[labels == c] == c).mean()) for c in range(3)]
    return [recalls[0], 100 * float((predicted == labels).mean()), float(np.mean(recalls))]


def main() -> None:
    """Train and print."""
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    found = defaultdict(list)
    for seed in range(3):
        source, (x, y) = made(seed)
        found["logistic regression", "–"].append(rates(LogisticRegression(max_iter=2000).fit(*source).predict(x), y))
        for method in METHODS:
            for balance in ("no", "batches"):
                options = {"steps": 300, "seed": seed, "class_balance": balance, "report": False, "baseline": False}
                model = train(source, x, method=method, **options).model
                found[method, balance].append(rates(model.predict_proba(from_arrays(x)).argmax(1).numpy(), y))
    print("| method | class balance | rare class found | accuracy | mean per class |\n|:---|:---|---:|---:|---:|")
    for (method, balance), values in found.items():
        print(f"| {method} | {balance} | {' | '.join(f'{value:.1f}' for value in np.mean(values, 0))} |")


if __name__ == "__main__":
    main()
