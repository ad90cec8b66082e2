"""Proxy A-distance: how well a linear classifier tells source features from target features it has not seen.

Near 0 the domains look alike to any linear classifier, near 2 it always tells them apart. It is for reading, beside
MMD: it has no gradient, and a small distance alone does not say that adaptation has matched the classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jointadapt.discrepancy.domain_classifier import fit_linear
from jointadapt.errors import UserError

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
SPLITS = 5
FEWEST_PER_DOMAIN = 12
FEWEST_GROUPS = 3
MOST_PER_DOMAIN = 4_000


@dataclass(frozen=True)
class ADistance:
    """A proxy A-distance with what it takes to believe it.

    Args:
        distance: 2 (1 − 2 ε) of examples held out, the mean over splits; 0: cannot be told apart, 2: always.
        standard_error: of that mean.
        seen: the same number on the examples the classifier was fitted to: near 2 whenever they are few and columns
            many, whether the domains differ or not.
        error: ε, the mean error on examples held out.
        rows: the number of examples of each domain, as many of both.

    >>> x = torch.randn(60, 40, generator=torch.Generator().manual_seed(0))  # one distribution, few rows, many columns
    >>> found = a_distance(x[:30], x[30:])
    >>> found.distance < 0.5 < 1.9 < found.seen
    True
    """

    distance: float
    standard_error: float
    seen: float
    error: float
    rows: int


def a_distance(
    source: Float[Tensor, "n d"],
    target: Float[Tensor, "m d"],
    splits: int = SPLITS,
    groups: tuple[Int[Tensor, " n"] | None, Int[Tensor, " m"] | None] = (None, None),
) -> ADistance:
    """Return the proxy A-distance d_A = 2 (1 − 2 ε), ε the error of a linear classifier on examples it has not seen.

    Three things make the number 2 whatever the domains are, and each is kept out: judging the classifier by what it was
    fitted to (half of each domain is held out); letting it fit noise (the strength of its penalty is chosen within the
    other half); and domains of unequal size, of which naming the larger one is right too often (as many examples of
    both are taken). The mean of several splits is clipped to [0, 2], after averaging, so that equal domains are not
    pushed above 0 at random.

    Args:
        source, target: matrices of one width; of each at most 4,000 rows are used.
        splits: how many random splits are averaged; a split costs some seven logistic regressions. The splits are the
            same on every call.
        groups: of source and target rows, where rows of one group (windows of one recording) are alike: a group is
            held out as a whole, or not at all.

    Sign: ≥ 0 by the clipping. Raises a `UserError` for fewer than 12 examples of a domain, or fewer than 3 groups.
    Source: Ben-David et al., NIPS 2007; Machine Learning 2010.

    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> a_distance(x[:100], x[100:]).distance < 0.5, a_distance(x[:100], x[100:] + 5).distance > 1.9
    (True, True)
    """
    rows = min(len(source), len(target), MOST_PER_DOMAIN)
    if rows < FEWEST_PER_DOMAIN:
        raise UserError(
            f"an A-distance needs {FEWEST_PER_DOMAIN} or more rows of each domain, half of them to be held out; got "
            f"{len(source)} and {len(target)}."
        )
    few = [len(own.unique()) for own in groups if own is not None]
    if few and min(few) < FEWEST_GROUPS:
        raise UserError(
            f"an A-distance needs {FEWEST_GROUPS} or more recordings of each domain, some of them to be held out; got "
            f"{min(few)}."
        )
    samples = tuple(zip((source, target), groups, strict=True))
    held, seen = zip(*(_split(samples, rows, number) for number in range(splits)), strict=True)
    error = mean(held)
    return ADistance(
        distance=max(2 * (1 - 2 * error), 0.0),
        standard_error=4 * stdev(held) / splits**0.5 if splits > 1 else 0.0,
        seen=2 * (1 - 2 * mean(seen)),
        error=error,
        rows=rows,
    )


def _split(samples: Sequence[tuple[Tensor, Tensor | None]], rows: int, number: int) -> tuple[float, float]:
    """Return the error on held-out examples, and on those fitted to, of one random split.

    A third of each domain fits, the next sixth judges the strengths, the other half is held out until the end.
    """
    generator = torch.Generator().manual_seed(number)
    parts = [_thirds_and_half(x.double(), own, rows, generator) for x, own in samples]
    fitted, judged, held = ([part[place] for part in parts] for place in range(3))
    tried = {strength: _domain_error(fitted, judged, strength) for strength in STRENGTHS}
    strength = min(STRENGTHS, key=lambda strength: (tried[strength], strength))  # of equal ones the most careful
    whole = [torch.cat(part[:2]) for part in parts]
    return _domain_error(whole, held, strength), _domain_error(whole, whole, STRENGTHS[-1])


def _thirds_and_half(x: Tensor, groups: Tensor | None, rows: int, generator: torch.Generator) -> list[Tensor]:
    """Return a third, a sixth and half of so many rows, drawn at random; groups stay whole, so that these are near."""
    if groups is None:
        x = x[torch.randperm(len(x), generator=generator)[:rows]]
        return [*x.tensor_split([rows // 3, rows // 2])]
    names, own = groups.unique(return_inverse=True)
    order = torch.randperm(len(names), generator=generator)
    ends = own.bincount()[order].cumsum(0)
    # The half that is held out has a group at least, and so has the third; of three groups each part has one.
    first = min(max(int((ends <= rows // 3).sum()), 1), len(names) - 2)
    second = max(int((ends <= rows // 2).sum()), first + 1)
    parts = [own[:, None].eq(part).any(1) for part in order.tensor_split([first, second])]
    return [x[chosen][:rows] for chosen in parts]


def _domain_error(fitted: list[Tensor], judged: list[Tensor], strength: float) -> float:
    """Return how often a classifier fitted to one pair of samples names the wrong domain on another."""
    domain = torch.cat([torch.full((len(x),), number) for number, x in enumerate(fitted)])
    model = fit_linear(torch.cat(fitted), domain, strength)
    above = [torch.from_numpy(model.decision_function(x.numpy()) > 0).double().mean().item() for x in judged]
    return (above[0] + 1 - above[1]) / 2
