"""Two domains, the source labelled → what differs between them, as far as that can be seen without target labels."""

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from jointadapt.discrepancy.columns import FILL_NOTE
from jointadapt.discrepancy.domain_classifier import fit_linear
from jointadapt.selection.guard import class_proportions
from jointadapt.two_sample import two_sample_test

MOST_EXAMPLES = 500
FEWEST_PER_CLASS = 2
LEVEL = 0.05
LEAST_DRAWN = 1e-3  # a class with a smaller estimated prior is not drawn
MISSING = 0.1  # of its prior in the source: a class with less is reported as missing


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Args:
        rows: the number of target examples.
        classes: of the source.
        p_value: of the test that source and target examples have one distribution.
        p_value_reweighted: of the same test once the source is resampled to the target's estimated class priors;
            large where label shift alone explains the difference.
        proportions: the estimated prior of each class in the target, in percent; covariate shift misleads it.
        moved: the percentage of examples that would have to change their class to get there from the source's priors.
        missing: how many classes seem to have no more than a tenth of their prior in the source.

    >>> Diagnosis(100, 2, 0.001, 0.4, (90.0, 10.0), 40.0, 0).kind
    'label shift'
    """

    rows: int
    classes: int
    p_value: float
    p_value_reweighted: float
    proportions: tuple[float, ...]
    moved: float
    missing: int

    @property
    def too_few(self) -> bool:
        """Return whether the target has fewer than two examples a class: too few to match a distribution to."""
        return self.rows < FEWEST_PER_CLASS * self.classes

    @property
    def kind(self) -> str:
        """Return "too few examples", "none found", "label shift" (which alone explains it), or "covariate shift"."""
        if self.too_few:
            return "too few examples"
        if self.p_value > LEVEL:
            return "none found"
        return "label shift" if self.p_value_reweighted > LEVEL else "covariate shift"

    def __str__(self) -> str:
        """Return the kind in a sentence, with the numbers that speak for it."""
        match self.kind:
            case "too few examples":
                return (
                    f"{self.rows} target examples for {self.classes} classes: fewer than {FEWEST_PER_CLASS} a class "
                    "are too few to match a distribution to."
                )
            case "none found":
                return f"No shift found between the domains (p = {self.p_value:.2g}): little is to be gained."
            case "label shift":
                missing = f", {self.missing} classes seem to be missing" if self.missing else ""
                return (
                    f"The domains differ (p = {self.p_value:.2g}), and no longer do once the source is "
                    f"resampled to the target's estimated class priors (p = {self.p_value_reweighted:.2g}): label "
                    f"shift, {self.moved:.0f} % of the examples{missing}. Matching the domains would mix the classes."
                )
            case _:
                return (
                    f"The domains differ (p = {self.p_value:.2g}), and label shift alone does not explain it: "
                    "the same class looks different in both (covariate shift)."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and the words, for JSON."""
        return {**asdict(self), "kind": self.kind, "words": str(self)}


