"""Each family of domains with and without z-scores: source-only, JAN, MCC, auto, and a logistic regression.

    python benchmarks/standardization.py [--families gas_sensors,news] [--standardize no,auto] [--steps 600] [--seeds 0]

Prints a Markdown table: target accuracy in percent, the mean over the family's pairs and the seeds; then the same of
every pair. Where `auto` leaves a pair as it is, that is trained once. Target labels are used for these tables only.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import torch
from families import FAMILIES, Family, read_families
from sklearn.linear_model import LogisticRegression

from jointadapt import train
from jointadapt.data import Domain
from jointadapt.evaluation.metrics import evaluate
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pipeline import fit_inputs

COLUMNS = ("source-only", "jan", "mcc", "auto")
Row = tuple[str, ...]
Scores = dict[str, float]


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--standardize", default="no,auto")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", default="0")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    started, found = time.monotonic(), {}
    modes, seeds = arguments.standardize.split(","), [int(seed) for seed in arguments.seeds.split(",")]
    for family in read_families(arguments.families.split(",")):
        for source, target in family.tasks():
            found |= scores(family, source, target, modes, arguments.steps, seeds)
    print_table(found, modes)
    print(f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} thread, torch {torch.__version__}")


def scores(
    family: Family, source: Domain, target: Domain, modes: Sequence[str], steps: int, seeds: Sequence[int]
) -> dict[Row, Scores]:
    """Return the accuracies of a pair by family, pair, option and what that came to."""
    found: dict[str, Scores] = {}
    rows: dict[Row, Scores] = {}
    for mode in modes:
        used, *ready = fit_inputs(InputOptions(standardize=mode), source, target)  # pyright: ignore[reportArgumentType]
        how = used.standardized
        if how not in found:
            runs = [run(source, target, how, steps, seed) for seed in seeds]
            found[how] = {name: mean(values[name] for values in runs) for name in COLUMNS}
            found[how]["logistic regression"] = regression(*ready)
        rows[family.name, f"{source.name} → {target.name}", mode, how] = found[how]
        print(family.name, source.name, target.name, mode, how, rounded(found[how]), flush=True)
    return rows


def run(source: Domain, target: Domain, how: str, steps: int, seed: int) -> Scores:
    """Return the accuracy of each method; `auto` trains source-only and MCC among others, and they are read there."""
    options = {"steps": steps, "seed": seed, "standardize": how, "report": False}
    with tempfile.TemporaryDirectory() as folder:
        auto = train(source, target, Path(folder, "run"), method="auto", **options).summary
    jan = train(source, target, method="jan", baseline=False, **options).summary
    mcc = auto.candidates.get("mcc")
    if mcc is None:
        mcc = train(source, target, method="mcc", baseline=False, **options).summary
    of = {"source-only": auto.baseline, "jan": jan, "mcc": mcc, "auto": auto}
    return {name: each.evaluation.accuracy for name, each in of.items() if each and each.evaluation}


def regression(source: Domain, target: Domain) -> float:
    """Return the accuracy of a logistic regression on two domains as a network gets them."""
    x_s, x_t = (domain.rows(range(len(domain))).flatten(1).numpy() for domain in (source, target))
    predicted = LogisticRegression(max_iter=1000).fit(x_s, source.labels.numpy()).predict(x_t)
    labels = target.in_classes(source.classes)[0].labels
    result = evaluate(torch.from_numpy(predicted), labels, len(source.classes))
    return result.accuracy if result else float("nan")


def rounded(values: Scores) -> str:
    """Return accuracies in a few characters."""
    return " ".join(f"{name} {value:.1f}" for name, value in values.items())


def print_table(found: dict[Row, Scores], modes: Sequence[str]) -> None:
    """Print the means of each family, then the pairs."""
    names = [*COLUMNS, "logistic regression"]
    for head, part in (("family", slice(0, 1)), ("pair", slice(0, 2))):
        print(f"\n| {head} | standardize | z-scores by | {' | '.join(names)} |\n|:---|:---|:---|{'---:|' * len(names)}")
        for group in dict.fromkeys(key[part] for key in found):
            for mode in modes:
                chosen = {key: values for key, values in found.items() if key[part] == group and key[2] == mode}
                by = ", ".join(dict.fromkeys(key[3] for key in chosen))
                cells = [f"{mean(values[name] for values in chosen.values()):.1f}" for name in names]
                print(f"| {', '.join(group)} | {mode} | {by} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
