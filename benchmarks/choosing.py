"""What `--method auto` chooses on the suite of hard cases: helped, harmed or refused, and how far from the best choice.

    python benchmarks/choosing.py --data DIR [--seeds 0,1] [--backbone squeezenet1_0] [--cases PATTERN]

DIR holds digits/, office_caltech/ and weights/. Prints Markdown tables: for every seed each case, in percent of
target rows; of all seeds the sums, and what each criterion would have chosen from the same models. Target labels are
used for these tables only.
"""

import argparse
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from hard_cases import Case, suite
from scipy.stats import spearmanr
from torch import Tensor

from jointadapt import train
from jointadapt.evaluation.metrics import evaluate
from jointadapt.methods.registry import CANDIDATES
from jointadapt.runs.model import Model
from jointadapt.runs.summary import ModelScores

CLEAR = 0.5
NAMES = ("source-only", *CANDIDATES)
ENDS = ("helped", "harmed", "no change", "refused")


@dataclass(frozen=True)
class Outcome:
    """One case: the accuracy of each model in percent, None without labels, and what was chosen."""

    case: Case
    accuracies: list[float] | None
    chosen: int
    kind: str
    criteria: dict[str, list[float]]
    calibration: tuple[float | None, float | None]

    @property
    def gain(self) -> float:
        """Points above source-only."""
        return 0.0 if self.accuracies is None else self.accuracies[self.chosen] - self.accuracies[0]

    @property
    def regret(self) -> float:
        """Points below the best of the models."""
        return 0.0 if self.accuracies is None else max(self.accuracies) - self.accuracies[self.chosen]

    @property
    def verdict(self) -> str:
        """Return helped, harmed or no change, of a model that was adopted; refused where source-only was kept."""
        if self.chosen == 0:
            return "refused"
        return "helped" if self.gain > CLEAR else "harmed" if self.gain < -CLEAR else "no change"


