"""Configuration → data, network, method, training, evaluation, report: the only package that knows all the others."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from jointadapt.config import BASELINE, RUN_OPTIONS, Config, check_names, content_of, decides_numbers, make_config
from jointadapt.data import Domain
from jointadapt.data.domain import thumbnail
from jointadapt.data.own_datasets import options_of_loaders
from jointadapt.data.target_labels import labels_by_item
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment.alignment import check_alignment
from jointadapt.experiment.auto import choose_method
from jointadapt.experiment.devices import begins_alone, device_of, launch
from jointadapt.experiment.estimate import with_estimate
from jointadapt.experiment.few_labels import without_labels
from jointadapt.experiment.fit import not_as_begun
from jointadapt.experiment.prepare import (
    Given,
    Prepared,
    PreparedOnce,
    as_domain,
    choose_backbone,
    prepare,
    read_role,
    read_task,
)
from jointadapt.experiment.recipes import with_recipe
from jointadapt.experiment.run import Run, raising, train_method, train_methods
from jointadapt.experiment.session import Session
from jointadapt.experiment.sources import paths_of
from jointadapt.experiment.trade_off import choose_trade_off
from jointadapt.methods.build import check_method
from jointadapt.methods.names import is_source_free
from jointadapt.methods.options import options_of
from jointadapt.methods.registry import AUTO, CANDIDATES, METHODS
from jointadapt.networks.backbone import check_is_backbone, name_of
from jointadapt.reporting.run_report import write_report
from jointadapt.runs.folder import RunFolder, free_folder
from jointadapt.runs.reading import read_summary
from jointadapt.runs.summary import Summary
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.main_guard import check_not_imported_again
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.random_state import preserved_rng_state
from jointadapt.runtime.torch_defaults import torch_defaults
from jointadapt.training.distributed import reporting_lost_ranks

__all__ = ["Run", "device_of", "estimate", "execute", "execute_together", "execute_variants", "resume", "train"]


@torch_defaults()
def train(
    source: Given,
    target: Given | None = None,
    out: str | Path | None = None,
    track: Track = silent,
    recipe: str | None = None,
    target_labels: Any = "",
    **options: Any,
) -> Run:
    """Return a classifier trained on labelled source and unlabelled target data.

    Args:
        source: a path (`read_domain`), rows and labels (x, y) or a frame in whatever form `from_arrays` takes, a
            `Domain`, or a map-style `Dataset` of (x, y) or the loader of one, whose transforms are kept
            (`from_dataset`); the source's loader says the batch size if nothing else does. Of a frame y may be the name
            of a column, (frame, "species"). Several sources are a list of these, [(x1, y1), (x2, y2)], or a dict of
            them by name (docs/guides/several-sources.md).
        target: likewise; also x alone. Labels found there serve evaluation only. None where it is in the same table as
            the source (`domain_column`, `target_domain`).
        target_labels: labels of some target examples, to train on too: a file (`--target-labels`), item → class, or an
            array with None or NaN where there is none.
        out: the run folder to make; None leaves nothing on disk.
        recipe: the name of options that those given here win over.
        options: of the run (`Config`), and of its method, which may be a name or a class. The backbone may be a module
            (`Backbone.of` says what it may be): it is copied and trained along; with `frozen=True` it stays as it is.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> run = train((x, x[:, 0] > 0), x + 1, steps=10)
    >>> run.model.classes
    ('False', 'True')
    """
    paths = {"source": source, "target": target}
    options = {**options_of_loaders(source, target), **options}
    found = {role: paths_of(given) for role, given in paths.items()}
    options |= {role: each if each[1:] else each[0] for role, each in found.items() if each}
    options, backbone = _without_module(options)
    from_file = isinstance(target_labels, str | Path)
    options |= {"target_labels": str(target_labels)} if from_file and target_labels else {}
    with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as folder:
        config = make_config({**with_recipe(recipe, options), "out": folder})
        if target is None and config.splits_table and not found["source"] and not isinstance(source, Domain):
            paths["target"] = source
        domains = [as_domain(given, role, config.reading_of(role)) for role, given in paths.items()]
        labels = None if from_file else labels_by_item(domains[1], target_labels)
        run = execute(config, *domains, backbone=backbone, labels=labels, track=track)
    return run if out is not None else replace(run, folder=None)


@torch_defaults()
def resume(folder: str | Path, track: Track = silent, options: Mapping[str, Any] | None = None) -> Run:
    """Return the run of a folder, finished from its newest checkpoint; its numbers are an uninterrupted run's.

    With options a run that is not begun yet is begun by them; one that is begun has to have been given the same, but
    for those that decide no number. So one command serves a job scheduler, or torchrun, at first and ever after. A
    backbone that is a module, or any other object that no file can hold, has to be among them.
    """
    options, backbone = _without_module(options or {})
    if "out" in options:
        raise UserError("--resume names the run folder; leave --out out.")
    begun = RunFolder(Path(folder))
    if options and not begun.begun:
        return execute(make_config({**options, "out": str(folder)}), backbone=backbone, track=track)
    kept = begun.read_config()
    then = make_config({**kept.given, **_objects_again(kept, options, begun.path)})
    check_names(kept.flat(), [then.method])
    _check_as_begun(then, options, begun.path)
    config = make_config({**then.given, **options, "out": str(folder)})
    if not config.benchmark and not (config.source and config.target):
        raise UserError(f"{folder} was trained on arrays in memory; only runs on files can be resumed.")
    return execute(config, backbone=backbone, track=track, resuming=True)


def estimate(folder: str | Path, track: Track = silent, **options: Any) -> Summary:
    """Return the summary of a finished run with the accuracy that is expected of it on the target (`with_estimate`).

    What has to be trained for it is trained once, and kept in the run folder, as the estimate is.

    Args:
        folder: of the run.
        track: shows progress.
        options: `source` and `target` of a run on arrays in memory; `backbone`, `weights` of one's own.
    """
    found = read_summary(Path(folder))
    if found.accuracy_estimate is not None:
        return found
    config = RunFolder(Path(folder)).read_config()
    missing = [role for role in ("source", "target") if not (getattr(config, role) or options.get(role))]
    if missing and not config.benchmark:
        raise UserError(
            f"{folder} was trained on arrays in memory; save them, and name them with --source and --target."
        )
    return resume(folder, track, {**options, "estimate": True}).summary


@torch_defaults()
def execute(
    config: Config,
    source: Domain | None = None,
    target: Domain | None = None,
    *,
    backbone: nn.Module | None = None,
    labels: Mapping[str, str] | None = None,
    track: Track = silent,
    resuming: bool = False,
) -> Run:
    """Return the run of a configuration; domains that are not given are read from its paths.

    A module that is given is the backbone, of which the configuration says the name alone. Labels (item → class) are
    of target examples, instead of the file that the configuration names.
    """
    check_not_imported_again()
    _check(config)
    source, target = _read_domains(config, source, target, track)
    out = config.out or str(free_folder(source.name, target.name, config.method))
    config = replace(_resolved(config, source), out=out)
    with preserved_rng_state(), _held(config, resuming):
        session = _begin(config, source, target, backbone, labels, track)
        for note in session.data.notes:
            session.warn(note)
        if not session.folder.begun:
            session.folder.write_config(session.config)
        with reporting_lost_ranks(session.folder.path):
            run = _train_all(session)
            if session.writes and session.config.report:
                write_report(session.folder.path, lambda row: thumbnail(session.data.pictures, row))
            session.wait()
    return run


@torch_defaults()
def execute_together(configs: Sequence[Config], data: Sequence[Prepared]) -> list[Run | UserError]:
    """Return the run of each configuration on its data as the network gets them, or why there is none; no report.

    Those that can be trained as one are. `config.out` may be the folder of an interrupted run, which is finished, or of
    a finished one, which is read.
    """
    sessions: dict[int, Session] = {}
    runs: dict[int, Run | UserError] = {}
    with preserved_rng_state(), ExitStack() as folders:
        for number, (config, own) in enumerate(zip(configs, data, strict=True)):
            try:
                folders.enter_context(RunFolder(Path(config.out)).held())
                sessions[number] = _session_of(config, own)
            except UserError as error:
                runs[number] = error
        runs |= dict(zip(sessions, _train_each([*sessions.values()]), strict=True))
    return [runs[number] for number in range(len(configs))]


@torch_defaults()
def execute_variants(configs: Sequence[Config], track: Track = silent) -> list[Run]:
    """Return the runs of configurations of the same files, which are read once; no report.

    Those that can be trained as one are. A folder may hold an interrupted run, which is finished.
    """
    check_not_imported_again()
    source, target = _read_domains(configs[0], None, None, track)
    prepared, sessions = PreparedOnce(), []
    with preserved_rng_state(), ExitStack() as folders:
        for config in configs:
            config = _resolved(config, source)
            folders.enter_context(RunFolder(Path(config.out)).held())
            sessions.append(_begin(config, source, target, None, None, track, prepared))
            if not sessions[-1].folder.begun:
                sessions[-1].folder.write_config(config)
        for note in dict.fromkeys(note for session in sessions for note in session.data.notes):
            sessions[0].warn(note)
        return raising(_train_each(sessions))


def _train_each(sessions: Sequence[Session]) -> list[Run | UserError]:
    """Return the run of each session, or why there is none; those that are one training each are trained together."""
    single = [number for number, session in enumerate(sessions) if _is_one_training(session.config)]
    runs = dict(zip(single, train_methods([sessions[number] for number in single], None), strict=True))
    for number, session in enumerate(sessions):
        if number not in runs:
            try:
                runs[number] = _train_all(session)
            except UserError as error:
                runs[number] = error
    return [runs[number] for number in range(len(sessions))]


def _resolved(config: Config, source: Domain) -> Config:
    """Return the configuration with what the source decides: a benchmark may say its kind, and so may a domain."""
    kind = "signal" if source.kind == "signal" else config.kind
    return replace(config, kind=kind, backbone=choose_backbone(config, source))


def _session_of(config: Config, data: Prepared) -> Session:
    session = Session(config, data, launch(config), silent)
    check_alignment(session)
    return session


def _is_one_training(config: Config) -> bool:
    """Return whether a run needs no other model, and no choice, before its training or after it."""
    choices = config.method == AUTO or config.trade_off == "search" or config.estimate
    return not choices and not _wants_baseline(config)


def _wants_baseline(config: Config) -> bool:
    asked = config.baseline or config.method == AUTO or is_source_free(config.method)
    return config.method != BASELINE and asked


def _without_module(options: Mapping[str, Any]) -> tuple[dict[str, Any], nn.Module | None]:
    """Return the options with the name of the backbone, and the module where it is one."""
    backbone = options.get("backbone")
    if backbone is not None:
        check_is_backbone(backbone)
    if not isinstance(backbone, nn.Module):
        return {**options}, None
    return {**options, "backbone": name_of(backbone)}, backbone


def _objects_again(kept: Config, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the options that a run was given as objects: those given now, as the folder keeps only what they print."""
    known = options_of(kept.method)
    names = [name for name in kept.given if name in known and known[name].python_only]
    for name in names:
        if name not in options:
            raise UserError(
                f"{folder} was begun with {name} that only Python can give; give them again: "
                f"jointadapt.resume({str(folder)!r}, options={{{name!r}: …}})."
            )
    return {name: options[name] for name in names}


