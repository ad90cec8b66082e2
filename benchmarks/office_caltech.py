"""Target accuracy of every method on all tasks among some domains of images, on frozen features, last checkpoint.

    python benchmarks/office_caltech.py --root DIR --backbone squeezenet1_0 --weights FILE [--seeds 3] [--methods ...]

DIR holds one folder a domain with one folder a class. Prints a Markdown table: percent, mean over the seeds.
"""

import argparse
import itertools
import platform
import time
from pathlib import Path
from statistics import mean, stdev

import torch

from jointadapt import train
from jointadapt.backbones import build_backbone
from jointadapt.data import extract, read_domain
from jointadapt.data.files import default_cache
from jointadapt.methods import METHODS
from jointadapt.progress import bars


def main() -> None:
    """Extract features once, then train every method on every task with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="another value of an option")
    arguments = parser.parse_args()
    options = {name: _value(value) for name, value in (text.split("=") for text in arguments.set)}
    domains = features(arguments.root, arguments.backbone, arguments.weights)
    tasks = list(itertools.permutations(sorted(domains), 2))
    started = time.monotonic()
    print(f"{arguments.backbone}, frozen, {arguments.seeds} seeds, {options or 'defaults'}\n")
    print("| method |", " | ".join(f"{source} → {target}" for source, target in tasks), "| mean |")
    print("|:---|", "---:|" * (len(tasks) + 1), sep="")
    for method in arguments.methods.split(","):
        rows = []
        for seed in range(arguments.seeds):
            runs = [
                train(domains[s], domains[t], method=method, seed=seed, baseline=False, report=False, **options)
                for s, t in tasks
            ]
            rows.append([run.summary["evaluation"]["accuracy"] for run in runs])
        means = [mean(column) for column in zip(*rows, strict=True)]
        overall = [mean(row) for row in rows]
        error = stdev(overall) / len(overall) ** 0.5 if len(overall) > 1 else float("nan")
        cells = " | ".join(f"{value:.1f}" for value in means)
        print(f"| {method} | {cells} | {mean(overall):.1f} ± {error:.1f} |", flush=True)
    print(
        f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} threads, torch {torch.__version__}, ", end=""
    )
    print(f"Python {platform.python_version()}")


def _value(text: str) -> float | str | list:
    if "," in text:
        return [_value(part) for part in text.split(",")]
    try:
        return float(text)
    except ValueError:
        return text


def features(root: Path, name: str, weights: str) -> dict:
    """Return each domain below the root with a frozen backbone's features as rows."""
    backbone = build_backbone(name, weights).eval()
    assert backbone.preprocessing is not None
    key, transform, cache = f"{name} {backbone.digest()}", backbone.preprocessing.evaluation(), default_cache()
    domains = [read_domain(folder, cache, bars) for folder in sorted(root.iterdir()) if folder.is_dir()]
    return {
        domain.name: extract(domain, lambda x: torch.cat(backbone(x), 1), transform, key, cache, track=bars)
        for domain in domains
    }


if __name__ == "__main__":
    main()