def main() -> None:
    """Run the suite and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="squeezenet1_0")
    parser.add_argument("--seeds", default="0", help="of the cases' rows and of the training, comma-separated")
    parser.add_argument("--cases", default="", help="only cases whose name or kind has this regular expression in it")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    started = time.monotonic()
    outcomes = {}
    for seed in map(int, arguments.seeds.split(",")):
        print(f"Seed {seed}:\n\n| case | kind | {' | '.join(NAMES)} | chosen | gain | regret | | before training |")
        print(f"|:---|:---|{'---:|' * len(NAMES)}:---|---:|---:|:---|:---|")
        outcomes[seed] = []
        for case in suite(arguments.data, arguments.backbone, seed):
            if re.search(arguments.cases, f"{case.name} {case.kind}"):
                outcomes[seed].append(run(case, seed))
                print(row(outcomes[seed][-1]), flush=True)
        print()
    print_seeds(outcomes)
    every = [outcome for of_seed in outcomes.values() for outcome in of_seed]
    print_sums(every)
    print_criteria([outcome for outcome in every if outcome.criteria and outcome.accuracies is not None])
    print(f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} threads, torch {torch.__version__}")


def run(case: Case, seed: int) -> Outcome:
    """Return what auto makes of a case, and what each of its models would have made; those it left out are trained."""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"seed": seed, "report": False, **case.options}
        summary = train(case.source, case.target, method="auto", out=f"{folder}/run", **options).summary
        paths = [Path(folder, "run", "source-only")]
        for name in CANDIDATES:
            paths.append(Path(folder, "run", "candidates", name))
            if not paths[-1].exists():
                train(case.source, case.target, method=name, out=paths[-1], baseline=False, **options)
        rows = case.more or case.target
        models = [Model.load(path) for path in paths]
        found = [accuracy(model, rows) for model in models]
        criteria = {}
        if summary.candidates:
            criteria = judged([model.predict_proba(case.target) for model in models], list(summary.candidates.values()))
    return Outcome(
        case,
        None if None in found else [value for value in found if value is not None],
        NAMES.index(summary.chosen),
        summary.diagnosis.kind,
        criteria,
        (summary.calibration.error_before, summary.calibration.error),
    )


def accuracy(model: Model, rows: Any) -> float | None:
    """Return the percentage of labelled rows that a model gets right."""
    labels = rows.in_classes(model.classes)[0].labels if rows.labelled else rows.labels
    found = evaluate(model.predict_proba(rows).argmax(1), labels, len(model.classes))
    return None if found is None else found.accuracy


def judged(probabilities: list[Tensor], scores: list[ModelScores]) -> dict[str, list[float]]:
    """Return what each criterion says of each model; higher is better."""
    entropies = [torch.special.entr(p).sum(1).mean().item() for p in probabilities]
    diversities = [torch.special.entr(p.mean(0)).sum().item() for p in probabilities]
    ensemble = torch.stack(probabilities).mean(0).argmax(1)
    predicted = [p.argmax(1) for p in probabilities]

    def agreement(a: Tensor, b: Tensor) -> float:
        return (a == b).double().mean().item()

    geometry = [score.geometry for score in scores]
    neighbours = [score.neighbours for score in scores]
    return {
        "entropy": [-h for h in entropies],
        "information maximisation": [d - h for d, h in zip(diversities, entropies, strict=True)],
        "agreement with the mean of the models": [agreement(p, ensemble) for p in predicted],
        "agreement with source-only": [agreement(p, predicted[0]) for p in predicted],
        "neighbours": neighbours,
        "geometry": geometry,
        "neighbours + 0.2 geometry": [n + 0.2 * g for n, g in zip(neighbours, geometry, strict=True)],
    }


def row(outcome: Outcome) -> str:
    """Return one line of the first table."""
    cells = [f"{a:.1f}" for a in outcome.accuracies] if outcome.accuracies else ["–"] * len(NAMES)
    change = [f"{outcome.gain:+.1f}", f"{outcome.regret:.1f}"] if outcome.accuracies else ["–", "–"]
    parts = [
        outcome.case.name,
        outcome.case.kind,
        *cells,
        NAMES[outcome.chosen],
        *change,
        outcome.verdict,
        outcome.kind,
    ]
    return f"| {' | '.join(parts)} |"


def print_seeds(outcomes: Mapping[int, list[Outcome]]) -> None:
    """Print how the cases of each seed ended, and those of all."""
    print(f"| seed | {' | '.join(ENDS)} | source-only | auto | best | mean regret | largest | worst change |")
    print(f"|:---|{'---:|' * (len(ENDS) + 6)}")
    groups = {str(seed): of_seed for seed, of_seed in outcomes.items()}
    for name, group in (groups | {"all": [o for of_seed in outcomes.values() for o in of_seed]}).items():
        counted = [(o, o.accuracies) for o in group if o.accuracies is not None]
        numbers = [
            *(f"{sum(o.verdict == end for o in group)}" for end in ENDS),
            f"{mean(values[0] for _, values in counted):.1f}",
            f"{mean(values[o.chosen] for o, values in counted):.1f}",
            f"{mean(max(values) for _, values in counted):.1f}",
            f"{mean(o.regret for o, _ in counted):.2f}",
            f"{max(o.regret for o, _ in counted):.1f}",
            f"{min(o.gain for o, _ in counted):+.1f}",
        ]
        print(f"| {' | '.join([name, *numbers])} |")


def print_sums(outcomes: list[Outcome]) -> None:
    """Print how many cases ended how, and the mean accuracies and calibration errors of those with labels."""
    counted = [outcome for outcome in outcomes if outcome.accuracies is not None]
    ends = {end: sum(o.verdict == end for o in outcomes) for end in ENDS}
    print(f"\n{len(outcomes)} cases: " + ", ".join(f"{count} {end}" for end, count in ends.items()))
    means = [mean(column) for column in zip(*(o.accuracies or [] for o in counted), strict=True)]
    print(
        "mean accuracy: " + ", ".join(f"{name} {value:.1f}" for name, value in zip(NAMES, means, strict=True)), end=""
    )
    print(f", auto {mean((o.accuracies or [])[o.chosen] for o in counted):.1f}", end="")
    print(f", the best of them each time {mean(max(o.accuracies or []) for o in counted):.1f}")
    errors = [(before, after) for before, after in (o.calibration for o in counted) if before and after]
    before, after = (mean(column) for column in zip(*errors, strict=True))
    changes = [after - before for before, after in errors]
    print(f"mean calibration error {before:.1f} before, {after:.1f} after one temperature; ", end="")
    print(f"smaller by a point in {sum(c < -1 for c in changes)} cases, larger in {sum(c > 1 for c in changes)}\n")


def print_criteria(outcomes: list[Outcome]) -> None:
    """Print what choosing by each criterion alone, source-only among the models, would have given on labelled cases."""
    print("| criterion | rank correlation | mean regret | largest | harmed |\n|:---|---:|---:|---:|---:|")
    choices: dict[str, Callable[[Outcome], int]] = {
        name: lambda o, name=name: int(np.argmax(o.criteria[name])) for name in outcomes[0].criteria
    }
    choices |= {f"always {name}": lambda _, index=index: index for index, name in enumerate(NAMES)}
    choices["auto: neighbours + 0.2 geometry, with refusal"] = lambda o: o.chosen
    for name, choice in choices.items():
        accuracies = [(o.accuracies or [], choice(o)) for o in outcomes]
        regrets = [max(values) - values[index] for values, index in accuracies]
        harmed = sum(values[index] < values[0] - CLEAR for values, index in accuracies)
        rank = "–"
        if name in outcomes[0].criteria:
            pairs = [(o.criteria[name], o.accuracies or []) for o in outcomes]
            rank = (
                f"{mean(spearmanr(*pair).statistic for pair in pairs if all(len(set(part)) > 1 for part in pair)):.2f}"
            )
        print(f"| {name} | {rank} | {mean(regrets):.2f} | {max(regrets):.1f} | {harmed} of {len(outcomes)} |")


if __name__ == "__main__":
    main()
