"""Several sources: each alone, all pooled, all equal, and weighed; photographs, gas sensors, digits with an odd one.

    python benchmarks/several_sources.py [--seeds 2] [--steps 300] [--families photographs gas digits …] [--rows 500]
    python benchmarks/several_sources.py --spoil [--families …]

Printed is one Markdown table for each method: target accuracy in percent, the mean over the seeds. "best alone" is the
best of the single sources by the target's labels, which nobody has who has to choose one. "pooled" is
`source_weights="pooled"`, "equal" `"equal"`, "weighed" the default. Behind it the weights, and what was dropped.

With `--spoil` nothing is trained: of the sources of each task, and of each pair of them, the first is spoiled in
several ways, and printed is how often it is dropped, and how many of the others are.

The constants of `selection/sources.py` were chosen on activity, hearts, news and spectra of bearings (`--families
chosen`); photographs, gas sensors and digits judge them.
"""

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from statistics import mean

import numpy as np
import torch
from families import ROOT, Family, activity, bearing_spectra, hearts, photograph_features
from scipy.ndimage import rotate
from sklearn.datasets import load_digits

from jointadapt import train
from jointadapt.data import Domain, from_arrays, read_domain
from jointadapt.data.several import pool
from jointadapt.selection.sources import weigh_sources

METHODS = ("source-only", "jan", "mcc")
WAYS = ("pooled", "equal", "auto")
TILTS = (-30, -15, 15, 30)
SPOILED = ("as it is", "inverted", "classes swapped", "noise", "labels shuffled")

Task = tuple[str, list[Domain], Domain]


def photographs(rows: int) -> Iterator[Task]:
    """Yield two domains of photographs → the third, as squeezenet1_0's features."""
    yield from _one_out(photograph_features(ROOT), rows)


def gas(rows: int) -> Iterator[Task]:
    """Yield the two, and the three, batches of gas sensors before one → that one."""
    names = [f"batch{number}" for number in (1, 2, 3, 4, 5, 6, 8, 9)]
    batches = [_some(read_domain(ROOT / "families" / "gas_sensors" / f"{name}.npz"), rows) for name in names]
    for count, places in ((2, (2, 4, 6, 7)), (3, (3, 5, 6, 7))):
        for place in places:
            yield _task(batches[place - count : place], batches[place])


