"""Configuration → data, network, method, training, evaluation, report: the only room that knows all the others."""

import copy
import os
import platform
import shutil
import tempfile
import time
import warnings
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import torch
import torchvision
from lightning_fabric import Fabric
from torch import Tensor

import jointadapt
from jointadapt.backbones import features_of, recorded
from jointadapt.calibration import cooling_temperature, tempered
from jointadapt.candidates import LAST, Candidates
from jointadapt.choosing import CANDIDATES, Choice, choose_model
from jointadapt.config import Config, make_config
from jointadapt.data import UNLABELLED, Batches, Domain
from jointadapt.data.batches import share
from jointadapt.data.domain import Transform
from jointadapt.data.files import default_cache
from jointadapt.data.labels import join_labelled
from jointadapt.diagnosis import diagnose
from jointadapt.errors import Interrupted, UserError
from jointadapt.evaluation import activations, calibration_error, evaluate, verdict
from jointadapt.health import Checkup, divergence
from jointadapt.interruption import stop_requests
from jointadapt.methods import build_method, check_method, is_source_free
from jointadapt.model import Model
from jointadapt.networks import Network
from jointadapt.preparation import (
    Given,
    Prepared,
    as_domain,
    choose_backbone,
    prepare,
    read_role,
    read_task,
    thumbnail,
    workers,
)
from jointadapt.progress import Track, first_process, silent
from jointadapt.ranks import Ranks
from jointadapt.report import write_report
from jointadapt.runs import RunFolder, free_folder
from jointadapt.selection import CRITERIA, FOLDS, choose, shares
from jointadapt.trainer import Trainer

BASELINE = "source-only"
AUTO = "auto"
RECORDS = 200
PICTURED_ROWS = 300
COMPARED_ROWS = 2_000  # of each domain, by which --method auto compares its models
# What may change between an interruption and its resumption.
FREE_OPTIONS = (
    "source",
    "target",
    "out",
    "baseline",
    "report",
    "device",
    "devices",
    "num_nodes",
    "accumulate",
    "channels_last",
    "compile",
    "workers",
    "checkpoint_every",
    "cache",
)
TRADE_OFFS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Run:
    """What a training leaves: the model, the summary, and the folder with everything (None when none was asked for)."""

    model: Model
    summary: dict[str, Any]
    folder: Path | None


def train(source: Given, target: Given, out: str | Path | None = None, track: Track = silent, **options: Any) -> Run:
    """Return a classifier trained on labelled source and unlabelled target data.

    Args:
        source: a path (`read_domain`), arrays (x, y), or a `Domain`.
        target: likewise; also x alone. Labels found there only serve the evaluation.
        out: the run folder to make; None leaves nothing on disk.
        options: fields of `Config`.

    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> run = train((x, x[:, 0] > 0), x + 1, steps=10)
    >>> run.model.classes
    ('False', 'True')
    """
    domains = [as_domain(given, name) for given, name in ((source, "source"), (target, "target"))]
    paths = [str(given) if isinstance(given, str | Path) else "" for given in (source, target)]
    with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as folder:
        run = execute(
            make_config({**options, "source": paths[0], "target": paths[1], "out": folder}), *domains, track=track
        )
    return run if out is not None else replace(run, folder=None)


def resume(folder: str | Path, track: Track = silent) -> Run:
    """Return the run of a folder, finished from its newest checkpoint; its numbers are an uninterrupted run's."""
    config = replace(RunFolder(Path(folder)).read_config(), out=str(folder))
    if not config.benchmark and not (config.source and config.target):
        raise UserError(f"{folder} was trained on arrays in memory; only runs on files can be resumed.")
    return execute(config, track=track, resuming=True)


