"""One method: trained, judged, and written into its run folder."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from jointadapt.data import UNLABELLED, Domain
from jointadapt.data.batches import shard
from jointadapt.data.domain import some_rows
from jointadapt.data.kinds import names_in
from jointadapt.errors import UserError
from jointadapt.evaluation.metrics import evaluate
from jointadapt.evaluation.predict import network_outputs
from jointadapt.experiment.alignment import aligned
from jointadapt.experiment.fit import Training
from jointadapt.experiment.label_shift import describe_shares, move_prior, with_class_shares
from jointadapt.experiment.prepare import Prepared
from jointadapt.experiment.session import Session
from jointadapt.experiment.summarise import (
    compare_with_baseline,
    describe_domain,
    describe_selection,
    library_versions,
)
from jointadapt.experiment.together import Order, fit_together
from jointadapt.experiment.unknown import describe_unknown, told_unknown
from jointadapt.networks.ensemble import join
from jointadapt.networks.features import PrecomputedFeatures
from jointadapt.networks.network import Network
from jointadapt.runs.folder import UnknownCalls
from jointadapt.runs.model import Model
from jointadapt.runs.reading import read_predicted, read_summary, read_trade_offs
from jointadapt.runs.summary import Summary
from jointadapt.selection.checkpoints import CheckpointSelection
from jointadapt.selection.guard import class_proportions
from jointadapt.version import __version__

PICTURED_ROWS = 300


@dataclass(frozen=True)
class Run:
    """What a training leaves: the model, the summary, and the folder with everything (None when none was asked for).

    `baseline` is the model that was trained without adaptation, where one was.
    """

    model: Model
    summary: Summary
    folder: Path | None
    baseline: Model | None = None


class Outputs(NamedTuple):
    """What a network makes of a domain: features of some rows, by their indices, and probabilities of all."""

    rows: Tensor
    features: Tensor
    probabilities: Tensor

    @property
    def predicted(self) -> Tensor:
        """The class of each row."""
        return self.probabilities.argmax(1)


def train_method(session: Session, baseline: Run | None) -> Run:
    """Train one method, from its newest checkpoint if it has one, and write all of the run folder but the report."""
    return raising(train_methods([session], baseline))[0]


def train_methods(sessions: Sequence[Session], baseline: Run | None) -> list[Run | UserError]:
    """Return the run of each session as `train_method` does, or why there is none; those that can train as one do."""
    runs: dict[int, Run | UserError] = {}
    orders: dict[int, Order] = {}
    for number, session in enumerate(sessions):
        try:
            if session.folder.finished:
                runs[number] = read_finished(session)
                continue
            session = with_class_shares(aligned(session))
            trained = None if baseline is None else baseline.model.network
            orders[number] = Order(session, _begin_selection(session, baseline, [*orders.values()]), trained)
        except UserError as error:
            runs[number] = error
    numbers = [*orders]
    for place, made in fit_together([*orders.values()]):
        try:
            runs[numbers[place]] = made if isinstance(made, UserError) else _finish_training(made, baseline)
        except UserError as error:
            runs[numbers[place]] = error
    return [runs[number] for number in range(len(sessions))]


def raising(runs: Iterable[Run | UserError]) -> list[Run]:
    """Return the runs; raises the first error among them."""
    found = []
    for run in runs:
        if isinstance(run, UserError):
            raise run
        found.append(run)
    return found


def _finish_training(training: Training, baseline: Run | None) -> Run:
    """Return the run of a training whose last step is made."""
    started = time.monotonic() - training.seconds
    session, selection, network = training.session, training.selection, training.network
    # Not before: a training that cannot be gone on with leaves its folder as it was.
    session.folder.write_config(session.config)
    selection.settle(network)
    move_prior(session, network)
    network.float()  # also after training in float64, as rows are float32
    return _finish(session, network, selection, baseline, started)


def join_runs(session: Session, runs: Sequence[Run], baseline: Run) -> Run:
    """Return the run of the mean of several trained models, written as one that was trained; the last's records."""
    if session.folder.finished:
        return read_finished(session)
    started = time.monotonic()
    session.folder.write_config(session.config)
    network = join([run.model.network for run in runs])
    if session.data.frozen:  # whose rows are features already
        network = Network(PrecomputedFeatures(session.data.backbone.widths), network.head, frozen=True)
    network.to(session.fabric.device)
    if runs[-1].folder is not None:
        session.folder.take(runs[-1].folder)
    return _finish(session, network, _begin_selection(session, baseline), baseline, started)


def _begin_selection(session: Session, baseline: Run | None, others: Sequence[Order] = ()) -> CheckpointSelection:
    """Return what selects among the checkpoints; of runs on the same data all have the same held-out examples."""
    data = session.data
    for other in others:
        if other.session.data is data and other.session.config.select == session.config.select:
            return other.selection.anew()
    expected = expected_proportions(baseline, data)
    return CheckpointSelection(session.config.select, data.source, data.target, expected, ranks=session.ranks)