def _check_as_begun(then: Config, options: Mapping[str, Any], folder: Path) -> None:
    """Refuse an option that decides numbers and is another than the run was given."""
    for name in sorted(options, key=lambda name: name != "method"):
        check_names([name], [then.method])
        if decides_numbers(name):
            option = {**options_of(then.method), **RUN_OPTIONS}[name]
            before = then.flat()[name]
            now = option.check(METHODS.name_of(options[name]) if name == "method" else options[name])
            if content_of(name, before) != content_of(name, now):
                raise not_as_begun(folder, name, before, now)


def _check(config: Config) -> None:
    """Refuse a method that cannot be before any work is done."""
    for name in CANDIDATES if config.method == AUTO else (config.method,):
        check_method(name, config.trade_off)
    if config.method == AUTO and config.trade_off == "search":
        raise UserError("--method auto chooses among methods at one --trade-off each; search it for one method.")


def _read_domains(config: Config, source: Domain | None, target: Domain | None, track: Track) -> tuple[Domain, Domain]:
    """Return the domains that were given, and those of the configuration where none was."""
    cache = Path(config.cache) if config.cache else default_cache()
    if config.benchmark or config.root or config.task:
        return read_task(config, cache, track)
    source = source or read_role(config.source, "source", cache, track, config.reading_of("source"))
    return source, target or read_role(config.target, "target", cache, track, config.reading_of("target"))


