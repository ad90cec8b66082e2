"""How well the target accuracy of adapted models is estimated without target labels, on families that were left out.

    python benchmarks/accuracy_estimates.py --pool DIR [--parts FILE] [--plot docs/images/accuracy-estimates.png]

The pool holds a file `.pt` for each case: a dictionary with `family`, `case`, `kind`, `source` (n, d),
`source_labels` (n,), `held` (n,) bool, `target` (m, d), `target_labels` (m,), −1 unknown, `classes`, and
`probabilities`: model → {"held": (h, c), "target": (m, c)}; `benchmarks/pool.py` writes it. The parts of the
estimates are measured once, and kept in FILE (JSON).

Beside the pool's models their combination, the mean of their probabilities, is judged: it is what `auto` mostly uses.

Constants are fitted on all families but one, and judged on that one: the tables are of left-out families only. Families
weigh alike, and of a family all models of all its cases. Three situations are told apart: `auto` knows all other
models of a case; a single run knows three others (source-only, mcc, jan+mcc); a table of probabilities none.

Prints the constants fitted on all families, as `combination.py` has them.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from jointadapt.config import BASELINE
from jointadapt.diagnostics.accuracy.combination import ALONE, WITH_OTHERS, Fitted, Parts, Rows, combine, measure
from jointadapt.diagnostics.accuracy.estimators import accuracy_of, agreement
from jointadapt.experiment.estimate import WITNESSES
from jointadapt.selection.models import COMBINATION

AUTO, RUN, TABLE = "auto", "a run", "a table"
FEWEST_KNOWN = 20  # labelled target examples, by which an estimate is judged
WEIGHTS = np.linspace(0, 1, 21)
MISSED = 0.05  # of the truths at each end of the interval
INVISIBLE = "labels swapped"  # on equal examples: the estimate assumes that this does not happen
MOST_COLUMNS = 200


@dataclass(frozen=True)
class Judged:
    """One model of a case in one situation: its parts, and its true target accuracy, a fraction (None: unknown)."""

    family: str
    case: str
    kind: str
    model: str
    situation: str
    parts: Parts
    held: int
    target: int
    truth: float | None

    @property
    def told(self) -> bool:
        """Whether an estimate is given."""
        return combine(self.parts, self.held, self.target).told


def judged(file: Path) -> Iterator[Judged]:
    """Yield every model of a case in every situation."""
    found = torch.load(file, weights_only=False)
    labels, held, truth = found["source_labels"], found["held"], found["target_labels"]
    source, target = found["source"].flatten(1).double(), found["target"].flatten(1).double()
    if source.shape[1] > MOST_COLUMNS:  # distances between class means stay much the same on principal components
        directions = torch.pca_lowrank(torch.cat([source, target]), q=MOST_COLUMNS // 2)[2]
        source, target = source @ directions, target @ directions
    rows, known = Rows(source, labels, target), truth >= 0
    models = found["probabilities"]
    predicted = {name: p["target"].argmax(1) for name, p in models.items()}
    plain = accuracy_of(models[BASELINE]["held"], labels[held]) if BASELINE in models else 0.0
    together = {part: torch.stack([p[part] for p in models.values()]).mean(0) for part in ("held", "target")}
    about = {name: found[name] for name in ("family", "case", "kind")}
    for name, p in {**models, COMBINATION: together}.items():
        classes = p["target"].argmax(1)
        whole = measure(p["held"], labels[held], p["target"], (), rows)
        right = (classes == truth)[known].double().mean().item() if known.sum() >= FEWEST_KNOWN else None
        for situation, names in ((AUTO, predicted), (RUN, WITNESSES), (TABLE, ())):
            others = [predicted[other] for other in names if other != name and other in predicted]
            parts = whole._replace(geometry=None)
            if others:
                best = max(whole.source_accuracy, plain)
                parts = whole._replace(agreement=agreement(classes, *others), source_accuracy=best)
            yield Judged(
                **about,
                model=name,
                situation=situation,
                parts=parts,
                held=int(held.sum()),
                target=len(target),
                truth=right,
            )


def read_all(pool: Path, kept: Path | None) -> list[Judged]:
    """Return all of a pool, from the file of parts as far as they are there."""
    seen: dict[str, list[Any]] = json.loads(kept.read_text("utf-8")) if kept and kept.exists() else {}
    for file in sorted(pool.glob("*.pt")):
        if file.name not in seen:
            seen[file.name] = [vars(row) for row in judged(file)]
            if kept:
                kept.write_text(json.dumps(seen), "utf-8")
    return [Judged(**{**row, "parts": Parts(*row["parts"])}) for rows in seen.values() for row in rows]


# Fitting


def weights_of(rows: Sequence[Judged]) -> np.ndarray:
    """Return weights by which families count alike."""
    families = [row.family for row in rows]
    weights = np.array([1 / families.count(family) for family in families])
    return weights / weights.sum()


def fit(rows: Sequence[Judged], alone: bool) -> Fitted:
    """Return the constants that suit rows of several families: the weight of least error, and an interval that holds.

    The interval's ends are quantiles of the errors that are made on each family by the weight of the others.
    """
    weight = 0.0 if alone else least_error(rows)
    errors, weights = scaled_errors(rows, alone), weights_of(rows)
    below, above = (-quantile(errors, weights, MISSED), quantile(errors, weights, 1 - MISSED))
    return Fitted(weight=weight, below=round(max(below, 0.0), 2), above=round(max(above, 0.0), 2))


def least_error(rows: Sequence[Judged]) -> float:
    """Return the weight of agreement · accuracy_s with the least mean absolute error."""
    weights, truths = weights_of(rows), np.array([row.truth for row in rows])

    def error(weight: float) -> float:
        fitted = Fitted(weight, 0, 0)
        return float(weights @ np.abs(np.array([fitted.value(row.parts) for row in rows]) - truths))

    return float(min(WEIGHTS, key=error))


def scaled_errors(rows: Sequence[Judged], alone: bool) -> np.ndarray:
    """Return (truth − value) / s(value) of each row, the value by a weight that its own family had no part in."""
    errors = np.zeros(len(rows))
    for family in {row.family for row in rows}:
        rest = [row for row in rows if row.family != family]
        fitted = Fitted(0.0 if alone or not rest else least_error(rest), 0, 0)
        for place, row in enumerate(rows):
            if row.family == family:
                value = fitted.value(row.parts)
                errors[place] = (row.truth - value) / (fitted.floor + 1 - value)
    return errors


def quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    """Return the weighted quantile of values."""
    order = values.argsort()
    return float(values[order][np.searchsorted(weights[order].cumsum(), level).clip(0, len(values) - 1)])


# Judging


@dataclass(frozen=True)
class Answer:
    """What constants of the other families say of a model."""

    row: Judged
    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """The absolute error in points."""
        return 100 * abs(self.value - self.row.truth)

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth, rounded as it is printed."""
        return self.low - 5e-4 <= self.row.truth <= self.high + 5e-4


