"""What the user gives → aligned domains as the network gets them: reading, checking, a frozen backbone's features."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from jointadapt.config import BASELINE, Config
from jointadapt.data import UNLABELLED, Domain, align, from_arrays, from_dataset, read_domain
from jointadapt.data.benchmarks import domains_of, load_benchmark, read
from jointadapt.data.frames import from_frame
from jointadapt.data.kinds import AS_IT_SAYS, Reading, names_in
from jointadapt.data.labels import SURPLUS
from jointadapt.data.several import pool
from jointadapt.data.target_labels import label_rows, read_labels
from jointadapt.data.units import other_unit
from jointadapt.diagnostics.class_shares import ClassShares
from jointadapt.errors import UserError
from jointadapt.experiment.sources import kept_of, paths_of, several_of, weighed, with_dropped, without_origins
from jointadapt.inputs.options import Representation
from jointadapt.inputs.pipeline import Inputs, fit_inputs
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import FeatureExtractor
from jointadapt.runtime.containers import is_annotated, is_frame
from jointadapt.runtime.progress import Track
from jointadapt.runtime.random_state import preserved_rng_state
from jointadapt.selection.sources import SourceWeight

BACKBONES: dict[Representation, str] = {"raw": "cnn1d", "fft": "none", "log-spectrogram": "cnn"}
Given = Any  # a path, a `Domain`, rows in whatever `from_arrays` takes, a tuple of such rows and labels, or a dataset
RARE = 0.1  # of the mean number of rows of a class
MOST_NAMED = 3


@dataclass(frozen=True)
class Prepared:
    """Aligned domains as the network gets them (features, when the backbone is frozen), the target as people see it.

    `extractor` is the backbone, and what makes features of other rows by it; `inputs` what was done to rows before it.

    The target is without labels. Those it came with are `target_truth` (m,), `UNLABELLED` where unknown, and are for
    the evaluation alone. `given` are the classes (m,) of the target rows whose labels are trained on, `UNLABELLED` of
    all others; None when there are none. These rows count in no accuracy. `sources` says what each of several sources
    counts for; a dropped one has no rows in `source`. `shares` are those of the
    classes, where they were estimated: the source has the weights that follow. `surplus` (m,), for the evaluation too,
    are the target rows whose label is of a class that the source lacks; none unless it is asked for what is unknown.
    """

    source: Domain
    target: Domain
    target_truth: Tensor
    pictures: Domain
    extractor: FeatureExtractor
    inputs: Inputs
    shape: tuple[int, ...] | None
    notes: tuple[str, ...]
    given: Tensor | None = None
    sources: tuple[SourceWeight, ...] = ()
    shares: ClassShares | None = None
    surplus: Tensor | None = None

    @property
    def labels_told(self) -> Tensor:
        """What is known of each target row's label, (m,): its class, `SURPLUS`, or `UNLABELLED`."""
        return self.target_truth if self.surplus is None else self.target_truth.masked_fill(self.surplus, SURPLUS)

    @property
    def backbone(self) -> Backbone:
        """The backbone as it is before any training."""
        return self.extractor.backbone

    @property
    def frozen(self) -> bool:
        """Whether the backbone stays as it is: the rows are its features."""
        return self.source.precomputed

    @property
    def drawn(self) -> bool:
        """Whether the backbone's weights may come from the seed: a factory of one's own may draw them."""
        some = next(self.backbone.parameters(), None)
        return some is not None and (self.backbone.own or not self.backbone.pretrained)


class PreparedOnce:
    """What was prepared of the same domains for several runs: once for all that read them alike."""

    def __init__(self) -> None:
        self._known: list[tuple[Config, Prepared]] = []

    def of(self, config: Config, make: Callable[[], Prepared]) -> Prepared:
        """Return what a run gets, which `make` makes where no run before it got the same.

        That is decided by all of the configuration but the method; by the seed only where weights are drawn with it.
        """
        checked = config.method_options if "+" in config.task else {}  # an estimator may not go with several sources
        alike = replace(config, method=BASELINE, method_options=checked, trade_off="auto", out="")
        for other, found in self._known:
            seed = other.seed if found.drawn else alike.seed
            if replace(other, seed=seed) == alike:
                return found
        self._known.append((alike, make()))
        return self._known[-1][1]


