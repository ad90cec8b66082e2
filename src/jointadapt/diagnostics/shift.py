"""Two domains, and perhaps a trained run → do they differ, before and after adaptation? Data, features, test, words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jointadapt.data import Domain, read_domain
from jointadapt.data.mapped import MappedRows
from jointadapt.discrepancy import Rows
from jointadapt.errors import UserError
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import features_of, usable_device
from jointadapt.reporting.null_figure import null_figure
from jointadapt.runs.model import Model
from jointadapt.runtime.files import default_cache, write_atomically
from jointadapt.runtime.progress import Track, silent
from jointadapt.two_sample import Method, TwoSampleTest, check_options, two_sample_test

MANY_ROWS = 20_000
TOP_ROWS = 5
FILES = ("shift.json", "null.svg", "null.png")


@dataclass(frozen=True)
class ShiftTest:
    """One test: of what (in words), its outcome, and (item, contribution) of the rows that contribute most."""

    of: str
    test: TwoSampleTest
    source_rows: tuple[tuple[str, float], ...]
    target_rows: tuple[tuple[str, float], ...]

    @property
    def verdict(self) -> str:
        """Return what was found, as words that claim no more than the test does."""
        test, (n, m) = self.test, self.test.sizes
        if test.rejected:
            return (
                f"different at the {100 * test.level:g} % level: if both came from one distribution, "
                f"a statistic this large would have {self._chance}."
            )
        return (
            f"no difference found at the {100 * test.level:g} % level: a statistic this large has {self._chance} even "
            f"if both come from one distribution. That does not show that they are equal: {n:,} and {m:,} rows may be "
            "too few to see a small difference."
        )

    @property
    def _chance(self) -> str:
        least = self.test.permutations and self.test.p_value * (1 + self.test.permutations) < 1.5
        smallest = f", the least that {self.test.permutations:,} permutations can give" if least else ""
        return f"p = {self.test.p_value:.2g}{smallest}"

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, for JSON."""
        test = self.test
        rows = {"source": self.source_rows, "target": self.target_rows}
        return {
            "of": self.of,
            "verdict": self.verdict,
            **{key: getattr(test, key) for key in ("statistic", "p_value", "rejected", "level", "method", "layers")},
            "permutations": test.permutations,
            "null_quantiles": {str(quantile): value for quantile, value in test.null_quantiles.items()},
            "rows_that_contribute_most": {
                role: [{"item": item, "contribution": value} for item, value in pairs] for role, pairs in rows.items()
            },
        }

    def __str__(self) -> str:
        test = self.test
        name = "MMD-FUSE" if test.method == "aggregated" else "MMD²" if test.layers == 1 else "JMMD²"
        null = f"{test.permutations:,} permutations" if test.permutations else "normal threshold"
        threshold = test.null_quantiles[round(1 - test.level, 12)]
        lines = [
            f"{self.of}: {self.verdict}",
            f"  {name} = {test.statistic:.4g}; different above {threshold:.4g} ({test.method} test, {null})",
        ]
        if test.rejected:
            lines.append("  rows that contribute most, typical of their own domain and not of the other:")
            pairs = (("source", self.source_rows), ("target", self.target_rows))
            lines += [f"    {role}  {item}  ({value:.3g})" for role, rows in pairs for item, value in rows]
        return "\n".join(lines)


