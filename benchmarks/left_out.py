"""What `auto` gets on families of data that none of its constants was chosen on, beside other ways of choosing.

    python benchmarks/pool.py --data DIR --pool DIR
    python benchmarks/left_out.py --pool DIR

Prints Markdown tables, target accuracies in percent. For each family the constants of `Rule` are chosen on the other
families, the medians of the best of a random part of a grid, and judged on it. A family weighs the same however many
cases it has; cases without target labels cannot be judged, and are left out. "Harmed": worse than source-only by more
than the noise, two binomial standard errors of the paired difference, 2 · 100 √(d / m), d the share of the m examples
where the two differ.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from judges import MEANS, MEMBERS, Judged, judged_pool
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jointadapt.config import BASELINE
from jointadapt.experiment.candidates import CORRECTED, TOO_LITTLE, UNTRAINED
from jointadapt.selection.models import CAUTIOUS, COMBINATION, RULE, Rule, asks_for_caution, choose_by_scores

OLD = ("mcc", "jan+mcc", "im")  # the candidates of the rule before
TARGETS = (BASELINE, *OLD)  # to the best of which the targets' regret is counted
GRID = {
    "geometry_weight": (0.0, 0.1, 0.2, 0.4),
    "clearly": (0.05, 0.1, 0.15, 0.2),
    "matched": (0.0, 0.6, 0.8),
    "mismatched": (-0.8, -0.6, -0.4, -0.2),
    "parted": (0.02, 0.05, 0.1),
    "agreement": (0.4, 0.5, 0.6),
    "lost": (0.05, 0.1, 0.2),
    "moved": (0.05, 0.1, 0.15),
}
TRIED, BEST = 1_000, 50  # points of the grid, and of them those whose middle is taken
HARM = 3.0  # what a point of harm beyond the noise counts for against a point of gain

Chooser = Callable[[Judged], str]


def main() -> None:
    """Judge, search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    everything = list(judged_pool(arguments.pool))
    cases = [case for case in everything if case.accuracy is not None]
    families = sorted({case.family for case in cases})
    print(f"{len(everything)} cases of {len(families)} families, {len(cases)} with target labels\n")
    worths = {
        family: [worth_of([case for case in cases if case.family == family], Rule(*point)) for point in points()]
        for family in families
    }
    rules, first = (chosen_rules(worths, best) for best in (BEST, 1))
    choosers = choices(cases, families, rules, first)
    print_families(cases, families, choosers)
    print_singles(cases, families, choosers)
    print_choosers(cases, families, choosers)
    print_rehearsal(cases)
    print_rules(rules)
    print_cases(cases, choosers)
    print(f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} thread, torch {torch.__version__}")


def auto(case: Judged, rule: Rule = RULE) -> str:
    """Return what `auto` uses."""
    if case.diagnosis in UNTRAINED:
        return BASELINE
    if CORRECTED in case.scores:
        return choose_by_scores(BASELINE, [CORRECTED], case.scores, rule)[0]
    candidates = [*members(case), COMBINATION]
    if asks_for_caution(case.predicted, rule):
        candidates.append(CAUTIOUS)
    return choose_by_scores(BASELINE, candidates, case.scores, rule)[0]


def old_rule(case: Judged) -> str:
    """Return what `auto` used before: the best of three by neighbours + 0.2 · geometry, by two standard errors."""
    matched = [name for name in OLD if case.scores[name].geometry >= 0.6]
    if case.diagnosis in TOO_LITTLE or not matched:  # it did not ask whether the target holds one class
        return BASELINE
    best = max(matched, key=lambda name: case.scores[name].total())
    clear = case.scores[best].total() - case.scores[BASELINE].total() > 2 * case.errors[best]
    return best if clear else BASELINE


def points() -> list[tuple[float, ...]]:
    """Return the points of the grid that are tried."""
    grid = list(product(*GRID.values()))
    return [grid[i] for i in np.random.default_rng(0).choice(len(grid), TRIED, replace=False)]


