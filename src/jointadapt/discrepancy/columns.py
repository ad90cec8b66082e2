"""What the columns of a sample are like, whatever their unit, and the columns in one unit.

A fill value (−999, 1e6) or a long tail moves a mean and a deviation at will. So both are taken of values held within
fences, which medians find: half of a column may be anything, and they hardly move.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FENCE = 20.0  # typical deviations; of a normal column 13.5 standard deviations
CLIP = 10.0  # standard deviations
MIXED = 12.0
SPARSE = 0.8
COLUMNS_AT_ONCE = 512
REPEATED = 5
MOST_NAMED = 3
FILL_NOTE = "if that marks missing values"
CODES = {float(sign * int("9" * digits)) for digits in range(2, 13) for sign in (1, -1)}
CODES |= {float(sign * 10**power) for power in range(3, 31) for sign in (1, -1)}
CODES |= {float(sign * (2**bits - lower)) for bits in (15, 16, 31, 32, 63) for lower in (0, 1) for sign in (1, -1)}


class Scaling(NamedTuple):
    """What it takes to standardise rows: fences, mean and deviation of each column, as `Columns` has them."""

    low: Float[Tensor, " d"]
    high: Float[Tensor, " d"]
    mean: Float[Tensor, " d"]
    deviation: Float[Tensor, " d"]

    def standardized(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return (x − mean) / deviation, held within ±`CLIP`, in the precision of the rows; of constant columns 0.

        >>> x = torch.tensor([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
        >>> describe_columns(x, [x]).scaling.standardized(x + torch.tensor([0.0, 1.0]))
        tensor([[-1.2247,  0.0000],
                [ 0.0000,  0.0000],
                [ 1.2247,  0.0000]])
        """
        exact = _exact(rows)
        low, high, mean, deviation = (x.to(exact.device) for x in (self.low, self.high, self.mean, self.deviation))
        factor = torch.where(deviation > 0, 1 / deviation, 0.0)
        return ((exact.clamp(low, high) - mean) * factor).clamp(-CLIP, CLIP).to(rows)


