"""Run folders → what each model makes of its whole domains."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jointadapt.config import Config
from jointadapt.data import UNLABELLED, Domain, align
from jointadapt.evaluation.predict import ModelOutputs
from jointadapt.experiment.prepare import read_role, read_task
from jointadapt.experiment.sources import kept_of
from jointadapt.runs.model import Model
from jointadapt.runs.reading import FinishedRun
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.progress import Track


@dataclass(frozen=True)
class RunOutputs:
    """What a run's model makes of both domains, their labels (−1 where unknown), and their groups if any."""

    source: ModelOutputs
    target: ModelOutputs
    labels: tuple[Tensor, Tensor]
    groups: tuple[Tensor | None, Tensor | None] = (None, None)

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """The features of source and target."""
        return self.source.features, self.target.features


@dataclass
class Observer:
    """Runs → what their models see; domains, and features of a frozen backbone, are read once for all runs.

    Args:
        backbone, weights: as `Model.load` takes them, for those runs that cannot find theirs.
    """

    track: Track
    backbone: str | nn.Module | None = None
    weights: str | Path | None = None
    notes: list[str] = field(default_factory=list)
    _pairs: dict[tuple[Any, ...], tuple[Domain, Domain]] = field(default_factory=dict)
    _features: dict[tuple[Any, str, str], Domain] = field(default_factory=dict)

    def see(self, run: FinishedRun) -> RunOutputs:
        """Return what the run's model makes of its domains; of arrays in memory, which are not kept, of some rows."""
        if not run.on_files:
            return self._kept(run)
        config = run.config
        model, cache = self._model(run), Path(config.cache) if config.cache else default_cache()
        source, target = self._read(config, cache)
        source = kept_of(source, run.summary.sources)
        target, _ = align(source, target)
        source = source.select((source.labels != UNLABELLED).nonzero().flatten().tolist())
        source, target = model.inputs.source(source), model.inputs.target(target)
        of_source, of_target = (self._outputs(model, domain, cache) for domain in (source, target))
        return RunOutputs(of_source, of_target, (source.labels, target.labels), (source.groups, target.groups))

    def _model(self, run: FinishedRun) -> Model:
        own = ":" in run.config.backbone
        return Model.load(run.folder, backbone=self.backbone if own else None, weights=self.weights)

    def _kept(self, run: FinishedRun) -> RunOutputs:
        names = ("source", "target", "source_labels", "target_labels")
        f_s, f_t, y_s, y_t = (torch.from_numpy(run.features[name]) for name in names)
        note = "runs on arrays in memory keep features of up to 300 rows of each domain; what is shown of them is that"
        if note not in self.notes:
            self.notes.append(note)
        classifier = self._model(run).network.head.classifier
        with torch.inference_mode():
            of_source, of_target = (ModelOutputs(f, classifier(f).softmax(1)) for f in (f_s, f_t))
        return RunOutputs(of_source, of_target, (y_s, y_t))

    def _read(self, config: Config, cache: Path) -> tuple[Domain, Domain]:
        readings = config.reading_of("source"), config.reading_of("target")
        key = (config.benchmark, config.root, config.task, config.source, config.target, readings)
        if key not in self._pairs:
            if config.benchmark:
                self._pairs[key] = read_task(config, cache, self.track)
            else:
                roles = zip((config.source, config.target), ("source", "target"), readings, strict=True)
                source, target = (read_role(path, role, cache, self.track, reading) for path, role, reading in roles)
                self._pairs[key] = source, target
        return self._pairs[key]

    def _outputs(self, model: Model, domain: Domain, cache: Path) -> ModelOutputs:
        """Return what a model makes of a domain; a frozen backbone's features come from memory, or from the cache."""
        extractor = model.extractor(cache, track=self.track)
        if not extractor.freezes(domain):
            return model.outputs(domain, self.track)
        key = (domain.content, extractor.name, extractor.backbone.digest())
        if key not in self._features:
            self._features[key] = extractor.prepared(domain)
        return model.outputs(self._features[key], self.track)


def groups(runs: Sequence[FinishedRun], option: str) -> Iterator[tuple[FinishedRun, dict[float, list[FinishedRun]]]]:
    """Yield runs that differ in one option (and in the seed) only, by its value; where it has three values or more."""
    found: dict[str, dict[float, list[FinishedRun]]] = {}
    for run in runs:
        value = run.option(option)
        if run.takes(option) and isinstance(value, int | float) and value > 0 and run.accuracy is not None:
            found.setdefault(run.options(option, "seed"), {}).setdefault(float(value), []).append(run)
    for by_value in found.values():
        if len(by_value) >= 3:
            yield next(iter(by_value.values()))[0], dict(sorted(by_value.items()))
