"""Two domains, and perhaps a trained run → do they differ, before and after adaptation? Data, features, test, words."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jointadapt.data import Domain, read_domain
from jointadapt.data.kinds import AS_IT_SAYS, Reading, names_in
from jointadapt.data.mapped import MappedRows
from jointadapt.discrepancy import Rows
from jointadapt.discrepancy.columns import FILL_NOTE
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pipeline import fit_inputs
from jointadapt.inputs.signals import spectra
from jointadapt.networks.backbone import name_of
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import FeatureExtractor
from jointadapt.reporting.null_figure import null_figure
from jointadapt.runs.folder import config_of
from jointadapt.runs.model import Model
from jointadapt.runtime.files import default_cache, write_atomically
from jointadapt.runtime.json_text import to_json
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.random_state import preserved_rng_state
from jointadapt.runtime.torch_defaults import torch_defaults
from jointadapt.two_sample import Standardize, TwoSampleMethod, TwoSampleTest, check_options, two_sample_test

MANY_EXAMPLES = 20_000
TOP_EXAMPLES = 5
FILES = ("shift.json", "null.svg", "null.png")


@dataclass(frozen=True)
class ShiftTest:
    """One test: of what (in words), its outcome, and (item, contribution) of the examples that contribute most."""

    of: str
    test: TwoSampleTest
    source_examples: tuple[tuple[str, float], ...]
    target_examples: tuple[tuple[str, float], ...]

    @property
    def verdict(self) -> str:
        """Return what was found, as words that claim no more than the test does."""
        test, (n, m) = self.test, self.test.sizes
        if test.rejected:
            return (
                f"different at the {100 * test.level:g} % level: if both came from one distribution, "
                f"a statistic this large would have {self._p_value}."
            )
        return (
            f"no difference found at the {100 * test.level:g} % level: a statistic this large has {self._p_value} even "
            f"if both come from one distribution. That does not show that they are equal: {n:,} and {m:,} examples may "
            "be too few to see a small difference."
        )

    @property
    def _p_value(self) -> str:
        """Return the p-value in words, and that it can be no smaller where it cannot."""
        least = self.test.permutations and self.test.p_value * (1 + self.test.permutations) < 1.5
        smallest = f", the least that {self.test.permutations:,} permutations can give" if least else ""
        return f"p = {self.test.p_value:.2g}{smallest}"

    @property
    def _top(self) -> dict[str, tuple[tuple[str, float], ...]]:
        """Return the examples that contribute most, by domain."""
        return {"source": self.source_examples, "target": self.target_examples}

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, for JSON."""
        test = self.test
        return {
            "of": self.of,
            "verdict": self.verdict,
            **{key: getattr(test, key) for key in ("statistic", "p_value", "rejected", "level", "method", "layers")},
            "permutations": test.permutations,
            **({"asked": test.asked} if test.asked else {}),
            "null_quantiles": {str(quantile): value for quantile, value in test.null_quantiles.items()},
            "examples_that_contribute_most": {
                role: [{"item": item, "contribution": value} for item, value in pairs]
                for role, pairs in self._top.items()
            },
        }

    def __str__(self) -> str:
        """Return the verdict, the numbers behind it and, where the test rejects, what contributes most."""
        test = self.test
        numbers = f"{test.statistic_name} = {test.statistic:.4g}; different above {test.threshold:.4g}"
        lines = [f"{self.of}: {self.verdict}", f"  {numbers} ({test.description})"]
        if test.rejected:
            lines.append("  examples that contribute most, typical of their own domain and not of the other:")
            lines += [f"    {role}  {item}  ({value:.3g})" for role, top in self._top.items() for item, value in top]
        return "\n".join(lines)


