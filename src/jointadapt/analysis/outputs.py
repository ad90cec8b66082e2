"""Run folders → what each model makes of its whole domains."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointadapt.config import Config
from jointadapt.data import UNLABELLED, Domain, align, read_domain
from jointadapt.errors import UserError
from jointadapt.experiment.prepare import read_task
from jointadapt.networks.features import features_of, usable_device
from jointadapt.runs.model import Model
from jointadapt.runs.reading import FinishedRun
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.progress import Track


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
        takes = option == "trade_off" or option in run.config.method_options
        if takes and isinstance(value, int | float) and value > 0 and run.accuracy is not None:
            found.setdefault(run.options(option, "seed"), {}).setdefault(float(value), []).append(run)
    for by_value in found.values():
        if len(by_value) >= 3:
            yield next(iter(by_value.values()))[0], dict(sorted(by_value.items()))