@dataclass(frozen=True)
class Shift:
    """What `measure_shift` found: of the domains as they are, then, with a run, as its model sees them.

    Args:
        source, target: name, path and number of rows of each domain.
        tests: the tests made.
        notes: what the user should know before believing them.
    """

    source: dict[str, Any]
    target: dict[str, Any]
    tests: tuple[ShiftTest, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, for JSON."""
        tests = [test.to_dict() for test in self.tests]
        return {"source": self.source, "target": self.target, "tests": tests, "warnings": list(self.notes)}

    def __str__(self) -> str:
        head = " and ".join(
            f"{role} {domain['name']} ({domain['rows']:,} rows)"
            for role, domain in (("source", self.source), ("target", self.target))
        )
        return "\n".join([head, *map(str, self.tests)])

    def write(self, folder: str | Path) -> None:
        """Write shift.json, and the null distributions with the statistics as null.svg and null.png."""
        folder = Path(folder)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False).encode(errors="replace")
        write_atomically(folder / FILES[0], lambda file: file.write(text))
        tests = [shown.test for shown in self.tests]
        for name in FILES[1:]:
            write_atomically(folder / name, lambda file, kind=name[-3:]: null_figure(tests, file, kind))


def check_shift_folder(folder: str | Path) -> None:
    """Raise a `UserError` if `Shift.write` would overwrite something or has no folder to write to; before the work."""
    folder = Path(folder)
    taken = [name for name in FILES if (folder / name).exists()]
    if taken:
        raise UserError(f"{folder} holds {', '.join(taken)} already; choose another --out.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give --out a folder.")


def measure_shift(
    source: str | Path | Domain,
    target: str | Path | Domain,
    run: str | Path | None = None,
    *,
    backbone: str = "auto",
    weights: str = "default",
    method: Method = "permutation",
    permutations: int = 1000,
    level: float = 0.05,
    seed: int = 0,
    cache: Path | None = None,
    workers: int = 0,
    track: Track = silent,
) -> Shift:
    """Return whether two domains differ: arrays as they are, images by a backbone's features (cached, as in training).

    With a run two tests are made: of the domains as its backbone sees them (arrays: as they are), then, jointly, of the
    trained model's features and predictions. Rows that the run was trained on say little about the second: the
    training itself has pulled them together.

    Args:
        source, target: paths (`read_domain`) or domains. No label is used.
        run: a run folder; its own backbone and weights then serve, and `backbone` and `weights` are left alone.
        backbone, weights: as `build_backbone` takes them; "auto" is resnet50 for images.
        method, permutations, level: as `two_sample_test` takes them. More than about 20,000 rows: "cross".
        seed: of the permutations, and of random weights.

    >>> from jointadapt.data import from_arrays
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> shift = measure_shift(from_arrays(x[:30]), from_arrays(x[30:] + 2), permutations=99)
    >>> shift.tests[0].test.rejected
    True
    """
    try:
        check_options(method, level, permutations)
    except ValueError as error:
        raise UserError(str(error)) from error
    if run is not None and (backbone != "auto" or weights != "default"):
        raise UserError("a run brings its own backbone and weights; leave --backbone and --weights out, or --run.")
    cache = cache or default_cache()
    model = None if run is None else Model.load(run)
    paths = ["" if isinstance(given, Domain) else str(given) for given in (source, target)]
    pair = [given if isinstance(given, Domain) else read_domain(given, cache, track) for given in (source, target)]
    _check_pair(*pair)
    notes = [note for domain in pair for note in domain.notes]
    rows = sum(map(len, pair))
    if rows > MANY_ROWS and method in ("permutation", "aggregated"):
        notes.append(f"{rows:,} rows: the {method} test takes time with their square; --method cross needs far less.")
    if model is not None:
        if any(domain.shape != model.shape for domain in pair):
            model.activations(next(domain for domain in pair if domain.shape != model.shape))  # says what is wrong
        notes += _trained_on(model, paths)
    torch.manual_seed(seed)
    seen, of = pair, "rows as they are"
    if pair[0].holds_images:
        name = model.config.backbone if model else "resnet50" if backbone == "auto" else backbone
        body = model.network.backbone if model else build_backbone(name, weights)
        of = f"images, by features of {name}" + (" as the run left it" if model and not model.config.frozen else "")
        if not model and weights == "none":
            notes.append(f"the weights of {name} are random (--weights none), its features show little of the images.")
        seen = [features_of(domain, body, name, usable_device(), cache, workers, track) for domain in pair]
    elif backbone != "auto":
        raise UserError("arrays are compared as they are; leave --backbone out.")
    options = {"method": method, "permutations": permutations, "level": level}
    samples = [[_rows(domain, method)] for domain in seen]
    tests = [_test(of, pair, samples, seed, options)]
    if model:
        of_model = model.activations_of_features if pair[0].holds_images else model.activations
        samples = [list(of_model(domain, track)) for domain in seen]
        of = f"features × predictions of the {model.config.method} model, jointly"
        tests.append(_test(of, pair, samples, seed, options))
    described_s, described_t = (
        {"name": domain.name, "path": path, "rows": len(domain)} for domain, path in zip(pair, paths, strict=True)
    )
    return Shift(described_s, described_t, tuple(tests), tuple(notes))


def _rows(domain: Domain, method: str) -> Rows:
    """Return the rows of arrays; where they lie on disk, and the method reads them slice by slice, there."""
    if method == "fourier" and isinstance(domain.content, MappedRows):
        return domain.content
    return domain.rows(range(len(domain))).flatten(1)


def _test(
    of: str, pair: Sequence[Domain], samples: Sequence[Sequence[Rows]], seed: int, options: dict[str, Any]
) -> ShiftTest:
    try:
        test = two_sample_test(*samples, **options, generator=torch.Generator().manual_seed(seed))
    except ValueError as error:
        raise UserError(str(error)) from error
    contributions = (test.source_contributions, test.target_contributions)
    top = (
        tuple((domain.items[row], values[row].item()) for row in rows)
        for domain, values, rows in zip(pair, contributions, test.top_rows(TOP_ROWS), strict=True)
    )
    return ShiftTest(of, test, *top)


def _check_pair(source: Domain, target: Domain) -> None:
    for domain in (source, target):
        if len(domain) < 2:
            raise UserError(f"{domain.name} has {len(domain)} row; a test needs 2 or more of each domain.")
    if source.holds_images != target.holds_images:
        raise UserError("one domain holds image files, the other arrays; give both as images or both as arrays.")
    if source.shape != target.shape:
        raise UserError(
            f"source rows have shape {source.shape}, target rows {target.shape}; give both the same features."
        )


def _trained_on(model: Model, paths: Sequence[str]) -> list[str]:
    """Return a note on each path that is, or lies below, one the run was trained on."""
    trained = [Path(path).resolve() for path in (model.config.source, model.config.target) if path]
    return [
        f"the run was trained on {path}: these rows are not held out. The training pulled them together, so that the "
        "test after adaptation says little of new rows; give rows that it has not seen."
        for path in paths
        if path and any(Path(path).resolve().is_relative_to(known) for known in trained)
    ]