@contextmanager
def _held(config: Config, resuming: bool) -> Iterator[None]:
    """Hold the run's folder: the process that begins does it for those that it starts."""
    with RunFolder(Path(config.out)).held(empty=not resuming) if begins_alone(config) else nullcontext():
        yield


def _begin(
    config: Config,
    source: Domain,
    target: Domain,
    backbone: nn.Module | None,
    labels: Mapping[str, str] | None,
    track: Track,
    prepared: PreparedOnce | None = None,
) -> Session:
    """Return the session of a run: its processes launched, its data as the network gets them."""
    fabric = launch(config)
    config = replace(config, out=fabric.broadcast(config.out))
    track = track if fabric.is_global_zero else silent
    cache = Path(config.cache) if config.cache else default_cache()
    with fabric.rank_zero_first(local=True):  # the others find its features in the cache
        make = partial(prepare, config, source, target, fabric.device, cache, track, backbone, labels)
        data = make() if prepared is None else prepared.of(config, make)
    session = Session(config, data, fabric, track)
    session.ranks.require(min(config.batch_size, len(data.source), len(data.target)))
    check_alignment(session)
    return session


def _train_all(session: Session) -> Run:
    """Return the run of the method, after its baseline and the choices that were asked for."""
    config, baseline = session.config, None
    try:
        if _wants_baseline(config):
            plain = {"method": BASELINE, "trade_off": "auto", "align": "no", "label_shift": "no", "baseline": False}
            plain |= {"unknown": False}
            before = without_labels(session) if config.method == AUTO else session
            baseline = train_method(before.within(BASELINE, **plain), None)
        if config.trade_off == "search":
            session = replace(session, config=replace(config, trade_off=choose_trade_off(session, baseline)))
        if config.method == AUTO and baseline is not None:
            run = choose_method(session, baseline)
        else:
            run = train_method(session, baseline)
        if config.estimate:
            run = with_estimate(session, run)
        return replace(run, baseline=baseline and baseline.model)
    except Interrupted as stop:
        raise Interrupted(stop.number, session.folder.path) from None