def diagnose(source: Tensor, labels: Tensor, target: Tensor, seed: int = 0, groups: Tensor | None = None) -> Diagnosis:
    """Return what differs between labelled source examples (n, …) and target examples (m, …), from 500 of each at most.

    The target's class priors are estimated on one half of its examples, and tested on the other. Label shift: p(y)
    differs and p(x | y) does not. Covariate shift is what the test still sees then. What no method sees without target
    labels is that labels have changed on equal examples. The global random generators are not used. Target examples of
    one of the `groups` (m,), windows of one recording, are in one half.

    >>> x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> diagnose(x[:150], y[:150], x[150:]).kind, diagnose(x[:150], y[:150], x[150:] + 1).kind
    ('none found', 'covariate shift')
    >>> mostly_right = x[150:][(y[150:] == 1) | (torch.arange(150) % 8 == 0)]
    >>> diagnose(x[:150], y[:150], mostly_right).kind
    'label shift'
    """
    generator = torch.Generator().manual_seed(seed)
    classes = int(labels.max()) + 1
    rows = [torch.randperm(len(x), generator=generator)[:MOST_EXAMPLES] for x in (source, target)]
    x_s, y_s, x_t = source.flatten(1)[rows[0]].double(), labels[rows[0]], target.flatten(1)[rows[1]].double()
    if len(target) < FEWEST_PER_CLASS * classes:
        return Diagnosis(len(target), classes, 1.0, 1.0, (), 0.0, 0)
    first = _first_half(torch.arange(len(x_t)) if groups is None else groups[rows[1]])
    held_in, held_out = x_t[first], x_t[~first]
    own = class_proportions(y_s, classes)
    probabilities = linear_probabilities(x_s, y_s, held_in, classes)
    proportions = estimated_priors(probabilities, own)
    drawn = _draw_classes(y_s, proportions, generator)

    def p_value(of: Tensor) -> float:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", f".*{FILL_NOTE}", UserWarning)  # told where data are read
            return two_sample_test(of, held_out, permutations=500, level=LEVEL, generator=generator).p_value

    moved = (proportions - own).abs().sum().item() / 2
    unweighted = p_value(x_s)
    return Diagnosis(
        rows=len(target),
        classes=classes,
        p_value=unweighted,
        p_value_reweighted=p_value(x_s[drawn]) if len(drawn) >= FEWEST_PER_CLASS * classes else unweighted,
        proportions=tuple(100 * prior for prior in proportions.tolist()),
        moved=100 * moved,
        missing=int((proportions < MISSING * own).sum()),
    )


def _first_half(groups: Tensor) -> Tensor:
    """Return which rows, drawn at random, are in the first of two halves: the rows of every other group as they come.

    Where there is one group only, every other row.

    >>> _first_half(torch.tensor([7, 5, 7, 9])).tolist()
    [True, False, True, True]
    """
    names, own = groups.unique(return_inverse=True)
    if len(names) == 1:
        return torch.arange(len(groups)) % 2 == 0
    first = torch.full_like(names, len(own)).scatter_reduce(0, own, torch.arange(len(own)), "amin")
    return (first.argsort().argsort() % 2 == 0)[own]


def estimated_priors(
    probabilities: Tensor, priors: Tensor, iterations: int = 300, start: Tensor | None = None
) -> Tensor:
    """Return the target's class priors (classes,) that make its examples most likely, by expectation maximisation.

        p_i ← p_i · π/π_s, normalised;   π ← mean p_i

    Args:
        probabilities: (m, classes), of target examples, by a classifier trained where the priors are `priors`.
        priors: (classes,), of the source.
        start: what the iteration begins with; None: the source's.

    Right where p(x | y) is the same in both domains. Source: Saerens, Latinne, Decaestecker, Neural Computation 2002.

    >>> p = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    >>> estimated_priors(p, torch.tensor([0.5, 0.5]))
    tensor([0.2500, 0.7500])
    """
    current = priors if start is None else start
    for _ in range(iterations):
        weighted = probabilities * (current / priors.clamp_min(1e-12))
        renewed = (weighted / weighted.sum(1, keepdim=True).clamp_min(1e-12)).mean(0)
        if (renewed - current).abs().max() < 1e-6:
            return renewed
        current = renewed
    return current


def linear_probabilities(x_s: Tensor, y_s: Tensor, x_t: Tensor, classes: int) -> Tensor:
    """Return the probabilities (m, classes) of target examples by a logistic regression on the source."""
    found = torch.zeros(len(x_t), classes, dtype=torch.float64)
    known = y_s.unique()
    if len(known) == 1:
        found[:, known] = 1.0
        return found
    model = fit_linear(x_s, y_s, strength=1.0, iterations=200)
    found[:, known] = torch.from_numpy(model.predict_proba(x_t.numpy()))
    return found


def _draw_classes(labels: Tensor, proportions: Tensor, generator: torch.Generator) -> Tensor:
    """Return the indices of examples whose classes have these proportions, as many as there are, each once."""
    counts = torch.bincount(labels, minlength=len(proportions)).double()
    wanted = proportions > LEAST_DRAWN
    size = (counts / proportions)[wanted].min()
    parts = []
    for c in wanted.nonzero().flatten().tolist():
        rows = (labels == c).nonzero().flatten()
        parts.append(rows[torch.randperm(len(rows), generator=generator)[: round((size * proportions[c]).item())]])
    return torch.cat(parts)