def _finish(
    session: Session, network: Network, selection: CheckpointSelection, baseline: Run | None, started: float
) -> Run:
    """Return the run of a trained network: judged, and written."""
    source, target = (_predict(session, network, domain) for domain in (session.data.source, session.data.target))
    model, calls = _keep(session, network, source, target)
    summary = _summarise(session, selection, source, target, baseline, started)
    summary = replace(summary, unknown=describe_unknown(session, model, calls, target.predicted))
    session.folder.write_summary(summary)
    session.wait()
    return Run(model, summary, session.folder.path)


def read_finished(session: Session) -> Run:
    """Return the run of the session's folder, in which everything was written."""
    folder = session.folder.path
    return Run(Model.load(folder, backbone=session.data.backbone), read_summary(folder), folder)


def _predict(session: Session, network: Network, domain: Domain) -> Outputs:
    """Return what the network makes of a domain; each process passes a part of it through the network."""
    ranks = session.ranks
    pictured = some_rows(len(domain), PICTURED_ROWS)
    parts = [shard(len(domain), rank, ranks.count) for rank in range(ranks.count)]
    kept = [[row - part.start for row in pictured.tolist() if row in part] for part in parts]
    own = domain if ranks.count == 1 else domain.select(parts[ranks.rank])
    seen = network_outputs(network, own, track=session.track, pictured={*kept[ranks.rank]})
    device = next(network.parameters()).device
    lengths = [[[len(rows)] for rows in each] for each in (kept, parts)]
    gathered = (ranks.gather(x.to(device), rows).cpu() for x, rows in zip(seen, lengths, strict=True))
    return Outputs(pictured, *gathered)


def _keep(session: Session, network: Network, source: Outputs, target: Outputs) -> tuple[Model, UnknownCalls | None]:
    """Write the model, its predictions and the features for the report's pictures.

    Return the model, and which target rows it calls unknown.
    """
    data, folder = session.data, session.folder
    if data.frozen:
        network = Network(data.backbone, network.head, frozen=True)
    model = Model(network.cpu().eval(), data.source.classes, session.config, data.shape, inputs=data.inputs)
    model, calls = told_unknown(session, model)
    if folder.writes:
        model.save(folder.model)
    folder.write_predictions(data.target, target.probabilities, data.labels_told, calls)
    folder.write_features(
        source=source.features.numpy(),
        target=target.features.numpy(),
        source_labels=data.source.labels[source.rows].numpy(),
        target_predicted=target.predicted[target.rows].numpy(),
        target_labels=data.target_truth[target.rows].numpy(),
    )
    return model, calls


def _summarise(
    session: Session,
    selection: CheckpointSelection,
    source: Outputs,
    target: Outputs,
    baseline: Run | None,
    started: float,
) -> Summary:
    """Return what the run found; here alone its predictions meet the target's labels."""
    config, data, classes = session.config, session.data, len(session.data.source.classes)
    evaluation = evaluate(target.predicted, data.target_truth, classes)
    on_source = evaluate(source.predicted, data.source.labels, classes)
    found = read_trade_offs(session.folder.path)
    return Summary(
        **_describe_run(session),
        selection=describe_selection(selection, data.target_truth, evaluation, config.steps, found),
        source_accuracy=on_source and on_source.accuracy,
        confidence=target.probabilities.max(1).values.mean().item(),
        evaluation=evaluation,
        **compare_with(baseline, target.predicted, data, config.method),
        seconds=round(time.monotonic() - started, 1),
    )


def _describe_run(session: Session) -> dict[str, Any]:
    """Return what the summary says of a run before its numbers: what was trained, on what, with which versions."""
    config, data = session.config, session.data
    return {
        "jointadapt": __version__,
        "task": f"{data.source.name} → {data.target.name}",
        **{name: getattr(config, name) for name in ("method", "backbone", "steps", "seed")},
        "frozen": data.frozen,
        "classes": data.source.classes,
        "source": describe_domain(data.source, ", ".join(names_in(config.source)), data.source.labels),
        "target": describe_domain(data.target, config.target, data.target_truth),
        "target_labels": 0 if data.given is None else int((data.given != UNLABELLED).sum()),
        "warnings": data.notes,
        "standardized": data.inputs.standardized,
        "sources": data.sources,
        "class_shares": describe_shares(session),
        "versions": library_versions(),
    }


def expected_proportions(baseline: Run | None, data: Prepared) -> Tensor:
    """Return the expected class proportions of the target: as estimated, as source-only has them, or the source."""
    if data.shares is not None:
        return data.shares.target
    if baseline is None or baseline.folder is None:
        return class_proportions(data.source.labels, len(data.source.classes))
    return class_proportions(read_predicted(baseline.folder, data.target), len(data.source.classes))


def compare_with(baseline: Run | None, predicted: Tensor, data: Prepared, method: str) -> dict[str, Any]:
    """Return what the summary says of the comparison with the source-only model."""
    if baseline is None or baseline.folder is None:
        return {"baseline": None, "agreement": None, "verdict": "Not compared: one model was trained."}
    plain = read_predicted(baseline.folder, data.target)
    return compare_with_baseline(baseline.summary, plain, predicted, data.target_truth, method)