def execute(
    config: Config,
    source: Domain | None = None,
    target: Domain | None = None,
    *,
    track: Track = silent,
    resuming: bool = False,
) -> Run:
    """Return the run of a configuration; domains that are not given are read from its paths."""
    for name in CANDIDATES if config.method == AUTO else (config.method,):
        check_method(name, config.trade_off)  # a method that cannot be should fail before any work
    if config.method == AUTO and config.trade_off == "search":
        raise UserError("--method auto chooses among methods at one --trade-off each; search it for one method.")
    cache = Path(config.cache) if config.cache else default_cache()
    if config.benchmark or config.root or config.task:
        source, target = read_task(config, cache, track)
    source = source or read_role(config.source, "source", cache, track)
    target = target or read_role(config.target, "target", cache, track)
    out = Path(config.out) if config.out else free_folder(source.name, target.name, config.method)
    made = RunFolder(out).create() if first_process() and not resuming else []
    try:
        fabric = _fabric(config)
        ranks = Ranks(fabric.global_rank, fabric.world_size)
        out = Path(fabric.broadcast(str(out)))
        config = replace(config, backbone=choose_backbone(config.backbone, source), out=str(out))
        track = track if fabric.is_global_zero else silent
        with fabric.rank_zero_first(local=True):  # the others find its features in the cache
            data = prepare(config, source, target, fabric.device, cache, track)
        ranks.require(min(config.batch_size, len(data.source), len(data.target)))
    except BaseException:
        with suppress(OSError):
            for folder in made:  # nothing is in them yet
                folder.rmdir()
        raise
    for note in data.notes if fabric.is_global_zero else ():
        warnings.warn(note, stacklevel=2)
    RunFolder(out, fabric.is_global_zero).write_config(config)
    baseline = None
    try:
        if config.method != BASELINE and (config.baseline or config.method == AUTO or is_source_free(config.method)):
            plain = replace(config, method=BASELINE, trade_off="auto", baseline=False, out=str(out / BASELINE))
            baseline = _run(plain, data, None, fabric, track)
        if config.trade_off == "search":
            config = replace(config, trade_off=_choose_trade_off(config, data, baseline, fabric, track))
        if config.method == AUTO and baseline is not None:
            run = _choose_method(config, data, baseline, fabric, track)
        else:
            run = _run(config, data, baseline, fabric, track)
    except Interrupted as stop:
        raise Interrupted(stop.number, out) from None
    if config.report and fabric.is_global_zero:
        write_report(out, lambda row: thumbnail(data.pictures, row))
    fabric.barrier()
    return run


def execute_prepared(config: Config, data: Prepared) -> Run:
    """Return the run of one method on data as the network gets them; no baseline, no report.

    `config.out` may be the folder of an interrupted run, which is finished, or of a finished one, which is read.
    """
    fabric = _fabric(config)
    if config.trade_off == "search":
        config = replace(config, trade_off=_choose_trade_off(config, data, None, fabric, silent))
    return _run(config, data, None, fabric, silent)


def device_of(config: Config) -> torch.device:
    """Return the device that a run uses."""
    return _fabric(config).device


def _fabric(config: Config) -> Fabric:
    """Return what runs the training on the devices; with several, this starts their processes or joins torchrun's."""
    devices, nodes = config.devices, config.num_nodes
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    strategy = "auto" if devices * nodes == 1 else "ddp"
    try:
        fabric = Fabric(
            accelerator=config.device, strategy=strategy, devices=devices, num_nodes=nodes, precision=config.precision
        )
    except Exception as error:
        # Lightning has errors of its own for a device that is unknown, or not there, or not of this precision.
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"--device {config.device} --precision {config.precision} cannot be used ({reason}); try --device auto."
        ) from error
    fabric.launch()
    return fabric


def _run(config: Config, data: Prepared, baseline: Run | None, fabric: Fabric, track: Track) -> Run:
    """Train one method, from its newest checkpoint if it has one, and write all of the run folder but the report."""
    folder = RunFolder(Path(config.out), fabric.is_global_zero)
    if folder.finished:
        return Run(Model.load(folder.path), folder.read_summary(), folder.path)
    folder.write_config(config)
    started = time.monotonic()
    candidates = Candidates(config.select, data.source, data.target, _expected_shares(baseline, data))
    network = _fit(config, candidates, data, baseline, folder, fabric, track)
    candidates.settle(network)
    network.float()  # also after training in float64, as rows are float32
    backbone = network.backbone
    transform = backbone.preprocessing.evaluation() if data.source.holds_images and backbone.preprocessing else None
    ranks = Ranks(fabric.global_rank, fabric.world_size)
    rows_s, rows_t = (_some_rows(len(domain)) for domain in (data.source, data.target))
    features_s, probabilities_s = _activations(network, data.source, rows_s, transform, ranks, track)
    features_t, probabilities_t = _activations(network, data.target, rows_t, transform, ranks, track)
    predicted = probabilities_t.argmax(1)
    if data.frozen:
        network.backbone = data.backbone
    model = Model(network.cpu().eval(), data.source.classes, config, data.shape)
    if folder.writes:
        model.save(folder.model)
    folder.write_predictions(data.target, probabilities_t)
    folder.write_features(
        source=features_s.numpy(),
        target=features_t.numpy(),
        source_labels=data.source.labels[rows_s].numpy(),
        target_predicted=predicted[rows_t].numpy(),
        target_labels=data.target.labels[rows_t].numpy(),
    )
    evaluation = evaluate(predicted, data.target.labels, len(data.source.classes))
    on_source = evaluate(probabilities_s.argmax(1), data.source.labels, len(data.source.classes))
    summary = {
        "jointadapt": jointadapt.__version__,
        "task": f"{data.source.name} → {data.target.name}",
        **{name: getattr(config, name) for name in ("method", "backbone", "steps", "seed")},
        "frozen": data.frozen,
        "classes": list(data.source.classes),
        "source": _describe(data.source, config.source),
        "target": _describe(data.target, config.target),
        "target_labels": 0 if data.given is None else int((data.given != UNLABELLED).sum()),
        "warnings": list(data.notes),
        "selection": {
            **candidates.summary(config.steps, evaluation),
            "trade_off": folder.read_trade_offs(),
        },
        "source_accuracy": on_source.accuracy if on_source else None,
        "confidence": probabilities_t.max(1).values.mean().item(),
        "evaluation": asdict(evaluation) if evaluation else None,
        **_against(baseline, predicted, data.target, config.method),
        "seconds": round(time.monotonic() - started, 1),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
    }
    folder.write_summary(summary)
    fabric.barrier()  # what one rank has written, the others read
    return Run(model, summary, folder.path)


