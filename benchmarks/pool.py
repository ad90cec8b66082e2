"""Train every candidate on every case of nine families, and keep what it predicts: one file a case.

    python benchmarks/pool.py --data DIR --pool DIR [--part K/N] [--cases PATTERN]

A candidate is trained on four fifths of the source. Of each the probabilities on the held-out source examples and on
the target are kept, so that ways of choosing, combining and estimating are compared in minutes (left_out.py). What has
a file is not trained again. --part 1/2 and 2/2 share the cases between two processes.
"""

import argparse
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from families import Family, digit_rows, photograph_features, small_digits, wine
from families import cancer as cells
from hard_cases import PHOTOGRAPHS, Case, digits, gaussians, imbalanced, photographs, scanned
from torch import Tensor

from jointadapt import train
from jointadapt.config import make_config
from jointadapt.data import Domain, from_arrays
from jointadapt.data.domain import some_rows
from jointadapt.discrepancy.domain_classifier import fit_linear
from jointadapt.discrepancy.moments import find_moments, match_columns, match_covariances
from jointadapt.inputs.pipeline import fit_inputs

MOST_ROWS = 2_000  # of each domain
MOST_COLUMNS = 1_100  # of which a covariance is inverted
HELD_OUT = 0.2
LINEAR = "logistic"
# Of a candidate "method@moments" the source is moved onto the target's columns' moments, "@coral" onto its covariance.
CANDIDATES = (
    *("logistic", "logistic@moments", "logistic@coral", "source-only", "source-only@moments", "mcc", "im", "jan+mcc"),
    *("jan", "shot", "mcc@moments", "jan+mcc@moments"),
)
GAS = ("batch1", "batch2", "batch3", "batch4", "batch5", "batch6", "batch8", "batch9")
PEOPLE = ("users01_09", "users10_18", "users19_27", "users28_36")
LOADS = ("load0", "load1", "load2", "load3")
TOPICS = ("autos_crypt", "baseball_space", "hockey_med", "motorcycles_electronics")
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
BACKBONES = ("squeezenet1_0", "resnet18")
SEED = 4  # of the hard cases: one that no constant was ever chosen on

Pair = tuple[str, str]
Rows = Callable[[np.ndarray], np.ndarray]  # labels → the rows that a target is left with


@dataclass(frozen=True)
class Task:
    """A case of a family that is read when it is trained on."""

    family: str
    name: str
    kind: str
    read: Callable[[], tuple[Domain, Domain]]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of its file in the pool."""
        return f"{self.family}__{self.name}".replace("/", "_").replace(" ", "_") + ".pt"


def main() -> None:
    """Train what has no file yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds families/, digits/, office_caltech/, weights/")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--cases", default="", help="only cases whose family, name or kind has this expression in it")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    part, parts = map(int, arguments.part.split("/"))
    arguments.pool.mkdir(parents=True, exist_ok=True)
    wanted = [t for t in tasks(arguments.data) if re.search(arguments.cases, f"{t.family} {t.name} {t.kind}")]
    shuffled = [wanted[i] for i in np.random.default_rng(0).permutation(len(wanted))]  # so that the time left is told
    todo = [task for task in shuffled[part - 1 :: parts] if not (arguments.pool / task.file).exists()]
    print(f"{len(wanted)} cases, {len(todo)} to train here", flush=True)
    started = time.monotonic()
    for done, task in enumerate(todo, 1):
        record = trained(task)
        keep(record, arguments.pool / task.file)
        left = (time.monotonic() - started) / done * (len(todo) - done)
        print(
            f"{done} of {len(todo)}, {left / 60:.0f} min left: {task.family}, {task.name}: {told(record)}", flush=True
        )


def tasks(data: Path) -> Iterator[Task]:
    """Yield the cases of all families; data on disk is read when a case is trained on."""
    stored = {
        "gas_sensors": _apart(GAS)[::2],
        "activity": _ordered(PEOPLE),
        "bearing_spectra": _ordered(LOADS),
        "news": _ordered(TOPICS),
        "hearts": _ordered(HOSPITALS),
    }
    for family, pairs in stored.items():
        for pair in pairs:
            yield Task(family, " → ".join(pair), "natural", partial(read_pair, data, family, *pair))
    for family, read in (("digits", digit_rows), ("laboratories", wine), ("laboratories", cells)):
        yield from _in_memory(family, read.__name__, read, data)
    yield from _in_memory("laboratories", "small_digits", small_digits, data)
    yield from hard_tasks(data)
    yield from shares_changed(data)