def chosen_rules(worths: Mapping[str, Sequence[float]], best: int = BEST) -> dict[str, Rule]:
    """Return for each family the constants that are best on the others: the medians of the best points of the grid.

    `worths`: family → the mean worth of each point.
    """
    tried, found = points(), {}
    every = np.sum(list(worths.values()), 0)
    for family, own in worths.items():
        order = np.argsort(own - every, kind="stable")[:best]
        found[family] = Rule(*(sorted(values)[best // 2] for values in zip(*(tried[i] for i in order), strict=True)))
    return found


def worth_of(cases: Sequence[Judged], rule: Rule) -> float:
    """Return the mean worth of what `auto` uses."""
    return mean(worth(case, auto(case, rule)) for case in cases)


def worth(case: Judged, chosen: str) -> float:
    """Return the points gained over source-only, harm beyond the noise counting for more."""
    gain = accuracy(case, chosen) - accuracy(case, BASELINE)
    return gain - HARM * max(0.0, -gain - case.noise(chosen))


def choices(
    cases: Sequence[Judged], families: Sequence[str], rules: Mapping[str, Rule], first: Mapping[str, Rule]
) -> dict[str, list[str]]:
    """Return for each way of choosing the model that it takes of each case."""
    choosers: dict[str, Chooser] = {"auto, constants left out": lambda case: auto(case, rules[case.family])}
    choosers["auto, the one best point of the grid left out"] = lambda case: auto(case, first[case.family])
    choosers["auto as shipped"] = auto
    choosers["auto before: the best of mcc, jan+mcc, im, if clearly better"] = old_rule
    singles = dict.fromkeys(name for case in cases for name in case.criteria["entropy"])
    choosers |= {f"always {name}": partial(always, name=name) for name in (*singles, *MEANS)}
    choosers |= {
        "neighbours": partial(highest, value=lambda case, name: case.scores[name].neighbours),
        "neighbours beyond chance": partial(highest, value=lambda case, name: case.scores[name].beyond_chance),
        "geometry": partial(highest, value=lambda case, name: case.scores[name].geometry),
        "neighbours + 0.2 geometry": partial(highest, value=lambda case, name: case.scores[name].total()),
    }
    choosers |= {
        name: partial(highest, value=lambda case, model, name=name: case.criteria[name][model])
        for name in cases[0].criteria
    }
    choosers["rehearsal: mcc, moved where moving gained"] = rehearsed
    choosers["the best single model in hindsight"] = lambda case: max(
        case.criteria["entropy"], key=lambda name: accuracy(case, name)
    )
    found = {name: [chooser(case) for case in cases] for name, chooser in choosers.items()}
    return found | {name: learned(cases, families, name) for name in ("learned: ridge", "learned: trees")}


def always(case: Judged, name: str) -> str:
    """Return the model, or source-only where it is not in the pool: images are not moved."""
    return name if name in case.scores else BASELINE


def highest(case: Judged, value: Callable[[Judged, str], float]) -> str:
    """Return the member of auto's pool of which a criterion is highest."""
    return max((name for name in MEMBERS if name in case.scores), key=lambda name: value(case, name))


def rehearsed(case: Judged) -> str:
    """Return MCC, on the moved source where moving it gained in the rehearsal."""
    return always(case, "mcc@moments") if case.gain > 0 and "mcc@moments" in case.scores else "mcc"


def learned(cases: Sequence[Judged], families: Sequence[str], how: str) -> list[str]:
    """Return what a regression of the gain on all criteria, fitted to the other families, takes."""
    found: dict[int, str] = {}
    for family in families:
        rest = [case for case in cases if case.family != family]
        pairs = [(case, name) for case in rest for name in members(case)]
        x = [differences(case, name) for case, name in pairs]
        y = [float(np.clip(accuracy(case, name) - accuracy(case, BASELINE), -40, 40)) for case, name in pairs]
        sizes = {each: sum(case.family == each for case in rest) for each in families}
        weights = [1 / sizes[case.family] for case, _ in pairs]
        if how == "learned: ridge":
            model = make_pipeline(StandardScaler(), Ridge(30 * mean(weights))).fit(x, y, ridge__sample_weight=weights)
        else:
            model = ExtraTreesRegressor(300, min_samples_leaf=5, max_features=0.5, random_state=0)
            model.fit(x, y, sample_weight=weights)
        for i, case in enumerate(cases):
            if case.family == family:
                names = members(case)
                gains = model.predict([differences(case, name) for name in names])
                found[i] = names[int(gains.argmax())] if gains.max() > 0 else BASELINE
    return [found[i] for i in range(len(cases))]


def members(case: Judged) -> list[str]:
    """Return the candidates of auto beside source-only."""
    return [name for name in MEMBERS[1:] if name in case.scores]


def differences(case: Judged, name: str) -> list[float]:
    """Return how much higher each criterion is for a model than for source-only."""
    values = [of[name] - of[BASELINE] for of in case.criteria.values()]
    mine, plain = vars(case.scores[name]), vars(case.scores[BASELINE])
    return [*values, *(mine[each] - plain[each] for each in mine)]


def accuracy(case: Judged, name: str) -> float:
    """Return a model's target accuracy in percent."""
    assert case.accuracy is not None
    return case.accuracy[name]


def regret(case: Judged, chosen: str, among: Iterable[str]) -> float:
    """Return the points below the best of some models; 0 where the chosen one, which need not be one, is above."""
    return max(0.0, max(accuracy(case, name) for name in among) - accuracy(case, chosen))


def harmed(case: Judged, chosen: str) -> bool:
    """Return whether the chosen model is worse than source-only by more than the noise."""
    return accuracy(case, chosen) < accuracy(case, BASELINE) - case.noise(chosen) - 1e-9


def summed(cases: Sequence[Judged], chosen: Sequence[str]) -> list[str]:
    """Return the cells: accuracy, mean regret and the largest, of the targets and of the pool, and how many harmed."""
    pairs = list(zip(cases, chosen, strict=True))
    four = [regret(case, name, TARGETS) for case, name in pairs]
    pool = [regret(case, name, case.criteria["entropy"]) for case, name in pairs]
    harm = sum(harmed(case, name) for case, name in pairs)
    numbers = (mean(accuracy(case, name) for case, name in pairs), mean(four), max(four), mean(pool), max(pool))
    return [*(f"{number:.1f}" for number in numbers), str(harm)]


def averaged(cases: Sequence[Judged], families: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """Return the same cells of all families: means of the families' means, the largest, the sum of those harmed."""
    rows = []
    for family in families:
        own = [i for i, case in enumerate(cases) if case.family == family]
        rows.append(summed([cases[i] for i in own], [chosen[i] for i in own]))
    columns = list(zip(*rows, strict=True))
    joined = [mean, mean, max, mean, max]
    cells = [f"{join(map(float, column)):.1f}" for join, column in zip(joined, columns, strict=False)]
    return [*cells, str(sum(map(int, columns[-1])))]


def print_families(cases: Sequence[Judged], families: Sequence[str], choosers: Mapping[str, list[str]]) -> None:
    """Print each family's accuracies, and auto's regret."""
    shown = {
        "source-only": f"always {BASELINE}",
        "mcc": "always mcc",
        "auto before": "auto before: the best of mcc, jan+mcc, im, if clearly better",
        "auto, as shipped": "auto as shipped",
        "auto": "auto, constants left out",
        "best single": "the best single model in hindsight",
    }
    print(f"| family | cases | {' | '.join(shown)} | regret | largest | to the pool's best | largest | harmed |")
    print(f"|:---|---:|{'---:|' * (len(shown) + 5)}")
    for family in families:
        own = [i for i, case in enumerate(cases) if case.family == family]
        of = {name: summed([cases[i] for i in own], [choosers[way][i] for i in own]) for name, way in shown.items()}
        cells = [cell[0] for cell in of.values()]
        print(f"| {' | '.join([family, str(len(own)), *cells, *of['auto'][1:]])} |")
    of = {name: averaged(cases, families, choosers[way]) for name, way in shown.items()}
    print(f"| {' | '.join(['mean', str(len(cases)), *(cell[0] for cell in of.values()), *of['auto'][1:]])} |\n")


def print_singles(cases: Sequence[Judged], families: Sequence[str], choosers: Mapping[str, list[str]]) -> None:
    """Print each family's mean accuracy by one model everywhere, and by auto."""
    names = ["auto, constants left out", *(name for name in choosers if name.startswith("always"))]
    heads = ["auto", *(name.removeprefix("always ") for name in names[1:])]
    print(f"| family | {' | '.join(heads)} |\n|:---|{'---:|' * len(names)}")
    for family in families:
        own = [i for i, case in enumerate(cases) if case.family == family]
        means = [mean(accuracy(cases[i], choosers[name][i]) for i in own) for name in names]
        print(f"| {family} | {' | '.join(f'{value:.1f}' for value in means)} |")
    print()


def print_choosers(cases: Sequence[Judged], families: Sequence[str], choosers: Mapping[str, list[str]]) -> None:
    """Print every way of choosing, the mean of the families."""
    print("| used | accuracy | regret | largest | to the pool's best | largest | harmed |\n|:---|" + "---:|" * 6)
    for name, chosen in choosers.items():
        print(f"| {' | '.join([name, *averaged(cases, families, chosen)])} |")


def print_rehearsal(cases: Sequence[Judged]) -> None:
    """Print how well the rehearsal foretells what moving the source gains."""
    cases = [case for case in cases if "logistic@moments" in case.scores]
    foretold = np.array([case.gain for case in cases])
    gained = np.array([accuracy(case, "logistic@moments") - accuracy(case, "logistic") for case in cases])
    r = np.corrcoef(foretold, gained)[0, 1] if min(np.ptp(foretold), np.ptp(gained)) > 0 else np.nan
    print(
        f"\nThe rehearsal's gain by moving the source, and logistic regression's own: r = {r:.2f}, {len(cases)} cases\n"
    )


def print_rules(rules: Mapping[str, Rule]) -> None:
    """Print the constants that were chosen without each family, and those of the package."""
    print(f"| left out | {' | '.join(GRID)} |\n|:---|{'---:|' * len(GRID)}")
    for family, rule in {**rules, "none: as shipped": RULE}.items():
        print(f"| {family} | {' | '.join(f'{getattr(rule, name):g}' for name in GRID)} |")


def print_cases(cases: Sequence[Judged], choosers: Mapping[str, list[str]]) -> None:
    """Print auto and its members on every case."""
    shown = [*MEMBERS, COMBINATION]
    head = ["family", "case", *shown, "auto", "gain", "noise", "used"]
    print(f"\n| {' | '.join(head)} |\n|:---|:---|{'---:|' * (len(shown) + 3)}:---|")
    for case, chosen in zip(cases, choosers["auto, constants left out"], strict=True):
        values = [f"{accuracy(case, name):.1f}" if name in case.scores else "–" for name in shown]
        gain = accuracy(case, chosen) - accuracy(case, BASELINE)
        cells = [f"{accuracy(case, chosen):.1f}", f"{gain:+.1f}", f"{case.noise(chosen):.1f}", chosen]
        print(f"| {' | '.join([case.family, case.case, *values, *cells])} |")


if __name__ == "__main__":
    main()
