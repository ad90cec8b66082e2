"""What a few target labels are worth for choosing among the models of `auto`, on families left out.

    python benchmarks/few_labels.py --pool POOL

POOL holds a file for each case (`torch.save`), a dictionary with `family`, `source`, `source_labels`, `target`,
`target_labels` (−1 where unknown), and `probabilities`: candidate → {"target": (m, classes)}. Labels are drawn many
times; regret is the best candidate's target accuracy minus the chosen one's, in points. The three constants of the
posterior are chosen for each family on all others.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from jointadapt.diagnostics.label_suggestion import worth_labelling
from jointadapt.selection.few_labels import (
    CHANCE,
    PRIOR_WEIGHT,
    SHARPENING,
    dispute,
    further_labels,
    labels_needed,
    log_posterior,
    of_labels,
)
from jointadapt.selection.models import CAUTIOUS, COMBINATION, UNBALANCED, asks_for_caution, choose_model

AUTO = ("source-only", "mcc", "jan+mcc", "shot", "source-only@moments", "mcc@moments")
NUMBERS, DRAWS, FEWEST, JUDGED = (5, 10, 20, 50), 100, 40, 20
GRID = [
    (sharpening, chance, weight)
    for sharpening in (2.0, 4.0, 8.0)
    for chance in (0.3, 0.5, 0.7)
    for weight in (2.0, 5.0, 10.0)
]
Constants = tuple[float, float, float]
STEPS = torch.linspace(0, 1, 6)


@dataclass(frozen=True)
class Case:
    """A case as the judges see it: k candidates, m target rows whose labels are known.

    `right` are for each sharpening the probabilities (k, m) of the true class, `correct` (k, m) whether it is
    predicted, `predicted` (k, m), `scores` (k,) those found without labels,
    `unasked` the candidate that is chosen by them, `suggested` what `suggest-labels` names.
    """

    family: str
    right: dict[float, Tensor]
    correct: Tensor
    predicted: Tensor
    scores: Tensor
    unasked: int
    classes: int
    suggested: Tensor

    @property
    def accuracy(self) -> Tensor:
        """Target accuracies (k,) in percent."""
        return 100 * self.correct.double().mean(1)

    def regret(self, chosen: Tensor) -> Tensor:
        """Return the regret of chosen candidates, by their indices."""
        return self.accuracy.max() - self.accuracy[chosen]


def read_case(path: Path, names: Sequence[str] = AUTO) -> Case | None:
    """Return a case of the pool; None where the target has hardly a known label."""
    found = torch.load(path, weights_only=False)
    known = found["target_labels"] >= 0
    if known.sum() < FEWEST:
        return None
    labels, target = found["target_labels"][known], found["target"].flatten(1)
    own = {name: found["probabilities"][name]["target"].double() for name in names if name in found["probabilities"]}
    own[COMBINATION] = torch.stack([*own.values()]).mean(0)
    if asks_for_caution({name: each.argmax(1) for name, each in own.items()}):
        own[CAUTIOUS] = torch.stack([own[name] for name in UNBALANCED]).mean(0)
    classes = {name: each.argmax(1) for name, each in own.items()}
    choice = choose_model(found["source"].flatten(1), found["source_labels"], target, classes)
    probabilities = torch.stack([*own.values()])[:, known]
    predicted = probabilities.argmax(2)
    suggested = torch.tensor(worth_labelling(target[known], probabilities.mean(0), JUDGED))
    return Case(
        found["family"],
        {
            power: torch.stack([of_labels(each, labels, power) for each in probabilities])
            for power in {triple[0] for triple in GRID}
        },
        predicted == labels,
        predicted,
        torch.tensor([choice.scores[name].total() for name in own], dtype=torch.float64),
        [*own].index(choice.chosen),
        probabilities.shape[2],
        suggested,
    )


def draw(case: Case, number: int, disputed: bool) -> Tensor:
    """Return rows to label (draws, number), at random, or in proportion to the candidates' disagreement."""
    chances = (dispute([*case.predicted]) + 1e-6).log() if disputed else torch.zeros(case.correct.shape[1])
    uniform = torch.rand(DRAWS, len(chances), generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    return (chances - (-uniform.log()).log()).topk(min(number, len(chances) // 2)).indices


def by_accuracy(case: Case, rows: Tensor) -> Tensor:
    """Return the candidates of highest accuracy on the labelled rows; the score found without labels parts ties."""
    return (case.correct[:, rows].double().sum(2).T + 1e-3 * case.scores).argmax(1)


def posterior(case: Case, rows: Tensor, constants: Constants = (SHARPENING, CHANCE, PRIOR_WEIGHT)) -> Tensor:
    """Return log posteriors (draws, k) by the labelled rows."""
    sharpening, *others = constants
    return log_posterior(case.right[sharpening][:, rows].movedim(0, 1), case.classes, case.scores, *others)


def in_rounds(case: Case, number: int, rounds: int, constants: Constants) -> Tensor:
    """Return the chosen candidates if the labels come in rounds, each asked for by the posterior of those before."""
    chosen, generator = [], torch.Generator().manual_seed(number)
    for _ in range(DRAWS // 4):
        rows, weights = torch.empty(0, dtype=torch.long), None
        for _ in range(rounds):
            chances = (dispute([*case.predicted], weights) + 1e-6).log()
            chances[rows] = -torch.inf
            uniform = torch.rand(len(chances), generator=generator, dtype=torch.float64)
            asked = (chances - (-uniform.log()).log()).topk(min(number // rounds, len(chances) // 4)).indices
            rows = torch.cat([rows, asked])
            weights = posterior(case, rows[None], constants)[0].softmax(0).tolist()
        chosen.append(int(torch.tensor(weights).argmax()))
    return torch.tensor(chosen)


def choose_constants(cases: Sequence[Case]) -> dict[str, Constants]:
    """Return for each family the constants of least mean regret with 10, 20 and 50 labels on all other families."""
    found = []
    for case in cases:
        drawn = [draw(case, number, disputed) for number in (10, 20, 50) for disputed in (False, True)]
        found.append([mean(case.regret(posterior(case, r, c).argmax(1)).mean().item() for r in drawn) for c in GRID])
    regrets, families = torch.tensor(found), [case.family for case in cases]
    return {
        family: GRID[int(regrets[[other != family for other in families]].mean(0).argmin())]
        for family in dict.fromkeys(families)
    }


def print_table(title: Sequence[str], families: dict[str, list[list[float]]]) -> None:
    """Print the mean of each column by family, and of all cases."""
    print("| family | cases | " + " | ".join(title) + " |\n|:---|---:|" + "---:|" * len(title))
    rows = {**families, "all": [row for each in families.values() for row in each]}
    for family, values in rows.items():
        numbers = (f"{mean(column):.2f}" for column in zip(*values, strict=True))
        print(f"| {family} | {len(values)} | " + " | ".join(numbers) + " |")
    print("| largest | | " + " | ".join(f"{max(column):.1f}" for column in zip(*rows["all"], strict=True)) + " |\n")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True, help="Folder of cases.")
    options = parser.parse_args()
    found = (read_case(path) for path in sorted(options.pool.glob("*.pt")))
    cases = [case for case in found if case is not None]
    own = choose_constants(cases)
    print(
        "Chosen on the other families, sharpening, ε, λ:",
        ", ".join(f"{name} {pair}" for name, pair in own.items()),
        "\n",
    )
    print_table(("without labels", *JUDGES), by_family(cases, lambda case: regrets(case, JUDGED, own[case.family])))
    for number in NUMBERS:
        print(f"{number} labels:\n")
        print_table(tuple(JUDGES)[:4], by_family(cases, lambda case, n=number: regrets(case, n, own[case.family])[1:5]))
    print_reliability(cases, own)
    print_further(cases)


JUDGES = (
    "accuracy, random",
    "posterior, random",
    "accuracy, disputed",
    "posterior, disputed",
    "posterior, suggested",
    "posterior, disputed in 2 rounds",
)


def by_family(cases: Sequence[Case], measure: Callable[[Case], list[float]]) -> dict[str, list[list[float]]]:
    """Return the measurements of each family's cases."""
    found: dict[str, list[list[float]]] = defaultdict(list)
    for case in cases:
        found[case.family].append(measure(case))
    return found


def regrets(case: Case, number: int, constants: Constants) -> list[float]:
    """Return the regret of the choice without labels, the mean regret by each of `JUDGES`."""
    chosen = [torch.tensor([case.unasked])]
    for disputed in (False, True):
        rows = draw(case, number, disputed)
        chosen += [by_accuracy(case, rows), posterior(case, rows, constants).argmax(1)]
    chosen.append(posterior(case, case.suggested[None, :number], constants).argmax(1))
    chosen.append(in_rounds(case, number, 2, constants))
    return [case.regret(each).mean().item() for each in chosen]


def print_reliability(cases: Sequence[Case], own: dict[str, Constants]) -> None:
    """Print how often the chosen candidate is the best, or within a point of it, by its posterior."""
    print(f"Posterior of the chosen, {JUDGED} labels: how often it is the best, and within 1 point of it.\n")
    print(
        "| labels | posterior | choices | mean posterior | the best | within 1 point |\n|:---|:---|---:|---:|---:|---:|"
    )
    for name, disputed in (("random", False), ("disputed", True)):
        sure, regret = [], []
        for case in cases:
            values, chosen = posterior(case, draw(case, JUDGED, disputed), own[case.family]).softmax(1).max(1)
            sure.append(values)
            regret.append(case.regret(chosen))
        sure, regret = torch.cat(sure), torch.cat(regret)
        for low, high in pairwise(STEPS.tolist()):
            of = (sure >= low) & (sure < high + 1e-9 * (high == 1))
            if of.any():
                shares = [100 * (regret[of] <= most).double().mean() for most in (0, 1)]
                numbers = f"{of.sum()} | {sure[of].mean():.2f} | {shares[0]:.0f} % | {shares[1]:.0f} %"
                print(f"| {name} | {low:.1f} to {high:.1f} | {numbers} |")


def print_further(cases: Sequence[Case]) -> None:
    """Print the number of labels said to be needed in all, against what the true rates ask for."""
    ratios, drawn = [], 0
    for case in cases:
        for rows in draw(case, JUDGED, True)[: DRAWS // 5]:
            pair = posterior(case, rows[None])[0].topk(2).indices
            apart = case.predicted[pair[0]] != case.predicted[pair[1]]
            wins, losses = (case.correct[pair] & apart).double()
            asked = int(apart[rows].sum())
            won, lost = int(wins[rows].sum()), int(losses[rows].sum())
            guess = further_labels(won, lost, asked - won - lost)
            drawn += 1
            if apart.any():
                truth = labels_needed(*((each.sum() / apart.sum()).item() for each in (wins + losses, wins - losses)))
                if guess is not None and truth is not None:
                    ratios.append((guess + asked) / truth)
    quartiles = torch.tensor(ratios).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    print(f"\nLabels in all to tell the two best apart, said ÷ true, in {len(ratios)} of {drawn} draws (both known):")
    print("quartiles " + ", ".join(f"{value:.2f}" for value in quartiles))


if __name__ == "__main__":
    main()