def as_domain(given: Given | None, name: str, reading: Reading = AS_IT_SAYS) -> Domain | None:
    """Return what was given as a domain; None for a path, which is read once the cache is known, and for nothing.

    Several sources, in a list, or in a dict by name, are one domain whose rows know their origins.
    """
    if given is None or paths_of(given):
        return None
    if name == "source" and (several := several_of(given)):
        return pool([_one_of_several(each, called, reading) for called, each in several])
    match given:
        case Domain():
            return given
        case tuple():
            if len(given) != 2:
                raise UserError(f"{name} is a tuple of {len(given)}; give arrays as (x, y).")
            return _of_rows(given[0], given[1], name, reading)
        case Dataset() | DataLoader():
            return from_dataset(given, name)
        case _:
            return _of_rows(given, None, name, reading)


def _one_of_several(given: Given, name: str, reading: Reading) -> Domain:
    found = as_domain(given, name or "source", reading)
    if found is None:
        raise UserError(
            f"the source {name} is {given!r}: paths are given as a list of paths alone, rows as a list or dict of them."
        )
    return replace(found, name=name) if name else found


def _of_rows(x: Any, y: Any, name: str, reading: Reading) -> Domain:
    if is_frame(x) or is_annotated(x):
        return from_frame(x, y, name, reading=reading)
    return from_arrays(x, y, name, kind=reading.kind)


def read_role(path: str | tuple[str, ...], role: str, cache: Path, track: Track, reading: Reading) -> Domain:
    """Return the domain at a path, or at several as one; an error that names the flag where there is none."""
    if not path:
        part = f", or, where one table holds both, with --domain-column and --{role}-domain" if role == "target" else ""
        raise UserError(f"no {role} is given; name one with --{role}{part}.")
    return pool([read_domain(each, cache, track, reading) for each in names_in(path)])


def read_task(config: Config, cache: Path, track: Track) -> tuple[Domain, Domain]:
    """Return the two domains of a benchmark's task."""
    missing = [f"--{name}" for name in ("benchmark", "root", "task") if not getattr(config, name)]
    if missing:
        raise UserError(f"a benchmark needs --benchmark, --root and --task; {' and '.join(missing)} is missing.")
    if config.source or config.target:
        raise UserError("--benchmark names both domains; leave --source and --target out.")
    if config.task == "all":
        raise UserError("one run has one task; for all of them use: jointadapt compare")
    benchmark = load_benchmark(config.benchmark)
    *sources, target = (
        read(benchmark, name, Path(config.root), cache, track) for name in domains_of(benchmark.task(config.task))
    )
    return pool(sources), target


def choose_backbone(config: Config, source: Domain) -> str:
    """Return the name of a backbone; "auto": resnet50 for image files, cnn for images in arrays, none for features.

    Signals get what fits their representation: cnn1d for their samples.
    """
    if config.backbone != "auto":
        return config.backbone
    if source.kind == "signal":
        return BACKBONES[config.representation]
    if source.shape is None:
        return "resnet50"
    return "cnn" if len(source.shape) == 3 else "none"


def prepare(
    config: Config,
    source: Domain,
    target: Domain,
    device: torch.device,
    cache: Path,
    track: Track,
    backbone: nn.Module | None = None,
    labels: Mapping[str, str] | None = None,
) -> Prepared:
    """Return domains that fit each other and the network, and notes on what the user should know of them.

    A module that is given is the backbone, of which the configuration says the name alone. Labels (item → class) are
    of target examples, to train on.
    """
    # Rows are rows, to this run.
    source, target = (replace(domain, ready=False, precomputed=False) for domain in (source, target))
    if config.source_weights == "pooled" or source.origins is None:
        return _prepare(config, without_origins(source), target, device, cache, track, backbone, labels)
    found = _prepare(config, source, target, device, cache, track, backbone, labels)
    kept, sources, notes = weighed(config, found.extractor, found.source, found.target)
    if any(weight.dropped for weight in sources):  # the run is that of the others
        source = kept_of(source, sources)
        others = prepare(config, source, target, device, cache, track, backbone, labels)
        return replace(others, sources=with_dropped(sources, others.sources), notes=(*notes, *others.notes))
    return replace(found, source=kept, sources=sources, notes=(*found.notes, *notes))


def _prepare(
    config: Config,
    source: Domain,
    target: Domain,
    device: torch.device,
    cache: Path,
    track: Track,
    backbone: nn.Module | None,
    labels: Mapping[str, str] | None,
) -> Prepared:
    """Return what `prepare` does, of one source or of all of several."""
    inputs, source, target, notes = matched(config, source, target)
    given, target = _take_given(config, target, labels)
    truth, surplus, target = _without_truth(target)
    with preserved_rng_state():
        torch.manual_seed(config.seed)
        built = build_backbone(backbone or config.backbone, config.weights, source.shape)
    extractor = FeatureExtractor(built, config.backbone, config.frozen, cache, device, workers(config), track)
    pictures, shape = target, source.shape
    source, target = extractor.prepared(source), extractor.prepared(target)
    return Prepared(
        source, target, truth, pictures, extractor, inputs, shape, (*notes, *built.notes), given, surplus=surplus
    )