def read_pair(data: Path, family: str, source: str, target: str) -> tuple[Domain, Domain]:
    """Return two domains of a folder of families/; of bearings the magnitudes of the windows' Fourier transforms."""
    spectra = family == "bearing_spectra"
    found = []
    for name in (source, target):
        with np.load(data / "families" / ("bearings" if spectra else family) / f"{name}.npz") as file:
            x, y = file["x"], file["y"]
        found.append(from_arrays(np.abs(np.fft.rfft(x))[:, 1:].astype(np.float32) if spectra else x, y, name))
    return found[0], found[1]


def hard_tasks(data: Path) -> Iterator[Task]:
    """Yield the hard cases, and whole pairs of the photographs by a second backbone."""
    folder = data / "office_caltech"
    for family, cases in (
        ("digits", digits(SEED)),
        ("clouds", gaussians(SEED)),
        ("digits", scanned(data / "digits", SEED - 1)),
    ):
        yield from (_hard(family, case) for case in cases)
    for backbone in BACKBONES:
        for case in photographs(folder, backbone, data / "weights" / f"{backbone}.safetensors", SEED):
            if backbone == BACKBONES[0] or case.kind == "covariate shift":
                yield _hard("photographs", case, f" ({backbone})")


def shares_changed(data: Path) -> Iterator[Task]:
    """Yield cases whose target has other class shares: falling 10:1, without half of the classes, with one only."""
    pairs = {
        "gas_sensors": (("batch1", "batch2"), ("batch2", "batch6")),
        "activity": (("users01_09", "users10_18"), ("users19_27", "users28_36")),
        "bearing_spectra": (("load0", "load3"), ("load1", "load2")),
        "news": (("autos_crypt", "baseball_space"), ("hockey_med", "motorcycles_electronics")),
        "hearts": (("cleveland", "hungarian"), ("hungarian", "cleveland")),
    }
    for family, (first, second) in pairs.items():
        reads = {" → ".join(pair): partial(read_pair, data, family, *pair) for pair in (first, second)}
        yield from _of_shares(family, reads, two_classes=family in ("news", "hearts"), options={})
    pair = {"digit_rows: usps → mnist": partial(_named, partial(digit_rows, data), "usps", "mnist")}
    yield from _of_shares("digits", pair, {})
    pictures = {"amazon → webcam": partial(_named, partial(photograph_features, data), "amazon", "webcam")}
    yield from _of_shares("photographs", pictures, {"steps": PHOTOGRAPHS["steps"]})


def falling(labels: np.ndarray) -> np.ndarray:
    """Return rows of a subset whose class shares fall 10:1, first to last."""
    return imbalanced(labels)


def half(labels: np.ndarray) -> np.ndarray:
    """Return the rows of the first half of the classes."""
    return np.flatnonzero(labels <= np.median(np.unique(labels)) - 0.5)


def largest(labels: np.ndarray) -> np.ndarray:
    """Return the rows of the most frequent class."""
    return np.flatnonzero(labels == np.bincount(labels).argmax())


def trained(task: Task) -> dict[str, Any]:
    """Return the record of a case.

    `source` (n, d), `source_labels` (n,), `held` (n,) bool: the held-out source examples; `target` (m, d),
    `target_labels` (m,), −1 unknown; `classes`: how many; `probabilities`: candidate → {"held": (h, c), "target":
    (m, c)}; `seconds`: of each training.
    """
    source, target = (domain.select(some_rows(len(domain), MOST_ROWS).tolist()) for domain in task.read())
    source = source.select((source.labels >= 0).nonzero().flatten().tolist())
    images = source.shape is not None and len(source.shape) == 3
    truth = target.in_classes(source.classes)[0].labels if target.labelled else torch.full((len(target),), -1)
    _, *ready = fit_inputs(make_config({"method": "source-only", **task.options}), source, target)
    x_s, x_t = (domain.rows(range(len(domain))).float() for domain in ready)
    held = held_out(ready[0].labels)
    moved = {"": x_s} if images else moves(x_s, x_t)
    probabilities, seconds = {}, {}
    for name in CANDIDATES:
        method, _, how = name.partition("@")
        if how in moved:
            started = time.monotonic()
            fit = fitted_linear if method == LINEAR else partial(fitted, method=method, options=task.options)
            model = fit(moved[how][~held], ready[0].labels[~held], x_t)
            parts = {"held": moved[how][held], "target": x_t}
            probabilities[name] = {part: padded(*model(rows), len(source.classes)) for part, rows in parts.items()}
            seconds[name] = time.monotonic() - started
    return {
        "family": task.family,
        "case": task.name,
        "kind": task.kind,
        "source": x_s.flatten(1),
        "source_labels": ready[0].labels,
        "held": held,
        "target": x_t.flatten(1),
        "target_labels": truth,
        "classes": len(source.classes),
        "probabilities": probabilities,
        "seconds": seconds,
        "images": images,
    }


