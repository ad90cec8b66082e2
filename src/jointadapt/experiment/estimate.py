"""A finished run → the target accuracy that is expected of it, by a twin that has not seen a fifth of the source."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from jointadapt.config import BASELINE
from jointadapt.data import UNLABELLED
from jointadapt.data.domain import Domain, some_rows
from jointadapt.diagnostics.accuracy import Rows, combine, estimate_accuracy, measure, untold
from jointadapt.diagnostics.accuracy.estimators import accuracy_of, agreement
from jointadapt.errors import UserError
from jointadapt.experiment.prepare import Prepared
from jointadapt.experiment.run import Run, raising, train_method, train_methods
from jointadapt.experiment.session import Session
from jointadapt.runs.reading import TWINS, read_predicted
from jointadapt.runs.summary import AccuracyEstimate
from jointadapt.selection.criteria import hold_out

PLAIN = {"method": BASELINE, "trade_off": "auto", "align": "no"}
WITNESSES = (BASELINE, "mcc", "jan+mcc")  # whose agreement with the twin is looked at
NONE_TO_HOLD_OUT = "every class of the source has one example, and none can be held out"
COMPARED_ROWS = 2_000  # of each domain, by which the geometry of the classes is compared


def with_estimate(session: Session, run: Run) -> Run:
    """Return the run with its estimate, which its summary has then too; a run that has one stays as it is.

    A twin with the run's options but another seed is trained on four fifths of the source, and evaluated on the last
    fifth; likewise source-only and models of other methods, to see how often they agree with the twin on the target.
    All of them stay in `estimate/`, so that a training that was interrupted goes on.
    """
    if run.summary.accuracy_estimate is not None:
        return run
    if run.summary.chosen:
        own = read_predicted(session.folder.path, session.data.target)
        estimate = estimate_chosen(session, own, _candidates(session))
    else:
        estimate = _estimate_by_twin(session)
    summary = replace(run.summary, accuracy_estimate=estimate)
    session.folder.write_summary(summary)
    session.wait()
    return replace(run, summary=summary)


def estimate_chosen(session: Session, predicted: Tensor, candidates: Sequence[Tensor]) -> AccuracyEstimate:
    """Return the estimate of a model that was chosen among candidates, from the target's classes (m,) by each.

    One training more tells how often source-only is right on source examples that it has not seen; its classes are one
    candidate's more, trained by other chance.
    """
    data, target = session.data, session.data.target
    if (held := _held_out(data)) is None:
        return untold(NONE_TO_HOLD_OUT)
    twin = train_method(_without(session, held).within(BASELINE, **PLAIN), None)
    counted, unseen = _counted(data), data.source.select(held.nonzero().flatten().tolist())
    p_s, p_t = _probabilities(session, twin, unseen, target)
    alone = measure(p_s, unseen.labels, p_t[counted], (), None)
    others = [classes[counted] for classes in (*candidates, p_t.argmax(1))]
    own, rows = predicted[counted], _input_rows(data, counted)
    parts = alone._replace(agreement=agreement(own, *others), geometry=rows.geometry(own))
    return session.fabric.broadcast(combine(parts, len(unseen), len(counted)))


def _candidates(session: Session) -> list[Tensor]:
    """Return the target's classes by each candidate of a finished `auto` run that is a training of its own."""
    folders = sorted(path.parent for path in session.folder.path.glob("candidates/*/summary.json"))
    single = [folder for folder in folders if "combination" not in folder.name]
    return [read_predicted(folder, session.data.target) for folder in (session.folder.path / BASELINE, *single)]


def _held_out(data: Prepared) -> Tensor | None:
    """Return which source examples are held out; None where each class has one example, or recording, alone."""
    try:
        return hold_out(data.source.labels, groups=data.source.groups)
    except UserError:
        return None


def _counted(data: Prepared) -> Tensor:
    """Return the indices of the target rows whose labels were not trained on."""
    return torch.arange(len(data.target)) if data.given is None else (data.given == UNLABELLED).nonzero().flatten()


def _estimate_by_twin(session: Session) -> AccuracyEstimate:
    """Return the estimate of a method, by the twin's probabilities and the classes that the witnesses give."""
    data, target, method = session.data, session.data.target, session.config.method
    if (held := _held_out(data)) is None:
        return untold(NONE_TO_HOLD_OUT)
    small = _without(session, held)
    plain = train_method(small.within(BASELINE, **PLAIN), None)
    twins = [] if method == BASELINE else [small.within("twin")]
    names = [name for name in WITNESSES if name not in (BASELINE, method)]
    sessions = twins + [small.within(name, **{**PLAIN, "method": name}) for name in names]
    trained = raising(train_methods(sessions, plain))
    twin, witnesses = (trained[0], trained[1:]) if twins else (plain, trained)
    counted, unseen = _counted(data), data.source.select(held.nonzero().flatten().tolist())
    p_s, p_t = _probabilities(session, twin, unseen, target)
    others = witnesses if twin is plain else [plain, *witnesses]
    predicted = [read_predicted(other.folder, target)[counted] for other in others if other.folder is not None]
    right = accuracy_of(_probabilities(session, plain, unseen)[0], unseen.labels)
    found = estimate_accuracy(p_s, unseen.labels, p_t[counted], predicted, _input_rows(data, counted), right)
    return session.fabric.broadcast(found)


def _probabilities(session: Session, run: Run, *domains: Domain) -> tuple[Tensor, ...]:
    """Return what the model of a run makes of domains."""
    return tuple(run.model.outputs(domain, session.track, pictured=()).probabilities for domain in domains)


def _without(session: Session, held: Tensor) -> Session:
    """Return the session of trainings that do not see these source examples, in a folder of their own."""
    source = session.data.source.select((~held).nonzero().flatten().tolist())
    options = {
        "seed": (session.config.seed + 1) % 2**31,
        "baseline": False,
        "report": False,
        "estimate": False,
        "unknown": False,
    }
    small = replace(session, data=replace(session.data, source=source))
    return small.within(TWINS, **options)


def _input_rows(data: Prepared, counted: Tensor) -> Rows:
    """Return rows of both domains from before the training: a frozen backbone's features, or arrays as a network gets
    them.
    """
    chosen = some_rows(len(counted), COMPARED_ROWS)
    drawn = some_rows(len(data.source), COMPARED_ROWS)
    source, target = (
        data.extractor.as_rows(domain.select(rows.tolist()))
        for domain, rows in ((data.source, drawn), (data.target, counted[chosen]))
    )
    x_s, x_t = (domain.rows(range(len(domain))).flatten(1) for domain in (source, target))
    return Rows(x_s, data.source.labels[drawn], x_t, chosen)
