"""`--unknown`: what tells unknown classes, found for a trained model, and what the evaluation says of it."""

from dataclasses import replace

import torch
from torch import Tensor

from jointadapt.data.domain import Domain, some_rows
from jointadapt.data.labels import UNLABELLED
from jointadapt.evaluation.open_set import evaluate_open_set
from jointadapt.experiment.session import Session
from jointadapt.runs.folder import UnknownCalls
from jointadapt.runs.model import Model
from jointadapt.runs.summary import UnknownSummary
from jointadapt.selection.unknown_classes import MOST_ROWS, UnknownClasses, fit_unknown_classes

BINS = 40  # of the report's histogram


def told_unknown(session: Session, model: Model) -> tuple[Model, UnknownCalls | None]:
    """Return a model that tells unknown classes, and its calls for the target; as it is where nobody asked for them.

    Up to `MOST_ROWS` rows of each domain are looked at. Of several processes the first one's result holds for all.
    """
    if not session.config.unknown:
        return model, None
    found = session.ranks.first(_fitted(session, model) if session.writes else None)
    assert found is not None
    model = replace(model, unknown=found)
    scores = session.ranks.first(model.unknown_scores(session.data.target, session.track) if session.writes else None)
    assert scores is not None
    return model, UnknownCalls(scores, found.threshold)


def _fitted(session: Session, model: Model) -> UnknownClasses:
    data = session.data
    some = [some_rows(len(domain), MOST_ROWS) for domain in (data.source, data.target)]
    domains = (data.source.select(some[0].tolist()), data.target.select(some[1].tolist()))
    source, target = (_rows(model.comparable(domain, session.track)) for domain in domains)
    pixels = not model.network.frozen and model.shape is not None and len(model.shape) == 3
    return fit_unknown_classes(source, domains[0].labels, target, len(model.classes), pixels)


def _rows(domain: Domain) -> Tensor:
    return domain.rows(range(len(domain))).flatten(1)


def describe_unknown(
    session: Session, model: Model, calls: UnknownCalls | None, predicted: Tensor
) -> UnknownSummary | None:
    """Return what the summary says; here alone the calls meet the target's labels."""
    if calls is None or model.unknown is None:
        return None
    truth, surplus = session.data.target_truth, session.data.surplus
    assert surplus is not None
    known = truth != UNLABELLED
    groups = {"known": known, "unknown": surplus, "target": ~known & ~surplus}
    histograms = {"source": model.unknown.source_scores} | {name: calls.scores[rows] for name, rows in groups.items()}
    return UnknownSummary(
        threshold=calls.threshold,
        rows=int(calls.called.sum()),
        share=100 * calls.called.double().mean().item(),
        histograms={name: _histogram(scores) for name, scores in histograms.items() if len(scores)},
        evaluation=evaluate_open_set(predicted, calls.scores, calls.threshold, truth, surplus),
    )


def _histogram(scores: Tensor) -> tuple[int, ...]:
    return tuple(int(count) for count in torch.histc(scores.float(), BINS, 0.0, 1.0).tolist())
