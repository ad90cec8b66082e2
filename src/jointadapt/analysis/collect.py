"""Run folders → what each model makes of its whole domains."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointadapt.backbones import features_of, usable_device
from jointadapt.building import options_of
from jointadapt.config import BASELINE, FIELDS, Config
from jointadapt.data import UNLABELLED, Domain, align, read_domain
from jointadapt.data.files import default_cache
from jointadapt.errors import UserError
from jointadapt.methods import METHODS
from jointadapt.model import Model
from jointadapt.preparation import read_task
from jointadapt.progress import Track
from jointadapt.runs import RunFolder

# Options that change no number of a run, and options of a method that others do not have.
PLACES = {"source", "target", "benchmark", "root", "task", "out"}
WITHOUT_EFFECT = PLACES | {"baseline", "report", "device", "workers", "checkpoint_every", "cache"}
OF_METHODS = {option for method in METHODS for option in options_of(method)}


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its folder, configuration, summary, and its number among the tasks seen."""

    folder: Path
    config: Config
    summary: dict[str, Any]

    @property
    def task(self) -> str:
        """The task, "amazon → webcam"."""
        return self.summary["task"]

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.config.method

    @property
    def accuracy(self) -> float | None:
        """The target accuracy in percent, where it is known."""
        return (self.summary["evaluation"] or {}).get("accuracy")

    @property
    def on_files(self) -> bool:
        """Whether its domains can be read again: arrays in memory are not kept."""
        return bool(self.config.benchmark or (self.config.source and self.config.target))

    def options(self, *without: str) -> str:
        """Return what made the run, but for options without effect and those named; equal texts are equal runs."""
        others = OF_METHODS - set(options_of(self.method))
        kept = [name for name in FIELDS if name not in WITHOUT_EFFECT | others | set(without)]
        return json.dumps([self.task, *(self.option(name) for name in kept)])

    @property
    def adapts(self) -> bool:
        """Whether the method looks at the target, so that λ has an effect."""
        return self.method != BASELINE

    def option(self, name: str) -> Any:
        """Return the value of an option; of λ that which was used."""
        value = getattr(self.config, name)
        if name == "trade_off" and not self.adapts:
            return None
        if name == "trade_off" and value == "auto" and self.method in METHODS:
            return METHODS[self.method].trade_off
        return value

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of the training."""
        path = self.folder / "metrics.jsonl"
        try:
            text = path.read_text("utf-8")
            records = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
            if not all("step" in record for record in records):
                raise ValueError("a record has no step")
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} holds no records of a training ({error}); leave this run out.") from error
        return records


@dataclass(frozen=True)
class Seen:
    """What a model makes of both domains: features, probabilities, labels (−1 where unknown) of source and target."""

    features: tuple[Tensor, Tensor]
    probabilities: tuple[Tensor, Tensor]
    labels: tuple[Tensor, Tensor]

    @property
    def samples(self) -> list[list[Tensor]]:
        """The two samples of layers, features and predictions, as JMMD takes them."""
        return [[f, p] for f, p in zip(self.features, self.probabilities, strict=True)]


def read_run(folder: str | Path) -> FinishedRun:
    """Return the finished run of a run folder."""
    own = RunFolder(Path(folder))
    if not own.finished:
        raise UserError(f"{folder} itself holds no finished run (summary.json); give the folder of one.")
    return FinishedRun(own.path, own.read_config(), own.read_summary())


def find_runs(folders: Sequence[str | Path]) -> list[FinishedRun]:
    """Return the finished runs in these folders, at any depth, the outer ones first.

    Equal runs, as one source-only run that stands beside many, count once.
    """
    found: dict[str, FinishedRun] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; give run folders, or a folder that holds some.")
        here = 0
        for path in sorted(folder.rglob("summary.json"), key=lambda path: (len(path.parts), path)):
            if not (path.parent / "config.toml").is_file():
                continue
            run = read_run(path.parent)
            found.setdefault(run.options(), run)
            here += 1
        if not here:
            raise UserError(
                f"{folder} holds no finished run (summary.json beside config.toml); give the folder of one."
            )
    return list(found.values())


@dataclass
class Observer:
    """Runs → what their models see; domains, and features of a frozen backbone, are read once for all runs."""

    track: Track
    notes: list[str] = field(default_factory=list)
    _pairs: dict[tuple[str, ...], tuple[Domain, Domain]] = field(default_factory=dict)
    _features: dict[tuple[Any, str, str], Domain] = field(default_factory=dict)

    def see(self, run: FinishedRun) -> Seen:
        """Return what the run's model makes of its domains; of arrays in memory, which are not kept, of some rows."""
        model = Model.load(run.folder)
        config = run.config
        if not run.on_files:
            return self._kept(run, model)
        cache = Path(config.cache) if config.cache else default_cache()
        source, target = self._read(config, cache)
        target, _ = align(source, target)
        source = source.select((source.labels != UNLABELLED).nonzero().flatten().tolist())
        pair = (source, target)
        if config.frozen and source.holds_images:
            outputs = [model.activations_of_features(self._rows(domain, config, model, cache)) for domain in pair]
        else:
            outputs = [model.activations(domain, self.track) for domain in pair]
        (f_s, p_s), (f_t, p_t) = outputs
        return Seen((f_s, f_t), (p_s, p_t), (source.labels, target.labels))

    def _kept(self, run: FinishedRun, model: Model) -> Seen:
        path = run.folder / "features.npz"
        try:
            with np.load(path) as file:
                f_s, f_t, y_s, y_t = (
                    torch.from_numpy(file[name]) for name in ("source", "target", "source_labels", "target_labels")
                )
        except Exception as error:
            # zipfile and numpy raise a dozen kinds on a broken file.
            raise UserError(f"{path} holds no features of a run ({error}); leave this run out.") from error
        note = "runs on arrays in memory keep features of up to 300 rows of each domain; what is shown of them is that"
        if note not in self.notes:
            self.notes.append(note)
        with torch.inference_mode():
            p_s, p_t = (model.network.classifier(f).softmax(1) for f in (f_s, f_t))
        return Seen((f_s, f_t), (p_s, p_t), (y_s, y_t))

    def _read(self, config: Config, cache: Path) -> tuple[Domain, Domain]:
        key = (config.benchmark, config.root, config.task, config.source, config.target)
        if key not in self._pairs:
            if config.benchmark:
                self._pairs[key] = read_task(config, cache, self.track)
            else:
                source, target = (read_domain(path, cache, self.track) for path in (config.source, config.target))
                self._pairs[key] = source, target
        return self._pairs[key]

    def _rows(self, domain: Domain, config: Config, model: Model, cache: Path) -> Domain:
        """Return the domain as the model's frozen backbone sees it, from memory, from the cache, or found now."""
        backbone = model.network.backbone
        key = (domain.content, config.backbone, backbone.digest())
        if key not in self._features:
            place = usable_device(), cache
            self._features[key] = features_of(domain, backbone, config.backbone, *place, track=self.track)
        return self._features[key]


def groups(runs: Sequence[FinishedRun], option: str) -> Iterator[tuple[FinishedRun, dict[float, list[FinishedRun]]]]:
    """Yield runs that differ in one option (and in the seed) only, by its value; where it has three values or more."""
    found: dict[str, dict[float, list[FinishedRun]]] = {}
    for run in runs:
        value = run.option(option)
        takes = option == "trade_off" or option in options_of(run.method)
        if takes and isinstance(value, int | float) and value > 0 and run.accuracy is not None:
            found.setdefault(run.options(option, "seed"), {}).setdefault(float(value), []).append(run)
    for by_value in found.values():
        if len(by_value) >= 3:
            yield next(iter(by_value.values()))[0], dict(sorted(by_value.items()))
