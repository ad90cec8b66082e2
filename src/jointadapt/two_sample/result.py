"""What a two-sample test found, and how to say it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from jointadapt.discrepancy.columns import FillValue, column_name, fill_note

NULL_QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class TwoSampleTest:
    """The outcome of a two-sample test; printing it gives a sentence.

    H₀: both samples come from one distribution. The test is one-sided, large statistics reject. Not rejecting is no
    evidence that the distributions are equal.

    Args:
        statistic: the unbiased estimate of MMD² (JMMD² for several layers); MMD-FUSE for the method "aggregated".
        p_value: the probability under H₀ of a statistic at least as large.
        rejected: p_value ≤ level, the samples differ.
        level: the significance level, the probability under H₀ that the test rejects.
        null_quantiles: quantile → value of the statistic under H₀; 1 − level is among them.
        source_contributions, target_contributions: for each example its witness value, how much nearer it lies to its
            own sample's other examples than to the other sample; the statistic is the source's mean plus the target's
            mean for "permutation". Large: typical of its own sample and of it alone.
        sizes: the number of source and of target examples.
        layers: how many layers were tested jointly.
        method: the test's name.
        permutations: how many were drawn; 0 where a normal threshold takes their place.
        null: the permuted statistics (permutations,); empty for a normal threshold.
        fill_values: (layer, `FillValue`) where a column seems to hold a mark for "missing", as −999.
        asked, rows_needed: the method that was asked for, where permutations took its place, as it keeps its level from
            so many rows of each sample on; "" and 0 elsewhere.

    >>> x = torch.tensor([[0.0], [0.1], [0.2], [0.3]])
    >>> values = x[:, 0]
    >>> found = TwoSampleTest(0.5, 0.01, True, 0.05, {0.95: 0.2}, values, values, (4, 4), 1, "permutation", 99)
    >>> str(found).partition(": ")[0]
    'Source (4 examples) and target (4 examples) differ at the 5 % level'
    """

    statistic: float
    p_value: float
    rejected: bool
    level: float
    null_quantiles: dict[float, float]
    source_contributions: Float[Tensor, " n"] = field(repr=False)
    target_contributions: Float[Tensor, " m"] = field(repr=False)
    sizes: tuple[int, int]
    layers: int
    method: str
    permutations: int
    null: Float[Tensor, " B"] = field(default_factory=lambda: torch.empty(0), repr=False)
    fill_values: tuple[tuple[int, FillValue], ...] = field(default=(), repr=False)
    asked: str = ""
    rows_needed: int = 0

    @property
    def statistic_name(self) -> str:
        """Return what the statistic is called: "MMD²", "JMMD²" for several layers, "MMD-FUSE" for "aggregated"."""
        if self.method == "aggregated":
            return "MMD-FUSE"
        return "MMD²" if self.layers == 1 else "JMMD²"

    @property
    def threshold(self) -> float:
        """Return the critical value: the (1 − level) quantile of the statistic under H₀."""
        return self.null_quantiles[critical_quantile(self.level)]

    @property
    def null_name(self) -> str:
        """Return what the null distribution is made of: "1,000 permutations", or "normal threshold"."""
        return f"{self.permutations:,} permutations" if self.permutations else "normal threshold"

    def fill_note(self, names: Sequence[str] = ()) -> str:
        """Return in words which columns seem to hold a fill value, by their names where they have any; "" for none.

        >>> values = torch.zeros(2)
        >>> found = ((0, FillValue(3, -999.0, 5)),)
        >>> from dataclasses import replace
        >>> test = TwoSampleTest(0.5, 0.01, True, 0.05, {0.95: 0.2}, values, values, (2, 2), 1, "cross", 0)
        >>> replace(test, fill_values=found).fill_note()
        'column 3 holds -999 in 5 rows, far from all else; if that marks missing values, fill or drop them.'
        """
        layers = [f"layer {layer}, " if self.layers > 1 else "" for layer, _ in self.fill_values]
        found = [value for _, value in self.fill_values]
        return fill_note(
            [prefix + column_name(value.column, names) for prefix, value in zip(layers, found, strict=True)], found
        )

    @property
    def description(self) -> str:
        """Return which test it was: "cross test, normal threshold"; and why another than was asked for."""
        instead = f" instead of {self.asked}, which needs {self.rows_needed} rows of each sample" if self.asked else ""
        return f"{self.method} test{instead}, {self.null_name}"

    def top_examples(self, count: int = 5) -> tuple[list[int], list[int]]:
        """Return the indices of the source and of the target examples that contribute most, the largest first.

        They are those whose neighbourhood holds most of their own sample and least of the other. Equal contributions
        keep the order of the sample. At most as many as there are.
        """
        source, target = (
            torch.argsort(values, descending=True, stable=True)[:count].tolist()
            for values in (self.source_contributions, self.target_contributions)
        )
        return source, target

    def __str__(self) -> str:
        """Return the verdict, the numbers behind it and, where the test rejects, the examples that contribute most."""
        n, m = self.sizes
        verdict = "differ" if self.rejected else "show no difference"
        sentence = (
            f"Source ({n:,} examples) and target ({m:,} examples) {verdict} at the {100 * self.level:g} % level: "
            f"{self.statistic_name} = {self.statistic:.4g}, p = {self.p_value:.2g} ({self.description}; "
            f"rejects above {self.threshold:.4g})."
        )
        if not self.rejected:
            return sentence
        source, target = (", ".join(map(str, examples)) for examples in self.top_examples())
        return f"{sentence} Examples that contribute most: source {source}; target {target}."


def critical_quantile(level: float) -> float:
    """Return 1 − level, rounded so that it is the same key wherever it is computed.

    >>> critical_quantile(0.05)
    0.95
    """
    return round(1 - level, 12)


def null_levels(level: float) -> tuple[float, ...]:
    """Return the quantile levels to report: the usual four and the critical one, 1 − level.

    >>> null_levels(0.2)
    (0.5, 0.8, 0.9, 0.95, 0.99)
    """
    return tuple(sorted({*NULL_QUANTILES, critical_quantile(level)}))