@dataclass(frozen=True)
class Columns:
    """Statistics of d columns, float64 each.

    Args:
        middle: the (lower) median.
        low, high: the fences, `FENCE` typical deviations off the median; the typical deviation is the median of those
            |x − median| that are not 0.
        mean, deviation: of the values held within the fences; a deviation of 0 is that of a constant column.
        size: the root mean square of those x − median within the fences that are not 0; 0 of a constant column.
        differing: the fraction of the values that differ from the median.
        two_valued: whether the column has no more than two values.
    """

    middle: Float[Tensor, " d"]
    low: Float[Tensor, " d"]
    high: Float[Tensor, " d"]
    mean: Float[Tensor, " d"]
    deviation: Float[Tensor, " d"]
    size: Float[Tensor, " d"]
    differing: Float[Tensor, " d"]
    two_valued: Bool[Tensor, " d"]

    def standardized(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the rows in standard deviations of their columns (`Scaling`)."""
        return self.scaling.standardized(rows)

    @property
    def scaling(self) -> "Scaling":
        """Return what it takes to standardise rows."""
        return Scaling(self.low, self.high, self.mean, self.deviation)

    @property
    def mixed(self) -> bool:
        """Return whether the columns have several units: the largest is over `MIXED` times the size of a small one.

        A small one is larger than a tenth of the columns. Constant columns do not count.

        >>> describe_columns(x := torch.randn(50, 3) * torch.tensor([1.0, 1.0, 99.0]), [x]).mixed
        True
        """
        sizes = self.size[self.size > 0].sort().values
        return bool(len(sizes)) and bool(sizes[-1] > MIXED * sizes[int(0.1 * (len(sizes) - 1))])

    @property
    def sparse(self) -> bool:
        """Return whether columns of more than two values hardly have another than their median, as counts of words do.

        >>> x = torch.eye(40) * torch.arange(40)
        >>> describe_columns(torch.cat([x, 2 * x]), [x]).sparse
        True
        """
        counted = self.differing[~self.two_valued]
        return bool(len(counted)) and bool((1 - counted).mean() > SPARSE)


def describe_columns(sample: Float[Tensor, "s d"], tiles: Iterable[Float[Tensor, "_ d"]]) -> Columns:
    """Return the statistics of the columns of a sample, in float64, whatever the precision of its rows.

    Args:
        sample: rows by which medians are found: all, or some thousand drawn without a look at anything.
        tiles: all rows, some at a time.

    Each tile passes once: O(N d) time, and O(s) memory a column for `COLUMNS_AT_ONCE` columns at a time. No order of
    the rows changes a number but by rounding. A column whose values differ by no more than their rounding is constant.

    >>> x = torch.tensor([[1.0], [2.0], [3.0], [4.0], [1e6]])
    >>> found = describe_columns(x, [x])
    >>> found.middle.item(), found.high.item()
    (3.0, 23.0)
    """
    parts = [_fences(_exact(part)) for part in sample.split(COLUMNS_AT_ONCE, dim=1)]
    middle, typical, differing, two_valued = (torch.cat(found) for found in zip(*parts, strict=True))
    reach = torch.where(typical.isnan(), torch.inf, FENCE * typical)  # NaN: no value is off the median
    low, high = middle - reach, middle + reach
    count, total, square, others = 0, torch.zeros_like(middle), torch.zeros_like(middle), torch.zeros_like(middle)
    for tile in tiles:
        off = _exact(tile).clamp(low, high) - middle
        count += len(off)
        total += off.sum(0)
        square += off.square().sum(0)
        others += (off != 0).sum(0)
    mean = total / count
    deviation = (square / count - mean.square()).clamp_min(0).sqrt()
    rounding = torch.finfo(sample.dtype).eps
    constant = deviation <= 2 * rounding * middle.abs()
    deviation = deviation.masked_fill(constant, 0.0)
    size = (square / others.clamp_min(1)).sqrt().masked_fill(constant, 0.0)
    return Columns(middle, low, high, middle + mean, deviation, size, differing, two_valued)


def _exact(rows: Tensor) -> Tensor:
    """Return rows in float64; on the CPU where their device has none."""
    return (rows.cpu() if rows.device.type == "mps" else rows).double()


def _fences(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return median, typical deviation (NaN: none), fraction of other values, and whether two values are all."""
    middle = x.median(0).values
    off = (x - middle).abs()
    differs = off > 0
    typical = off.masked_fill(~differs, torch.nan).nanmedian(0).values
    two_valued = ((x == x.amin(0)) | (x == x.amax(0))).all(0)
    return middle, typical, differs.double().mean(0), two_valued


class FillValue(NamedTuple):
    """A value that stands far off in a column, and looks like a mark for "missing": the column, and how many rows."""

    column: int
    value: float
    rows: int


def fill_values(rows: Float[Tensor, "n d"], columns: Columns) -> list[FillValue]:
    """Return the columns in which all values beyond a fence are one and the same, of `REPEATED` rows or a usual code.

    Usual codes are 99, −999, 10⁶ and the like, and the ends of the integers.

    >>> x = torch.arange(20.0)[:, None].repeat(1, 2)
    >>> x[3, 1] = -999
    >>> fill_values(x, describe_columns(x, [x]))
    [FillValue(column=1, value=-999.0, rows=1)]
    """
    found = []
    exact = _exact(rows)
    beyond = (exact < columns.low.to(exact.device)) | (exact > columns.high.to(exact.device))
    for column in beyond.any(0).nonzero().flatten().tolist():
        far = exact[beyond[:, column], column]
        value = float(far[0])
        if (far == value).all() and (len(far) >= REPEATED or value in CODES):
            found.append(FillValue(column, value, len(far)))
    return found


def column_name(column: int, names: Sequence[str] = ()) -> str:
    """Return what a column is called: by its name where the columns have any, else by its number, from 0.

    >>> column_name(1), column_name(1, ["age", "pulse"])
    ('column 1', 'pulse')
    """
    return names[column] if names else f"column {column}"


def fill_note(names: Sequence[str], found: Sequence[FillValue]) -> str:
    """Return in words which columns seem to hold a fill value; "" for none.

    >>> fill_note(["pulse"], [FillValue(1, -999.0, 3)])
    'pulse holds -999 in 3 rows, far from all else; if that marks missing values, fill or drop them.'
    """
    words = [
        f"{name} holds {fill.value:,.10g} in {fill.rows:,} row{'s' * (fill.rows > 1)}"
        for name, fill in zip(names, found, strict=True)
    ]
    if not words:
        return ""
    more = f" and {len(words) - MOST_NAMED} more columns alike" if len(words) > MOST_NAMED else ""
    return f"{', '.join(words[:MOST_NAMED])}{more}, far from all else; {FILL_NOTE}, fill or drop them."