@dataclass(frozen=True)
class Shift:
    """What `measure_shift` found: of the domains as they are, then, with a run, as its model sees them.

    Args:
        source, target: name, path and number of examples of each domain.
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
        """Return the two domains, then each test."""
        head = " and ".join(
            f"{role} {domain['name']} ({domain['examples']:,} examples)"
            for role, domain in (("source", self.source), ("target", self.target))
        )
        return "\n".join([head, *map(str, self.tests)])

    def write(self, folder: str | Path) -> None:
        """Write shift.json, and the null distributions with the statistics as null.svg and null.png."""
        folder = Path(folder)
        text = to_json(self.to_dict(), indent=2).encode(errors="replace")
        write_atomically(folder / FILES[0], lambda file: file.write(text))
        tests = [shown.test for shown in self.tests]
        for name in FILES[1:]:
            write_atomically(folder / name, lambda file, kind=name[-3:]: null_figure(tests, file, kind))


def check_shift_folder(folder: str | Path) -> None:
    """Raise a `UserError` if `Shift.write` would overwrite something or has no folder to write to; before the work.

    >>> check_shift_folder("a/new/folder")
    """
    folder = Path(folder)
    taken = [name for name in FILES if (folder / name).exists()]
    if taken:
        raise UserError(f"{folder} holds {', '.join(taken)} already; choose another --out.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give --out a folder.")


@torch_defaults()
@preserved_rng_state()
def measure_shift(
    source: str | Path | Domain,
    target: str | Path | Domain,
    run: str | Path | None = None,
    *,
    backbone: str | nn.Module = "auto",
    weights: str = "default",
    method: TwoSampleMethod = "permutation",
    permutations: int = 1000,
    level: float = 0.05,
    standardize: Standardize = "auto",
    seed: int = 0,
    inputs: InputOptions | None = None,
    cache: Path | None = None,
    workers: int = 0,
    track: Track = silent,
) -> Shift:
    """Return whether two domains differ: arrays as they are, images by a backbone's features (cached, as in training).

    With a run two tests are made: of the domains as its backbone sees them (arrays: as they are), then, jointly, of the
    trained model's features and predictions. Examples that the run was trained on say little about the second: the
    training itself has pulled them together. The caller's random generators are left as they were.

    Args:
        source, target: paths (`read_domain`) or domains. No label is used.
        run: a run folder; its own backbone and weights then serve.
        backbone, weights: as `build_backbone` takes them; "auto" is resnet50 for images. With a run, as `Model.load`
            takes them, where it cannot find its own.
        method, permutations, level: as `two_sample_test` takes them. More than about 20,000 examples: "cross".
        standardize: as `two_sample_test` takes it; of arrays. Features of a network are compared as they are.
        seed: of the permutations, and of random weights.
        inputs: how files are read, and what is done to rows (`InputOptions`); of a run by default as it was trained.

    >>> from jointadapt.data import from_arrays
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> shift = measure_shift(from_arrays(x[:30]), from_arrays(x[30:] + 2), permutations=99)
    >>> shift.tests[0].test.rejected
    True
    """
    try:
        check_options(method, level, permutations, standardize)
    except ValueError as error:
        raise UserError(str(error)) from error
    cache = cache or default_cache()
    model = None if run is None else _load(run, backbone, weights)
    paths = ["" if isinstance(given, Domain) else str(given) for given in (source, target)]
    readings = _readings(inputs, model)
    given = zip((source, target), readings, strict=True)
    pair = [of if isinstance(of, Domain) else read_domain(of, cache, track, reading) for of, reading in given]
    as_read, pair = pair, _in_given_units(pair, model, inputs or InputOptions())
    _check_pair(pair, model)
    notes = [*dict.fromkeys(note for domain in pair for note in domain.notes)]
    notes += _cost(pair, method) + _trained_on(run, paths)
    notes += _of_recordings(pair, method)
    seen, of, unit = pair, "examples as they are", standardize
    if pair[0].holds_images:
        if model:
            extractor = model.extractor(cache, workers, track)
        else:
            extractor = _extractor(backbone, weights, seed, cache, workers, track)
        trained = " as the run left it" if model and not model.network.frozen else ""
        of = f"images, by features of {extractor.name}{trained}"
        notes += [*_random_weights(extractor.name, weights, model), *extractor.backbone.notes]
        seen, unit = [extractor.as_rows(domain) for domain in pair], "no"
    elif backbone != "auto" and not model:
        raise UserError("arrays are compared as they are; leave --backbone out.")
    compared = seen
    if pair[0].kind == "signal":
        compared, of = (
            [spectra(domain) for domain in pair],
            "signals, by log(1 + magnitudes of their Fourier transform)",
        )
    options = {"method": method, "permutations": permutations, "level": level}
    unit_options = {**options, "standardize": unit}
    tests = [_test(of, pair, [[_matrix(domain, method)] for domain in compared], seed, unit_options)]
    if not any(FILL_NOTE in note for note in notes):
        notes += [note for note in [tests[0].test.fill_note()] if note]
    if model:
        of = f"features × predictions of the {model.config.method} model, jointly"
        ready = seen if pair[0].holds_images else [model.inputs.source(as_read[0]), model.inputs.target(as_read[1])]
        outputs = [list(model.outputs(domain, track)) for domain in ready]
        tests.append(_test(of, pair, outputs, seed, {**options, "standardize": "no"}))
    described_s, described_t = (
        {"name": domain.name, "path": path, "examples": len(domain)} for domain, path in zip(pair, paths, strict=True)
    )
    return Shift(described_s, described_t, tuple(tests), tuple(notes))


def _readings(inputs: InputOptions | None, model: Model | None) -> tuple[Reading, Reading]:
    """Return how source and target are read: as the options say, else as the model was trained, else as they are."""
    if inputs is None:
        reading = AS_IT_SAYS if model is None else model.config.reading
        return reading, reading
    return inputs.reading_of("source"), inputs.reading_of("target")


def _in_given_units(pair: Sequence[Domain], model: Model | None, inputs: InputOptions) -> list[Domain]:
    """Return the domains as they are compared: brought to one shape, as the model's network gets them but for z-scores.

    The test standardises by the pooled sample; z-scores by each domain's own columns would hide a shift from it.
    """
    source, target = pair
    if model is not None:
        return [model.inputs.in_given_units.source(source), model.inputs.in_given_units.target(target)]
    return [*fit_inputs(replace(inputs, standardize="no"), source, target)[1:]]


def _load(run: str | Path, backbone: str | nn.Module, weights: str) -> Model:
    """Return the run's model; what was given are its own backbone and weights, where it cannot find them."""
    given = None if backbone == "auto" else backbone
    return Model.load(run, backbone=given, weights=None if weights == "default" else weights)