def _activations(
    network: Network, domain: Domain, pictured: Tensor, transform: Transform | None, ranks: Ranks, track: Track
) -> tuple[Tensor, Tensor]:
    """Return features of some rows and probabilities of all; each rank passes a part through the network."""
    if ranks.count == 1:
        return activations(network, domain, transform, track=track, pictured={*pictured.tolist()})
    parts = [share(len(domain), rank, ranks.count) for rank in range(ranks.count)]
    kept = [[row - part.start for row in pictured.tolist() if row in part] for part in parts]
    own = parts[ranks.rank]
    seen = activations(network, domain.select(own), transform, track=track, pictured={*kept[ranks.rank]})
    device = next(network.parameters()).device
    lengths = [[[len(rows)] for rows in each] for each in (kept, parts)]
    features, probabilities = (ranks.gather(x.to(device), rows).cpu() for x, rows in zip(seen, lengths, strict=True))
    return features, probabilities


def _choose_method(config: Config, data: Prepared, baseline: Run, fabric: Fabric, track: Track) -> Run:
    """Train the candidates, each in a run folder of its own; the files of the best, or the baseline's, become ours."""
    folder = RunFolder(Path(config.out), fabric.is_global_zero)
    if folder.finished:
        return Run(Model.load(folder.path), folder.read_summary(), folder.path)
    some = [_some_rows(len(domain), COMPARED_ROWS) for domain in (data.source, data.target)]
    with fabric.rank_zero_first(local=True):
        rows_s, rows_t = (
            _rows_as_they_come(domain.select(rows.tolist()), config, data, fabric, track)
            for domain, rows in zip((data.source, data.target), some, strict=True)
        )
    labels = data.source.labels[some[0]]
    diagnosis = diagnose(rows_s, labels, rows_t, config.seed)
    runs = {BASELINE: baseline}
    for name in () if diagnosis.too_few else CANDIDATES:
        candidate = replace(config, method=name, baseline=False, out=str(folder.path / "candidates" / name))
        runs[name] = _run(candidate, data, baseline, fabric, track)
    predicted = {name: _predicted(run.folder, data.target) for name, run in runs.items() if run.folder is not None}
    if diagnosis.too_few:
        choice = Choice(BASELINE, f"Kept {BASELINE}: {diagnosis}", {})
    else:
        choice = choose_model(rows_s, labels, rows_t, {name: classes[some[1]] for name, classes in predicted.items()})
    chosen = runs[choice.chosen]
    assert chosen.folder is not None
    folder.take(chosen.folder)
    probabilities = _target_probabilities(chosen.model, data, track)
    temperature = cooling_temperature(probabilities, choice.believed)
    calibrated = tempered(probabilities, temperature)
    model = replace(chosen.model, temperature=temperature)
    if folder.writes:
        model.save(folder.model)
    folder.write_predictions(data.target, calibrated)
    against = _against(baseline, predicted[choice.chosen], data.target, choice.chosen)
    compared = "" if choice.chosen == BASELINE else " " + against["verdict"]
    summary = {
        **chosen.summary,
        "method": f"{AUTO}: {choice.chosen}",
        **against,
        "verdict": choice.reason + compared,
        "chosen": choice.chosen,
        "candidates": {
            name: {"evaluation": run.summary["evaluation"], **asdict(choice.scores[name])}
            for name, run in runs.items()
            if name in choice.scores
        },
        "diagnosis": diagnosis.to_dict(),
        "confidence": calibrated.max(1).values.mean().item(),
        "calibration": {
            "temperature": temperature,
            "believed_accuracy": 100 * choice.believed,
            "error_before": calibration_error(probabilities, data.target.labels),
            "error": calibration_error(calibrated, data.target.labels),
        },
        "seconds": round(sum(run.summary["seconds"] for run in runs.values()), 1),
    }
    folder.write_summary(summary)
    fabric.barrier()
    return Run(model, summary, folder.path)


