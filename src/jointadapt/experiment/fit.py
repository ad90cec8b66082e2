"""One training: from the newest checkpoint, if there is one, to the last step."""

import copy
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from jointadapt.config import Config
from jointadapt.data import Batches
from jointadapt.data.target_labels import join_labelled
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment.prepare import Prepared, workers
from jointadapt.methods.registry import build_method, is_source_free
from jointadapt.networks.features import recorded
from jointadapt.networks.network import Network
from jointadapt.runs.folder import RunFolder
from jointadapt.runtime.progress import Track
from jointadapt.runtime.signals import stop_requests
from jointadapt.selection.checkpoints import Candidates
from jointadapt.training.monitor import Checkup, divergence
from jointadapt.training.trainer import Trainer

RECORDS = 200
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


def fit(
    config: Config,
    candidates: Candidates,
    data: Prepared,
    trained: Network | None,
    folder: RunFolder,
    fabric: Fabric,
    track: Track,
) -> Network:
    """Return the network as the last step left it; checkpoints and records go to the folder."""
    torch.manual_seed(config.seed)
    backbone = recorded(data.backbone) if data.frozen else copy.deepcopy(data.backbone)
    network = Network(backbone, len(data.source.classes), config.bottleneck_width, config.dropout, data.frozen)
    if is_source_free(config.method):
        assert trained is not None
        _inherit(network, trained)
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


def _check_same_training(then: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to go on where an option, or the size of a domain, is another than when the checkpoint was written."""
    options = [name for name in then["config"] if name in now["config"] and name not in FREE_OPTIONS]
    changed = [(name, then["config"][name], now["config"][name]) for name in options]
    changed += [(f"rows of the {role}", then["rows"][role], now["rows"][role]) for role in now["rows"]]
    for name, before, after in changed:
        if before != after:
            raise not_as_begun(folder, name, before, after)


def not_as_begun(folder: Path, name: str, before: Any, after: Any) -> UserError:
    """Return the error of a run that cannot go on, since this is another than when it was begun."""
    return UserError(
        f"{folder} was begun with {name} = {before!r}, and now it is {after!r}; set it back, or start a new "
        "run with another --out."
    )


def _inherit(network: Network, trained: Network) -> None:
    """Start from a trained network, and keep its classifier as it is."""
    own = network.state_dict()
    network.load_state_dict({**own, **{key: value for key, value in trained.state_dict().items() if key in own}})
    network.classifier.requires_grad_(False)