def _extractor(
    backbone: str | nn.Module, weights: str, seed: int, cache: Path, workers: int, track: Track
) -> FeatureExtractor:
    """Return what makes the features by which images are compared that no run has seen."""
    backbone = "resnet50" if backbone == "auto" else backbone
    name = name_of(backbone) if isinstance(backbone, nn.Module) else backbone
    torch.manual_seed(seed)
    return FeatureExtractor(build_backbone(backbone, weights), name, cache=cache, workers=workers, track=track)


def _random_weights(name: str, weights: str, model: Model | None) -> list[str]:
    """Return a note where the features come from random weights."""
    if model is not None or weights != "none":
        return []
    return [f"the weights of {name} are random (--weights none), its features show little of the images."]


def _matrix(domain: Domain, method: str) -> Rows:
    """Return the examples of arrays as rows; where they lie on disk, and the method reads them by slices, there."""
    if method == "fourier" and isinstance(domain.content, MappedRows):
        return domain.content
    return domain.rows(range(len(domain))).flatten(1)


def _test(
    of: str, pair: Sequence[Domain], samples: Sequence[Sequence[Rows]], seed: int, options: dict[str, Any]
) -> ShiftTest:
    """Return one test and the names of what contributes most; a ValueError of the test is the user's mistake."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", f".*{FILL_NOTE}", UserWarning)  # told as a note
            test = two_sample_test(*samples, **options, generator=torch.Generator().manual_seed(seed))
    except ValueError as error:
        raise UserError(str(error)) from error
    contributions = (test.source_contributions, test.target_contributions)
    top = (
        tuple((domain.items[row], values[row].item()) for row in rows)
        for domain, values, rows in zip(pair, contributions, test.top_examples(TOP_EXAMPLES), strict=True)
    )
    return ShiftTest(of, test, *top)


def _check_pair(pair: Sequence[Domain], model: Model | None) -> None:
    """Raise a `UserError` for two domains that cannot be tested against each other, or not by this model."""
    source, target = pair
    for domain in pair:
        if len(domain) < 2:
            raise UserError(f"{domain.name} has {len(domain)} example; a test needs 2 or more of each domain.")
    if source.holds_images != target.holds_images:
        raise UserError("one domain holds image files, the other arrays; give both as images or both as arrays.")
    if source.shape != target.shape:
        raise UserError(
            f"source rows have shape {source.shape}, target rows {target.shape}; give both the same features."
        )
    if model is not None:
        model.check(source)


def _cost(pair: Sequence[Domain], method: str) -> list[str]:
    """Return a note where a test in quadratic time has many examples before it."""
    examples = sum(map(len, pair))
    if examples <= MANY_EXAMPLES or method not in ("permutation", "aggregated"):
        return []
    return [f"{examples:,} examples: the {method} test takes time with their square; --method cross needs far less."]


def _of_recordings(pair: Sequence[Domain], method: str) -> list[str]:
    """Return a note where examples are windows of recordings; a `UserError` where halves of them would be compared."""
    if all(domain.groups is None for domain in pair):
        return []
    if method not in ("permutation", "aggregated"):
        raise UserError(
            f"--method {method} takes examples as independent, and windows of one recording are not; give --method "
            "permutation, and read its p-value with care."
        )
    counts = [len(domain) if domain.groups is None else len(domain.groups.unique()) for domain in pair]
    note = "windows of one recording are alike, and a test takes them as independent: with"
    return [f"{note} {counts[0]} and {counts[1]} recordings the p-value is smaller than it should be."]


def _trained_on(run: str | Path | None, paths: Sequence[str]) -> list[str]:
    """Return a note on each path that is, or lies below, one the run was trained on."""
    config = None if run is None else config_of(run)
    trained = [Path(path).resolve() for path in (*names_in(config.source), config.target) if path] if config else []
    return [
        f"the run was trained on {path}: these examples are not held out. The training pulled them together, so that "
        "the test after adaptation says little of new ones; give examples that it has not seen."
        for path in paths
        if path and any(Path(path).resolve().is_relative_to(known) for known in trained)
    ]