def _target_probabilities(model: Model, data: Prepared, track: Track) -> Tensor:
    """Return what a model makes of the target; a frozen backbone has run already."""
    if not data.frozen:
        return model.activations(data.target, track)[1]
    whole, model.network.backbone = model.network.backbone, recorded(data.backbone)
    probabilities = activations(model.network, data.target, track=track)[1]
    model.network.backbone = whole
    return probabilities


def _rows_as_they_come(domain: Domain, config: Config, data: Prepared, fabric: Fabric, track: Track) -> Tensor:
    """Return rows (n, d) that no training has moved: arrays, or images by the backbone's features before it."""
    if domain.holds_images:
        cache = Path(config.cache) if config.cache else default_cache()
        domain = features_of(domain, data.backbone, config.backbone, fabric.device, cache, workers(config), track)
    return domain.rows(range(len(domain))).flatten(1)


def _fit(
    config: Config,
    candidates: Candidates,
    data: Prepared,
    baseline: Run | None,
    folder: RunFolder,
    fabric: Fabric,
    track: Track,
) -> Network:
    """Return the network as the last step left it; checkpoints and records go to the folder."""
    torch.manual_seed(config.seed)
    backbone = recorded(data.backbone) if data.frozen else copy.deepcopy(data.backbone)
    network = Network(backbone, len(data.source.classes), config.bottleneck_width, config.dropout, data.frozen)
    if baseline is not None and is_source_free(config.method):
        _inherit(network, baseline.model.network)
    method = build_method(config.method, network.widths, vars(config))
    trainer = Trainer(
        fabric,
        network,
        method,
        steps=config.steps,
        rate=config.learning_rate,
        slope=config.rate_slope,
        ceiling=method.trade_off,
        ramp=config.ramp,
        weight_decay=config.weight_decay,
        accumulate=config.accumulate,
        channels_last=config.channels_last,
        compiled=config.compile,
        sharpness=config.sharpness,
    )
    about = {"config": asdict(config), "rows": {"source": len(data.source), "target": len(data.target)}}  # pyright: ignore[reportArgumentType]
    with fabric.rank_zero_first():  # it sets damaged checkpoints aside, the others then read the same one
        state = folder.read_checkpoint()
    if state is not None:
        _check_same_training(state, about, folder.path)
        trainer.restore(state)
        candidates.restore(state["candidates"])
    folder.start_metrics(trainer.step)
    preprocessing = network.backbone.preprocessing
    transform = preprocessing.training() if preprocessing and data.source.holds_images else None
    source = candidates.training_source
    if data.given is not None:
        source = join_labelled(source, data.target, data.given)
    batches = Batches(source, data.target, config.batch_size, config.seed, transform, trainer.part)
    every = max(1, config.steps // 10) if config.checkpoint_every == "auto" else config.checkpoint_every
    checkup = Checkup(config.steps)
    at_once = fabric.device.type == "cpu"
    with stop_requests() as requested:
        records = trainer.train(batches.iterate(trainer.step, config.steps, workers(config)))
        for record in track(records, config.steps, f"training {config.method}", trainer.step):
            written = record.step % max(1, config.steps // RECORDS) == 0 or record.step == config.steps
            regular = record.step % every == 0 or record.step == config.steps
            stop = trainer.largest(*requested[:1])
            kept = stop or regular
            if (at_once or written or kept) and (fault := trainer.fault()):
                raise divergence(fault, batches, folder.describe_checkpoints())
            if written:
                folder.add_metrics(record.numbers())
            if checkup.due(record.step):
                notes = checkup.look(record.step, trainer.condition())
                for note in notes if folder.writes else ():
                    warnings.warn(f"{config.method}, {note}", stacklevel=2)
            if regular and candidates.watched:
                candidates.add(record.step, network)
            if kept:
                folder.save_checkpoint(record.step, {**trainer.state(), **about, "candidates": candidates.state()})
            if stop:
                fabric.barrier()
                raise Interrupted(stop)
    return network


def _expected_shares(baseline: Run | None, data: Prepared) -> Tensor:
    """Return the share of each class among the target rows: as source-only predicts them, else as in the source."""
    if baseline is None or baseline.folder is None:
        return shares(data.source.labels, len(data.source.classes))
    return shares(_predicted(baseline.folder, data.target), len(data.source.classes))


def _predicted(folder: Path, target: Domain) -> Tensor:
    index = {name: position for position, name in enumerate(target.classes)}
    return torch.tensor([index[name] for name in RunFolder(folder).read_predictions()])


def _choose_trade_off(
    config: Config, data: Prepared, baseline: Run | None, fabric: Fabric, track: Track
) -> float | Literal["auto"]:
    """Return the λ of the highest score without target labels; every trial is kept in trade-off.json.

    The criterion is the one that selects checkpoints, else transfer cross-validation, the paper's. One that holds rows
    out is averaged over folds of the source. A λ is eligible if its model of every fold is; "auto" if none is.
    """
    out, run = Path(config.out), RunFolder(Path(config.out), fabric.is_global_zero)
    rule = "transfer-cv" if config.select == LAST else config.select
    trials = (run.read_trade_offs() or {"trials": []})["trials"]
    for ceiling, fold in product(TRADE_OFFS, range(FOLDS if CRITERIA[rule].holds_out else 1)):
        if any((trial["trade_off"], trial["fold"]) == (ceiling, fold) for trial in trials):
            continue
        folder = RunFolder(out / "trade-off" / f"{ceiling:g}-{fold}", run.writes)
        candidates = Candidates(rule, data.source, data.target, _expected_shares(baseline, data), fold)
        _fit(
            replace(config, trade_off=ceiling, out=str(folder.path)), candidates, data, baseline, folder, fabric, track
        )
        trials.append({"trade_off": ceiling, "fold": fold, **candidates.judged(last=config.select == LAST)})
        run.write_trade_offs({"rule": rule, "chosen": None, "trials": trials})
        if run.writes:
            shutil.rmtree(folder.path)
    groups = [[trial for trial in trials if trial["trade_off"] == ceiling] for ceiling in TRADE_OFFS]
    allowed = [all(trial["eligible"] for trial in group) for group in groups]
    best = choose([mean(trial["score"] for trial in group) for group in groups], allowed)
    chosen = "auto" if best is None else TRADE_OFFS[best]
    run.write_trade_offs({"rule": rule, "chosen": chosen, "trials": trials})
    if run.writes:
        shutil.rmtree(out / "trade-off", ignore_errors=True)
    return chosen


def _check_same_training(then: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to go on where an option, or the size of a domain, is another than when the checkpoint was written."""
    options = [name for name in then["config"] if name in now["config"] and name not in FREE_OPTIONS]
    changed = [(name, then["config"][name], now["config"][name]) for name in options]
    changed += [(f"rows of the {role}", then["rows"][role], now["rows"][role]) for role in now["rows"]]
    for name, before, after in changed:
        if before != after:
            raise UserError(
                f"{folder} was begun with {name} = {before!r}, and now it is {after!r}; set it back, or start a new "
                "run with another --out."
            )


def _inherit(network: Network, trained: Network) -> None:
    """Start from a trained network, and keep its classifier as it is."""
    own = network.state_dict()
    network.load_state_dict({**own, **{key: value for key, value in trained.state_dict().items() if key in own}})
    network.classifier.requires_grad_(False)


def _against(baseline: Run | None, predicted: Tensor, target: Domain, method: str) -> dict[str, Any]:
    """Return what the summary says of the comparison with the source-only model."""
    if baseline is None or baseline.folder is None:
        return {"baseline": None, "agreement": None, "verdict": "Not compared: one model was trained."}
    plain = _predicted(baseline.folder, target)
    return {
        "baseline": {key: baseline.summary[key] for key in ("evaluation", "source_accuracy", "confidence")},
        "agreement": 100 * (predicted == plain).double().mean().item(),
        "verdict": verdict(predicted, plain, target.labels, method.upper()),
    }


def _describe(domain: Domain, path: str) -> dict[str, Any]:
    return {"path": path, "rows": len(domain), "labelled": domain.labelled, "skipped": domain.skipped}


def _some_rows(rows: int, most: int = PICTURED_ROWS) -> Tensor:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(0))[:most].sort().values
