"""Label shift and missing classes: accuracy with and without `--label-shift`, and how wrong the estimated shares are.

    python benchmarks/label_shift.py label-shift
    python benchmarks/label_shift.py partial

Target labels serve the evaluation alone. Real families are read below `JOINTADAPT_TEST_DATA`, or `../shared/data`.
"""

import argparse
import time
import warnings
from collections.abc import Iterator, Sequence
from statistics import mean

import numpy as np
import torch
from families import ROOT, hearts, photograph_features, small_digits
from hard_cases import imbalanced
from torch import Tensor

from jointadapt import train
from jointadapt.data import Domain, read_domain
from jointadapt.diagnostics.class_shares import held_out_probabilities, shares_by_confusion

METHODS = ("source-only", "jan", "mcc")
MODES = {"label-shift": ("no", "estimate", "auto"), "partial": ("no", "missing")}
HOSPITALS = (
    ("cleveland", "hungarian"),
    ("cleveland", "switzerland"),
    ("cleveland", "va"),
    ("hungarian", "cleveland"),
    ("hungarian", "va"),
    ("switzerland", "hungarian"),
)
MISSING_GASES = (("batch1", "batch3"), ("batch2", "batch4"), ("batch1", "batch5"))
REMOVED_GASES = (("batch6", "batch8"), ("batch6", "batch9"))
PHOTOGRAPHS = (("amazon", "webcam"), ("webcam", "amazon"), ("dslr", "amazon"))

Case = tuple[str, Domain, Domain]


def label_shift_cases() -> Iterator[Case]:
    """Yield tasks whose class shares differ, by nature or by rows left out: 10 of the first class to 1 of the last."""
    hospitals = hearts(ROOT).domains
    for source, target in HOSPITALS:
        yield f"hearts, {source} → {target}", hospitals[source], hospitals[target]
    for source, target in (("batch1", "batch2"), ("batch4", "batch5"), ("batch6", "batch8")):
        yield f"gas sensors, {source} → {target}", _batch(source), _batch(target)
    digits = [*small_digits(ROOT).domains.values()]
    yield "small digits, 10:1", digits[0], _ten_to_one(digits[1])
    pictures = photograph_features(ROOT).domains
    for source, target in PHOTOGRAPHS:
        yield f"photographs, {source} → {target}, 10:1", pictures[source], _ten_to_one(pictures[target])


def partial_cases() -> Iterator[Case]:
    """Yield tasks whose target lacks classes: half of the photographs' ten; one or two gases of six."""
    pictures = photograph_features(ROOT).domains
    for source, target in PHOTOGRAPHS:
        for first in (0, 5):
            kept = range(first, first + 5)
            name = f"photographs, {source} → {target}, classes {first + 1}–{first + 5} of 10"
            yield name, pictures[source], _of_classes(pictures[target], kept)
    for source, target in MISSING_GASES:
        yield f"gas sensors, {source} → {target}, which lacks gas 6", _batch(source), _batch(target)
    for source, target in REMOVED_GASES:
        drifted = _batch(target)
        kept = [i for i, name in enumerate(drifted.classes) if name not in sorted(drifted.classes)[1:3]]
        yield f"gas sensors, {source} → {target} without two", _batch(source), _of_classes(drifted, kept)


def _batch(name: str) -> Domain:
    return read_domain(ROOT / "families" / "gas_sensors" / f"{name}.npz")


def _ten_to_one(domain: Domain) -> Domain:
    return domain.select(imbalanced(domain.labels.numpy()).tolist())


def _of_classes(domain: Domain, kept: Sequence[int]) -> Domain:
    return domain.select(np.flatnonzero(np.isin(domain.labels.numpy(), [*kept])).tolist())


def share_errors(source: Domain, target: Domain, found: Sequence[float]) -> tuple[float, float, float]:
    """Return half the sum of the shares' errors in points: the source's own shares, the estimate, and BBSE's."""
    aligned, _ = target.in_classes(source.classes)
    count = len(source.classes)
    true, own = (100 * torch.bincount(d.labels, minlength=count).double() / len(d) for d in (aligned, source))
    rows = [domain.rows(range(len(domain))).flatten(1) for domain in (source, target)]
    held, of_target, labels = held_out_probabilities(_scaled(rows[0], rows[0]), source.labels, _scaled(*rows), count)
    bbse = 100 * shares_by_confusion(held, labels, of_target)
    errors = (own, torch.tensor(found).double(), bbse)
    return tuple((shares - true).abs().sum().item() / 2 for shares in errors)  # pyright: ignore[reportReturnType]


def _scaled(reference: Tensor, rows: Tensor) -> Tensor:
    return (rows - reference.mean(0)) / reference.std(0).clamp_min(1e-6)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=MODES)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name holds one of these")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    modes, started = MODES[arguments.table], time.monotonic()
    trained = [(method, mode) for method in METHODS for mode in modes if (method, mode) != ("source-only", "missing")]
    print(
        f"| {arguments.table} | {' | '.join(f'{method}, {mode}' for method, mode in trained)} | error of the shares |"
    )
    print("|:---|" + "---:|" * (len(trained) + 1))
    columns = []
    cases = label_shift_cases() if arguments.table == "label-shift" else partial_cases()
    for name, source, target in (case for case in cases if any(word in case[0] for word in arguments.only)):
        accuracies, shares = [], ()
        for method, mode in trained:
            found = []
            for seed in range(arguments.seeds):
                options = {"method": method, "label_shift": mode, "seed": seed, "steps": arguments.steps}
                summary = train(source, target, baseline=False, report=False, **options).summary
                found.append(summary.accuracy)
                if summary.class_shares is not None and mode == modes[1]:
                    shares = summary.class_shares.target
            accuracies.append(mean(found))
        columns.append(accuracies)
        errors = " / ".join(f"{error:.0f}" for error in share_errors(source, target, shares))
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in accuracies)} | {errors} |", flush=True)
    print(f"| mean | {' | '.join(f'{mean(column):.1f}' for column in zip(*columns, strict=True))} | |")
    plain = [row[0] for row in columns]
    for (method, mode), column in [*zip(trained, zip(*columns, strict=True), strict=True)][1:]:
        gains = [own - before for own, before in zip(column, plain, strict=True)]
        lost = sum(gain < 0 for gain in gains)
        print(f"\n{method}, {mode}: below source-only on {lost} of {len(gains)}, at worst {min(gains):+.1f}")
    print(
        f"\nPercent right on the target; {arguments.steps} steps, seeds: {arguments.seeds}. Error of the shares: half "
        "the sum of absolute errors in points, of the source's shares / the estimate / BBSE. "
        f"{time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