def held_out(labels: Tensor) -> Tensor:
    """Return which examples no candidate is trained on: a fifth of each class."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for label in labels.unique():
        rows = (labels == label).nonzero().flatten()
        held[rows[torch.randperm(len(rows), generator=generator)][: round(HELD_OUT * len(rows))]] = True
    return held


def moves(x_s: Tensor, x_t: Tensor) -> dict[str, Tensor]:
    """Return the source as it is and as it is moved onto the target, by how."""
    found = {"": x_s, "moments": match_columns(find_moments([x_s]), find_moments([x_t]))(x_s)}
    if x_s.shape[1] <= MOST_COLUMNS:
        found["coral"] = match_covariances(find_moments([x_s], True), find_moments([x_t], True))(x_s)
    return found


Probabilities = Callable[[Tensor], tuple[Tensor, list[int]]]  # rows → probabilities, and the class of each column


def fitted_linear(x_s: Tensor, y_s: Tensor, x_t: Tensor) -> Probabilities:  # noqa: ARG001
    """Return a logistic regression's probabilities."""
    model = fit_linear(x_s.flatten(1), y_s, strength=0.1, iterations=200)
    classes = [int(label) for label in model.classes_]
    return lambda rows: (torch.from_numpy(model.predict_proba(rows.flatten(1).double().numpy())), classes)


def fitted(x_s: Tensor, y_s: Tensor, x_t: Tensor, method: str, options: Mapping[str, Any]) -> Probabilities:
    """Return a trained network's probabilities; rows are as a network gets them already."""
    kind = "images" if x_s.ndim == 4 else "features"
    names = [f"{label:03d}" for label in y_s.tolist()]
    given = from_arrays(x_s.numpy(), names, "source", kind=kind), from_arrays(x_t.numpy(), None, "target", kind=kind)
    fixed = {"seed": 0, "report": False, "baseline": False, "standardize": "no"}
    model = train(*given, method=method, **{**fixed, **options}).model
    classes = [int(name) for name in model.classes]
    return lambda rows: (model.predict_proba(from_arrays(rows.numpy(), None, "rows", kind=kind)), classes)


def padded(probabilities: Tensor, classes: list[int], count: int) -> Tensor:
    """Return a column for each of the source's classes, 0 for those that were not trained on."""
    whole = torch.zeros(len(probabilities), count)
    whole[:, classes] = probabilities.float()
    return whole


def keep(record: Mapping[str, Any], path: Path) -> None:
    """Write a record as a whole or not at all."""
    unfinished = path.with_suffix(".tmp")
    torch.save(dict(record), unfinished)
    unfinished.replace(path)


def told(record: Mapping[str, Any]) -> str:
    """Return each candidate's target accuracy in percent."""
    known = record["target_labels"] >= 0
    if not known.any():
        return "no labels"
    right = {
        name: (p["target"].argmax(1) == record["target_labels"])[known].double().mean().item()
        for name, p in record["probabilities"].items()
    }
    return ", ".join(f"{name} {100 * share:.1f}" for name, share in right.items())


def _ordered(names: tuple[str, ...]) -> list[Pair]:
    return [(a, b) for a in names for b in names if a != b]


def _apart(names: tuple[str, ...]) -> list[Pair]:
    """Return the pairs of an earlier and a later one."""
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def _in_memory(family: str, name: str, read: Callable[[Path], Any], data: Path) -> Iterator[Task]:
    for source, target in read(data).tasks():
        pair = f"{name}: {source.name} → {target.name}"
        yield Task(family, pair, "natural", lambda s=source, t=target: (s, t))


def _hard(family: str, case: Case, suffix: str = "") -> Task:
    options = {name: value for name, value in case.options.items() if (name, value) != ("backbone", "none")}
    return Task(family, case.name + suffix, case.kind, lambda: (case.source, case.target), options)


def _of_shares(
    family: str,
    reads: Mapping[str, Callable[[], tuple[Domain, Domain]]],
    options: dict[str, Any],
    two_classes: bool = False,
) -> Iterator[Task]:
    """Yield each pair with shares of 10:1, and the first also with classes missing; half of two classes is one."""
    first = next(iter(reads))
    parts: list[tuple[str, str, str, Rows]] = [(name, "10:1", "label shift", falling) for name in reads]
    if not two_classes:
        parts.append((first, "half of the classes missing", "missing classes", half))
    parts.append((first, "one class", "missing classes", largest))
    for name, what, kind, rows in parts:
        yield Task(family, f"{name}, {what}", kind, partial(_left, reads[name], rows), options)


def _named(read: Callable[[], Family], source: str, target: str) -> tuple[Domain, Domain]:
    domains = read().domains
    return domains[source], domains[target]


def _left(read: Callable[[], tuple[Domain, Domain]], rows: Rows) -> tuple[Domain, Domain]:
    source, target = read()
    return source, target.select(np.sort(rows(target.labels.numpy())).tolist())


if __name__ == "__main__":
    main()
