"""What of a benchmark is there: which domains, how many rows of each class, what is missing and what is surplus."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jointadapt.data.benchmarks.reading import scan
from jointadapt.data.benchmarks.spec import Benchmark
from jointadapt.data.domain import UNLABELLED
from jointadapt.errors import UserError, some


@dataclass(frozen=True)
class Finding:
    """One domain: where it is (nowhere: ""), its rows, how many are expected, and what is not as it should be."""

    domain: str
    path: str
    rows: int
    expected: int | None
    faults: tuple[str, ...]


def check(benchmark: Benchmark, root: Path) -> list[Finding]:
    """Return a finding for each domain; a benchmark is whole when none has a fault. Images are counted, not decoded."""
    found = benchmark.find(root)
    return [_finding(benchmark, name, root, found.get(name, ())) for name in benchmark.domains]


def _finding(benchmark: Benchmark, name: str, root: Path, paths: Sequence[Path]) -> Finding:
    place = benchmark.domains[name]
    if not paths:
        return Finding(name, "", 0, place.rows, (benchmark.lacks(name, root),))
    where = " + ".join(str(path) for path in paths)
    try:
        found = scan(benchmark, name, root)
    except UserError as error:
        return Finding(name, where, 0, place.rows, (str(error),))
    domain, faults = found.domain, list(found.domain.notes)
    rows = Counter(domain.classes[label] for label in domain.labels.tolist() if label != UNLABELLED)
    if found.lost:
        faults.append(f"{len(found.lost)} listed images are not there: {some(found.lost, 3)}")
    if not domain.labelled:
        faults.append("no labels: neither class folders nor an image list with labels")
    elif place.counts:
        expected = dict(zip(benchmark.classes, place.counts, strict=True))
        faults += [f"{n}: {rows[n]} of {expected[n]} rows" for n in expected if 0 < rows[n] < expected[n]]
        faults += [f"{n}: {rows[n]} rows, {rows[n] - expected[n]} too many" for n in expected if rows[n] > expected[n]]
    missing = [name for name in benchmark.classes if not rows[name]] if domain.labelled else []
    if missing:
        faults.append(f"missing classes: {some(missing, len(missing))}")
    if found.surplus:
        faults.append(f"surplus classes: {some([f'{n} ({count})' for n, count in found.surplus.items()], 10)}")
    if place.rows is not None and not place.counts and len(domain) != place.rows:
        faults.append(f"{len(domain)} rows, {place.rows} expected")
    return Finding(name, where, len(domain), place.rows, tuple(faults))
