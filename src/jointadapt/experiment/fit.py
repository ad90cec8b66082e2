"""One training: from the newest checkpoint, if there is one, to the last step."""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jointadapt.data import Batches
from jointadapt.data.target_labels import join_labelled
from jointadapt.diagnostics.class_shares import floored
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment.prepare import workers
from jointadapt.experiment.session import Session
from jointadapt.methods.build import build_method
from jointadapt.methods.names import is_source_free
from jointadapt.networks.features import PrecomputedFeatures
from jointadapt.networks.network import Head, Network
from jointadapt.runtime.signals import stop_requests
from jointadapt.selection.checkpoints import CheckpointSelection
from jointadapt.training.monitor import CollapseMonitor, divergence
from jointadapt.training.trainer import Record, Trainer

RECORDS = 200  # of a run
LOOK = 16  # every so many steps the weights are looked at, and before each checkpoint
CHECKPOINTS = 10
WEIGHTS, OWN = "weights", "backbone"  # of a backbone of one's own: their digest, and its name


def begin(session: Session, selection: CheckpointSelection, trained: Network | None) -> "Training":
    """Return a training at its newest checkpoint, or before its first step; it writes to the session's folder.

    Args:
        trained: the source-only network, from which a method that looks at no source row begins.
    """
    torch.manual_seed(session.config.seed)
    network = _build_network(session, trained)
    batches = _batches(session, selection)
    trainer = _build_trainer(session, network, batches.source.origin_weights)
    training = Training(session, selection, network, trainer, batches)
    training.restore()
    return training