def _without_truth(target: Domain) -> tuple[Tensor, Tensor, Domain]:
    """Return the target's known labels, which of its rows are of a class that the source lacks, and it without them."""
    surplus = target.labels == SURPLUS
    return target.labels.masked_fill(surplus, UNLABELLED), surplus, target.unlabelled()


def prepare_features(config: Config, source: Domain, target: Domain, backbone: Backbone) -> Prepared:
    """Return what `prepare` does when the domains' rows are a frozen backbone's features already.

    Where `PrecomputedFeatures` stand for the backbone, the run's model holds the head alone; it finds the backbone by
    the configuration.
    """
    if config.source_weights == "pooled":
        source = without_origins(source)
    inputs, rows, aligned, notes = matched(config, source, target)
    given, aligned = _take_given(config, aligned)
    truth, surplus, aligned = _without_truth(aligned)
    extractor = FeatureExtractor(backbone, config.backbone)
    found = Prepared(rows, aligned, truth, aligned, extractor, inputs, None, notes, given, surplus=surplus)
    if rows.origins is None:
        return found
    kept, sources, told = weighed(config, extractor, rows, aligned)
    if any(weight.dropped for weight in sources):
        others = prepare_features(config, kept_of(source, sources), target, backbone)
        return replace(others, sources=with_dropped(sources, others.sources), notes=(*told, *others.notes))
    return replace(found, source=kept, sources=sources, notes=(*notes, *told))


def _take_given(
    config: Config, target: Domain, labels: Mapping[str, str] | None = None
) -> tuple[Tensor | None, Domain]:
    """Return the classes of the target rows whose labels are given, None without any, and the target without these."""
    if config.target_labels:
        labels = read_labels(config.target_labels)
    if not labels:
        return None, target
    given = label_rows(target, labels)
    return given, replace(target, labels=target.labels.where(given == UNLABELLED, UNLABELLED))


def matched(config: Config, source: Domain, target: Domain) -> tuple[Inputs, Domain, Domain, tuple[str, ...]]:
    """Return domains with the same classes and shapes, the source with labelled rows only, and notes for the user.

    First comes what was done to their rows.
    """
    target, notes = align(source, target, config.unknown)
    if (source.labels == UNLABELLED).any():
        source = source.select((source.labels != UNLABELLED).nonzero().flatten().tolist())
    if source.holds_images != target.holds_images:
        raise UserError("one domain holds image files, the other arrays; give both as images or both as arrays.")
    notes += other_unit(source, target)
    inputs, source, target = fit_inputs(config, source, target)
    if source.shape != target.shape:
        raise UserError(
            f"source rows have shape {source.shape}, target rows {target.shape}; give both the same features."
        )
    small = [f"{domain.name} has {len(domain)}" for domain in (source, target) if len(domain) < config.batch_size]
    if small:
        notes += (
            f"{' and '.join(small)} rows, fewer than a batch of {config.batch_size}: they repeat within a batch.",
        )
    if config.class_balance == "no":
        notes += rare_classes(source)
    return inputs, source, target, tuple(dict.fromkeys((*source.notes, *target.notes, *notes)))


def rare_classes(source: Domain) -> tuple[str, ...]:
    """Return a note on classes that are rare in the source: under `RARE` of a class's mean number of rows."""
    counts = torch.bincount(source.labels, minlength=len(source.classes))
    present = (counts > 0).nonzero().flatten()
    few = present[counts[present] < RARE * len(source) / len(present)].tolist()
    if not few:
        return ()
    named = ", ".join(f"{source.classes[label]!r} has {int(counts[label])}" for label in few[:MOST_NAMED])
    more = f" and {len(few) - MOST_NAMED} more classes are alike" if len(few) > MOST_NAMED else ""
    note = (
        f"of {len(source):,} source rows {named}{more}: so rare a class may never be predicted; --class-balance "
        "batches shows each class equally often."
    )
    return (note,)


def workers(config: Config) -> int:
    """Return the number of processes that decode images."""
    return min(os.cpu_count() or 1, 8) if config.workers == "auto" else config.workers
