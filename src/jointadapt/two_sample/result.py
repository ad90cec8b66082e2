"""What a two-sample test found, and how to say it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

NULL_QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class TwoSampleTest:
    """The outcome of a two-sample test; printing it gives a sentence.

    Args:
        statistic: the unbiased estimate of MMD² (JMMD² for several layers); MMD-FUSE for the method "aggregated".
        p_value: the probability, if both samples come from one distribution, of a statistic at least as large.
        rejected: p_value ≤ level, the samples differ.
        level: the rate of false alarms accepted.
        null_quantiles: quantile → value of the statistic if both samples came from one distribution.
        source_contributions, target_contributions: for each row its witness value, how much nearer it lies to its own
            sample's other rows than to the other sample; the statistic is the source's mean plus the target's mean for
            "permutation". Large: typical of its own sample and of it alone.
        sizes: the number of source and of target rows.
        layers: how many layers were tested jointly.
        method: the test's name.
        permutations: how many were drawn; 0 where a normal threshold takes their place.
        null: the permuted statistics (permutations,); empty for a normal threshold.
    """

    statistic: float
    p_value: float
    rejected: bool
    level: float
    null_quantiles: dict[float, float]
    source_contributions: Tensor = field(repr=False)
    target_contributions: Tensor = field(repr=False)
    sizes: tuple[int, int]
    layers: int
    method: str
    permutations: int
    null: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)

    def top_rows(self, count: int = 5) -> tuple[list[int], list[int]]:
        """Return the indices of the source rows and of the target rows that contribute most, the largest first."""
        source, target = (
            torch.argsort(values, descending=True, stable=True)[:count].tolist()
            for values in (self.source_contributions, self.target_contributions)
        )
        return source, target

    def __str__(self) -> str:
        n, m = self.sizes
        verdict = "differ" if self.rejected else "show no difference"
        name = "MMD-FUSE" if self.method == "aggregated" else "MMD²" if self.layers == 1 else "JMMD²"
        null = f"{self.permutations:,} permutations" if self.permutations else "normal threshold"
        threshold = self.null_quantiles[round(1 - self.level, 12)]
        sentence = (
            f"Source ({n:,} rows) and target ({m:,} rows) {verdict} at the {100 * self.level:g} % level: "
            f"{name} = {self.statistic:.4g}, p = {self.p_value:.2g} ({self.method} test, {null}; "
            f"rejects above {threshold:.4g})."
        )
        if not self.rejected:
            return sentence
        source, target = (", ".join(map(str, rows)) for rows in self.top_rows())
        return f"{sentence} Rows that contribute most: source {source}; target {target}."


def null_levels(level: float) -> tuple[float, ...]:
    """Return the quantile levels to report: the usual four and the critical one, 1 − level.

    >>> null_levels(0.2)
    (0.5, 0.8, 0.9, 0.95, 0.99)
    """
    return tuple(sorted({*NULL_QUANTILES, round(1 - level, 12)}))