def left_out(rows: Sequence[Judged]) -> list[Answer]:
    """Return what is said of each row by constants that were fitted without its family; of those that are told."""
    alone, found = rows[0].situation == TABLE, []
    for family in dict.fromkeys(row.family for row in rows):
        fitted = fit([row for row in rows if row.family != family and row.told], alone)
        for row in rows:
            if row.family == family:
                value = fitted.value(row.parts)
                found.append(Answer(row, value, *fitted.interval(value)))
    return found


SINGLE = {
    "source accuracy": lambda parts: parts.source_accuracy,
    "confidence": lambda parts: parts.confidence,
    "ATC": lambda parts: parts.thresholded,
    "DoC": lambda parts: parts.difference,
    "COT": lambda parts: parts.transport,
    "agreement": lambda parts: parts.agreement,
    "agreement × source accuracy": lambda parts: parts.agreement * parts.source_accuracy,
}


def table(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the lines of a table: a family that was left out in each, of the models whose accuracy can be told."""
    single = [name for name in SINGLE if "agreement" not in name or answers[0].row.parts.agreement is not None]
    names = ["left out", "cases", "models", "told", *single, "combined", "covered", "width"]
    yield f"| {' | '.join(names)} |"
    yield "|:---|" + "---:|" * (len(names) - 1)
    lines = []
    for family in sorted({answer.row.family for answer in answers}):
        own = [answer for answer in answers if answer.row.family == family]
        told = [answer for answer in own if answer.row.told]
        errors = [mean(100 * abs(SINGLE[n](a.row.parts) - a.row.truth) for a in told) for n in single]
        share = 100 * len(told) / len(own)
        lines.append(
            [
                len({a.row.case for a in own}),
                len(own),
                share,
                *errors,
                mean(a.error for a in told),
                100 * mean(a.covered for a in told),
                mean(100 * (a.high - a.low) for a in told),
            ]
        )
        yield line(family, lines[-1])
    sums = [sum(column) for column in zip(*lines, strict=True)][:2]
    yield line("mean of the families", [*sums, *(mean(column) for column in [*zip(*lines, strict=True)][2:])])


def line(name: str, values: Sequence[float]) -> str:
    """Return a line of the table: two counts, then percentages."""
    cells = [f"{value:.0f}" for value in values[:3]] + [f"{value:.1f}" for value in values[3:-2]]
    return f"| {name} | {' | '.join([*cells, *(f'{value:.0f}' for value in values[-2:])])} |"


def kinds(answers: Iterable[Answer]) -> Iterator[str]:
    """Yield the lines of a table of the kinds of cases: how many are told, the error of those and of the rest."""
    yield "| kind | models | told | error of the told | of the others, had it been told |"
    yield "|:---|" + "---:|" * 4
    answers = list(answers)
    for kind in sorted({answer.row.kind for answer in answers}):
        own = [answer for answer in answers if answer.row.kind == kind]
        parts = [[a.error for a in own if a.row.told is told] for told in (True, False)]
        shown = [f"{mean(errors):.1f}" if errors else "–" for errors in parts]
        yield f"| {kind} | {len(own)} | {100 * len(parts[0]) / len(own):.0f} % | {' | '.join(shown)} |"


def plot(answers: Sequence[Answer], path: Path) -> None:
    """Draw estimated against true accuracies, a colour a family; crosses where nothing was told."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 6.4), layout="constrained")
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, zorder=0)
    families = sorted({answer.row.family for answer in answers})
    colours = pyplot.get_cmap("tab10")
    for place, family in enumerate(families):
        for told, style in (
            (True, {"marker": "o", "s": 14, "alpha": 0.7}),
            (False, {"marker": "x", "s": 14, "alpha": 0.5}),
        ):
            own = [answer for answer in answers if answer.row.family == family and answer.row.told is told]
            label = {"label": family} if told else {}
            points = [[100 * answer.row.truth for answer in own], [100 * answer.value for answer in own]]
            axes.scatter(*points, color=colours(place), linewidths=0.8, **style, **label)
    axes.set(
        xlabel="true target accuracy (%)", ylabel="estimated without target labels (%)", xlim=(0, 101), ylim=(0, 101)
    )
    axes.set_title("Each family by constants of the others; ×: cannot be told", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--parts", type=Path, help="where the parts of the estimates are kept")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    rows = read_all(arguments.pool, arguments.parts)
    for situation in (AUTO, RUN, TABLE):
        own = [row for row in rows if row.situation == situation]
        known = [row for row in own if row.truth is not None and INVISIBLE not in row.case]
        answers = left_out(known)
        print(f"\n## {situation}: mean absolute error of the told in points; coverage and width of the interval\n")
        print("\n".join(table(answers)), "\n")
        print("\n".join(kinds(answers)), "\n")
        for what, of_kind in (("pure noise", "noise"), ("too few examples to judge by", "few examples")):
            some = [row for row in own if row.kind == of_kind and row.truth is None]
            print(f"{what}: {sum(row.told for row in some)} of {len(some)} models told")
        swapped = [row for row in own if INVISIBLE in row.case and row.truth is not None]
        if swapped:
            shown = mean(combine(row.parts, row.held, row.target).assumed for row in swapped)
            print(
                f"{INVISIBLE}, in no table: {shown:.0f} % expected, {100 * mean(r.truth for r in swapped):.0f} % true\n"
            )
        print(f"on all families: {fit([row for row in known if row.told], situation == TABLE)}")
        if situation == AUTO and arguments.plot:
            plot(answers, arguments.plot)
    print(f"\nin use: {WITH_OTHERS}, {ALONE}")


if __name__ == "__main__":
    main()
