"""Several sources → what each counts for, and which is dropped: without target labels, before any training.

Two things are looked at, on the input features of a few hundred rows of each domain:

* distance: MMD² of a source and the target. A nearer source counts for more, and so does one of more rows.
* skill: how well a linear classifier of one source names the classes of another, and the other way round. Sources that
  teach one another agree on what a class looks like; one that no other can teach, nor learn from, does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jointadapt.discrepancy import FIVE_SCALES, GaussianKernel, jmmd_biased
from jointadapt.discrepancy.distances import squared_distances
from jointadapt.discrepancy.domain_classifier import fit_linear

STRENGTH, ITERATIONS = 0.1, 100  # of the classifiers
LEAST_FRIENDSHIP = 0.25  # of the best pair's skill: a source that has no pair of more is out
CLEAR = 0.25  # skill that the best pair of the others needs, for them to know better
STRANGERS = 0.1  # skill of sources that cannot teach each other
APART = 3.0  # times farther from the target than any other, of a source that is a stranger to all
TINY = 1e-12
FAR = 0.5  # MMD² of five kernels, from 0 to 10: what is less far may be noise
NEAR = 0.25  # of the others' least distance: so near a source is never dropped


@dataclass(frozen=True)
class SourceWeight:
    """What one of several sources counts for.

    Args:
        rows: how many it has.
        weight: its share α of risk and transfer; all add up to 1, and that of a source that is dropped is 0.
        distance: MMD² to the target; None where all count the same unseen.
        skill: the mean of how well it teaches, and learns from, the other source that it gets on best with: 1 is
            without an error, 0 by chance; None where they share fewer than two classes.
        why: why it was dropped.
    """

    name: str
    rows: int
    weight: float
    distance: float | None = None
    skill: float | None = None
    dropped: bool = False
    why: str = ""

    def __str__(self) -> str:
        """Say what the source counts for: "amazon 36 %", or that it is dropped."""
        return f"{self.name} dropped" if self.dropped else f"{self.name} {100 * self.weight:.0f} %"


def weigh_sources(
    source: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    origins: Int[Tensor, " n"],
    names: Sequence[str],
    target: Float[Tensor, "m d"],
    sizes: Sequence[int] | None = None,
) -> tuple[SourceWeight, ...]:
    """Return what each source counts for:

        α_k ∝ n_k / d_k

    d_k: MMD² of source k and the target, as a V-statistic, so that none is 0; n_k: the rows that are looked at. α is
    rounded to three places, so that no rounding of another machine moves it.

    A source is dropped if its best friend among the others is no friend: if no pair with it has a quarter of the skill
    of the best pair without it, which has to be 0.25 or more; or if it and the others cannot teach each other, and it
    is far, and three times as far from the target as any of them. One that is a quarter as far as any other is kept all
    the same, where these are far.

    Deterministic. Cost: one logistic regression a source, and O((n + m)² d): some hundred rows of each are enough.

    Args:
        source, labels, origins: input features, classes, and which source each row is from, an index into `names`.
        target: input features of the target.
        sizes: how many rows each source has, where these are some of them.

    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> y, origins = (x[:, 0] > 0).long(), torch.arange(300) % 3
    >>> swapped = torch.where(origins == 2, 1 - y, y)
    >>> [found.dropped for found in weigh_sources(x, swapped, origins, ("a", "b", "c"), x[:80])]
    [False, False, True]
    """
    counts = sizes or torch.bincount(origins, minlength=len(names)).tolist()
    rows = [(origins == number).nonzero().flatten() for number in range(len(names))]
    samples = [source[own] for own in rows]
    distances = _distances(samples, target)
    pairs = _pair_skills(samples, [labels[own] for own in rows])
    reasons = _unfit(pairs, distances)
    raw = [0.0 if why else len(x) / d for x, d, why in zip(samples, distances, reasons, strict=True)]
    return tuple(
        SourceWeight(
            name=name,
            rows=counts[k],
            weight=round(raw[k] / sum(raw), 3),
            distance=round(distances[k], 4),
            skill=max((round(skill, 3) for pair, skill in pairs.items() if k in pair), default=None),
            dropped=bool(reasons[k]),
            why=reasons[k],
        )
        for k, name in enumerate(names)
    )


def _distances(samples: Sequence[Tensor], target: Tensor) -> list[float]:
    """Return MMD² (biased) of each sample and the target, by one bandwidth for all, each column in one unit."""
    pooled = torch.cat([*samples, target]).double()
    pooled = (pooled - pooled.mean(0)) / pooled.std(0).clamp_min(TINY)
    *scaled, few = pooled.split([*map(len, samples), len(target)])
    bandwidth = float(squared_distances(pooled).sum()) / (len(pooled) * (len(pooled) - 1))
    kernels = [GaussianKernel(max(bandwidth, TINY), FIVE_SCALES)]
    return [max(float(jmmd_biased([x], [few], kernels)), TINY) for x in scaled]


def _pair_skills(samples: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[tuple[int, int], float]:
    """Return for each pair of sources that share two classes the mean of both skills: of the one's classifier there.

    The skill is the mean recall r of the shared classes as (r − 1/c) / (1 − 1/c), c the number of the teacher's
    classes: 0 by chance.
    """
    taught = [own.unique().tolist() for own in labels]
    models = {
        k: fit_linear(x, y, STRENGTH, ITERATIONS)
        for k, (x, y) in enumerate(zip(samples, labels, strict=True))
        if len(taught[k]) > 1
    }

    def skill(teacher: int, pupil: int, shared: Sequence[int]) -> float:
        predicted = torch.from_numpy(models[teacher].predict(samples[pupil].double().numpy()))
        own, chance = labels[pupil], 1 / len(taught[teacher])
        recall = sum((predicted[own == c] == c).double().mean().item() for c in shared) / len(shared)
        return (recall - chance) / (1 - chance)

    found = {}
    for k, j in combinations(models, 2):
        if len(shared := [c for c in taught[k] if c in taught[j]]) > 1:
            found[k, j] = (skill(k, j, shared) + skill(j, k, shared)) / 2
    return found


def _unfit(pairs: Mapping[tuple[int, int], float], distances: Sequence[float]) -> list[str]:
    """Return for each source why it is dropped; nothing where it is kept."""
    reasons = []
    for k, own_distance in enumerate(distances):
        others = [distance for j, distance in enumerate(distances) if j != k]
        own = max((skill for pair, skill in pairs.items() if k in pair), default=None)
        best = max((skill for pair, skill in pairs.items() if k not in pair), default=0.0)
        near = min(others) >= FAR and own_distance <= NEAR * min(others)
        if own is None or near:
            reasons.append("")
        elif best >= CLEAR and own <= LEAST_FRIENDSHIP * best:
            reasons.append(
                f"no other source can teach it its classes, nor learn them from it (skill at most {own:.2f}, and "
                f"{best:.2f} between two others; 0: chance, 1: no error)"
            )
        elif own <= STRANGERS and own_distance >= max(APART * max(others), FAR):
            reasons.append(
                f"it and the others cannot teach each other their classes (skill {own:.2f}; 0: chance), and it is far "
                f"from the target (MMD² {own_distance:.2f}, theirs {max(others):.2f} at most)"
            )
        else:
            reasons.append("")
    return reasons