def digits(rows: int) -> Iterator[Task]:
    """Yield digits in four tilts and inverted ones → upright ones, and ones tilted by 45°; other digits in each."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    parts = [part[:rows] for part in np.array_split(order, len(TILTS) + 2)]

    def tilted(part: np.ndarray, degrees: float, name: str) -> Domain:
        turned = [rotate(image, degrees, reshape=False, order=1) for image in x[part].reshape(-1, 8, 8) / 16]
        return from_arrays(np.clip(turned, 0, 1).reshape(len(part), -1), y[part], name)

    sources = [tilted(part, degrees, f"tilt {degrees}°") for part, degrees in zip(parts, TILTS, strict=False)]
    inverted = from_arrays(1 - x[parts[-2]] / 16, y[parts[-2]], "inverted")
    for degrees in (0, 45):
        yield _task([*sources, inverted], tilted(parts[-1], degrees, f"{degrees}°"))


def chosen(rows: int) -> Iterator[Task]:
    """Yield the families that the constants were chosen on: all but one domain → that one."""
    for read in (activity, hearts, bearing_spectra):
        yield from _one_out(_whole(read(ROOT)), rows)


FAMILIES = {read.__name__: read for read in (photographs, gas, digits, chosen)}


def _whole(family: Family) -> Family:
    """Return a family with all of its domains, also those that are in no pair of it."""
    folder = ROOT / "families" / family.name
    if family.name == "hearts" or not folder.is_dir():
        return family
    names = sorted(path.stem for path in folder.glob("*.npz"))
    return Family(family.name, {name: read_domain(folder / f"{name}.npz") for name in names}, family.pairs)


def _one_out(family: Family, rows: int) -> Iterator[Task]:
    domains = [_some(domain, rows) for domain in family.domains.values()]
    for sources in combinations(domains, len(domains) - 1):
        (target,) = (domain for domain in domains if domain not in sources)
        yield _task([*sources], target)


def _task(sources: list[Domain], target: Domain) -> Task:
    return f"{' + '.join(domain.name for domain in sources)} → {target.name}", sources, target


def _some(domain: Domain, rows: int) -> Domain:
    return domain.select(np.random.default_rng(0).permutation(len(domain))[:rows].tolist())


def measure(source: Domain | list[Domain], target: Domain, seed: int, steps: int, **options: str) -> dict[str, float]:
    """Return the target accuracy of each method in percent, and what several sources counted for."""
    found = {}
    for method in METHODS[1:]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = train(
                source,
                target,
                method=method,
                seed=seed,
                steps=steps,
                baseline=method == METHODS[1],
                report=False,
                **options,
            )
        found[method] = run.summary.accuracy
        if run.summary.baseline is not None and run.summary.baseline.evaluation is not None:
            found[METHODS[0]] = run.summary.baseline.evaluation.accuracy
        found["sources"] = ", ".join(map(str, run.summary.sources))
    return found


def spoiled(domain: Domain, how: str) -> Domain:
    """Return a source that is of no use: its values inverted or noise, its classes swapped, or its labels shuffled."""
    x, generator = domain.rows(range(len(domain))), torch.Generator().manual_seed(0)
    noise = x.mean(0) + x.std(0) * torch.randn(x.shape, generator=generator)
    labels = {
        "classes swapped": (domain.labels + 1) % len(domain.classes),
        "labels shuffled": domain.labels[torch.randperm(len(x), generator=generator)],
    }
    contents = {"inverted": x.amax(0) + x.amin(0) - x, "noise": noise}
    return replace(domain, content=contents.get(how, x), labels=labels.get(how, domain.labels))


def count_dropped(families: list[str], rows: int) -> None:
    """Print how often a spoiled source is dropped, and how often another is."""
    counts = {(how, many): [0, 0, 0, 0] for many in ("two", "more") for how in SPOILED}
    for family in families:
        for _, sources, target in FAMILIES[family](rows):
            groups = [sources, *map(list, combinations(sources, 2))] if len(sources) > 2 else [sources]
            for group, how in product(groups, SPOILED):
                several = pool([spoiled(group[0], how), *group[1:]])
                assert several.origins is not None
                of = several.rows(range(len(several))), several.labels, several.origins, several.origin_names
                first, *others = weigh_sources(*of, target.rows(range(len(target))))
                found = counts[how, "two" if len(group) == 2 else "more"]
                found[0] += 1
                found[1] += first.dropped
                found[2] += len(others) + (how == SPOILED[0])
                found[3] += sum(other.dropped for other in others) + (how == SPOILED[0] and first.dropped)
    print("| first source | sources | cases | it is dropped | others dropped |\n|:---|:---|---:|---:|---:|")
    for (how, many), (cases, dropped, others, wrong) in counts.items():
        own = "–" if how == SPOILED[0] else str(dropped)
        print(f"| {how} | {many} | {cases} | {own} | {wrong} of {others} |")


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rows", type=int, default=500, help="Of a domain, at most.")
    parser.add_argument("--families", nargs="+", default=["photographs", "gas", "digits"], choices=FAMILIES)
    parser.add_argument("--spoil", action="store_true")
    given = parser.parse_args()
    if given.spoil:
        count_dropped(given.families, min(given.rows, 300))
        return
    lines: dict[str, list[tuple[str, list[float]]]] = {method: [] for method in METHODS}
    weights = []
    for family in given.families:
        for name, sources, target in FAMILIES[family](given.rows):
            alone = [[measure(one, target, seed, given.steps) for seed in range(given.seeds)] for one in sources]
            together = [
                [measure(sources, target, seed, given.steps, source_weights=way) for seed in range(given.seeds)]
                for way in WAYS
            ]
            weights.append(f"* {name}: {together[-1][0]['sources']}")
            for method in METHODS:
                single = [mean(run[method] for run in runs) for runs in alone]
                cells = [max(single), mean(single), *(mean(run[method] for run in runs) for runs in together)]
                lines[method].append((name, cells))
                print(f"{method:12} {name}: " + " ".join(f"{cell:.1f}" for cell in cells), flush=True)
    for method, rows in lines.items():
        print(f"\n| {method} | best alone | mean alone | pooled | equal | weighed |\n|---|---:|---:|---:|---:|---:|")
        for name, cells in [*rows, ("mean", [mean(column) for column in zip(*(c for _, c in rows), strict=True)])]:
            print(f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    print("\n" + "\n".join(weights))


if __name__ == "__main__":
    main()