@dataclass
class Training:
    """A training and what is done beside its steps: records, looks at collapse, candidates, checkpoints.

    `seconds` is how long it took; of one that was made with others its part.
    """

    session: Session
    selection: CheckpointSelection
    network: Network
    trainer: Trainer
    batches: Batches
    seconds: float = 0.0
    monitor: CollapseMonitor = field(init=False)
    record_every: int = field(init=False)
    checkpoint_every: int = field(init=False)

    def __post_init__(self) -> None:
        config = self.session.config
        self.monitor, self.record_every = CollapseMonitor(config.steps), max(1, config.steps // RECORDS)
        regularly = max(1, config.steps // CHECKPOINTS)
        self.checkpoint_every = regularly if config.checkpoint_every == "auto" else config.checkpoint_every

    def restore(self) -> None:
        """Go back to the newest checkpoint of the same training, if there is one."""
        folder = self.session.folder
        with self.session.first_alone():  # it sets damaged checkpoints aside, the others then read the same one
            state = folder.read_checkpoint()
        if state is not None:
            _check_same_training(state, self.about, folder.path)
            self.trainer.restore(state)
            self.selection.restore(state["selection"])
        folder.start_metrics(self.trainer.step)

    def run(self) -> None:
        """Make the steps that are left; raises `Interrupted`, with a checkpoint kept, where that is asked for."""
        started = time.monotonic()
        with stop_requests() as requested:
            for record in self.records():
                stop = self.trainer.largest(*requested[:1])
                self.follow(record, bool(stop))
                if stop:
                    self.session.wait()
                    raise Interrupted(stop)
        self.seconds += time.monotonic() - started

    def records(self) -> Iterator[Record]:
        """Yield a record after each step that is left."""
        config, start = self.session.config, self.trainer.step
        batches = self.batches.iterate(start, config.steps, workers(config))
        steps = self.trainer.train(batches)
        try:
            yield from self.session.track(steps, config.steps, f"training {config.method}", start)
        except RuntimeError:  # such as a decomposition's, of weights that are not finite
            self.check_finite()
            raise

    def follow(self, record: Record, stop: bool) -> None:
        """Do what a step asks for: end a diverged training, write its record, report collapse, keep a checkpoint."""
        last = record.step == self.session.config.steps
        written = last or record.step % self.record_every == 0
        regular = last or record.step % self.checkpoint_every == 0
        on_cpu = self.session.fabric.device.type == "cpu"
        self.check_finite(look=regular or bool(stop) or (written and not on_cpu) or record.step % LOOK == 0)
        if written:
            self.session.folder.add_metrics(record.numbers())
        if self.monitor.due(record.step):
            for note in self.monitor.look(record.step, self.trainer.condition()):
                self.session.warn(f"{self.session.config.method}, {note}")
        if regular and self.selection.watched:
            self.selection.add(record.step, self.network)
        if regular or stop:
            state = {**self.trainer.state(), **self.about, "selection": self.selection.state()}
            self.session.folder.save_checkpoint(record.step, state)

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint says of its training, so that no other one goes on from it."""
        data = self.session.data
        rows = {"source": len(data.source), "target": len(data.target)}
        config = self.session.config.identity()
        if not data.backbone.own:  # its options say all
            return {"config": config, "rows": rows}
        return {"config": {**config, WEIGHTS: data.backbone.digest()}, "rows": rows, OWN: self.session.config.backbone}

    def check_finite(self, look: bool = True) -> None:
        """Raise the `UserError` of a training that has diverged; `look` as of `Trainer.fault`."""
        if fault := self.trainer.fault(look):
            raise divergence(fault, self.batches, self.session.folder.describe_checkpoints())


def _build_network(session: Session, trained: Network | None) -> Network:
    """Return a new network for the session's data, of a source-free method with the trained one's weights."""
    config, data = session.config, session.data
    widths, classes = data.backbone.widths, len(data.source.classes)
    backbone = PrecomputedFeatures(widths) if data.frozen else copy.deepcopy(data.backbone)
    network = Network(backbone, Head(widths, classes, config.bottleneck_width, config.dropout), data.frozen)
    if is_source_free(config.method):
        assert trained is not None
        _inherit(network, trained)
    return network


def _inherit(network: Network, trained: Network) -> None:
    """Start from a trained network, and keep its classifier as it is."""
    own = network.state_dict()
    network.load_state_dict({**own, **{key: value for key, value in trained.state_dict().items() if key in own}})
    network.head.classifier.requires_grad_(False)


def _build_trainer(session: Session, network: Network, origin_weights: Sequence[float]) -> Trainer:
    config = session.config
    shares = session.data.shares
    target = None if shares is None else floored(shares.target).float()
    method = build_method(config.method, network.widths, config.flat(), target)
    return Trainer(
        session.fabric,
        network,
        method,
        steps=config.steps,
        rate=config.learning_rate,
        alpha=config.lr_alpha,
        ceiling=method.trade_off,
        warm_up=config.trade_off_warm_up,
        weight_decay=config.weight_decay,
        recompute_chunks=config.recompute_chunks,
        channels_last=config.channels_last,
        compiled=config.compile,
        sam_rho=config.sam_rho,
        origin_weights=origin_weights,
    )


def _batches(session: Session, selection: CheckpointSelection) -> Batches:
    """Return this process's part of every batch; labelled target rows join the source's."""
    config, data, ranks = session.config, session.data, session.ranks
    preprocessing = data.backbone.preprocessing
    transform = preprocessing.training() if preprocessing and data.source.holds_images else None
    source = selection.training_source
    if data.given is not None:
        source = join_labelled(source, data.target, data.given)
    part, balanced = (ranks.rank, ranks.count), config.class_balance == "batches"
    return Batches(source, data.target, config.batch_size, config.seed, transform, part, balanced)


def _check_same_training(then: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to go on where an option, or the size of a domain, is another than when the checkpoint was written."""
    options = [name for name in then["config"] if name in now["config"]]
    changed = [(name, then["config"][name], now["config"][name]) for name in options]
    changed += [(f"rows of the {role}", then["rows"][role], now["rows"][role]) for role in now["rows"]]
    for name, before, after in changed:
        if before != after and name == WEIGHTS and OWN in now:
            raise UserError(
                f"{folder} was begun with weights = {before[:12]!r} (a digest) of {now[OWN]}, and now they are "
                f"{after[:12]!r}; give the module that it was begun with: jointadapt.resume({str(folder)!r}, "
                "options={'backbone': module}), or --backbone module:factory."
            )
        if before != after:
            raise not_as_begun(folder, name, before, after)


def not_as_begun(folder: Path, name: str, before: Any, after: Any) -> UserError:
    """Return the error of a run that cannot go on, since this is another than when it was begun."""
    return UserError(
        f"{folder} was begun with {name} = {before!r}, and now it is {after!r}; set it back, or start a new "
        "run with another --out."
    )
