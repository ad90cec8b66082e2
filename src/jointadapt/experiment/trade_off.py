"""`--trade-off search`: λ chosen without target labels."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean
from typing import Literal

from jointadapt.errors import UserError
from jointadapt.experiment.alignment import aligned
from jointadapt.experiment.run import Run, expected_proportions
from jointadapt.experiment.session import Session
from jointadapt.experiment.together import Order, fit_together
from jointadapt.runs.reading import read_trade_offs
from jointadapt.runs.summary import TradeOffSearch, Trial
from jointadapt.selection.checkpoints import CheckpointSelection
from jointadapt.selection.criteria import FOLDS, choose
from jointadapt.selection.registry import LAST, holds_out

TRADE_OFFS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
PLACE = "trade-off"


def choose_trade_off(session: Session, baseline: Run | None) -> float | Literal["auto"]:
    """Return the λ of the highest score without target labels; every trial is kept in trade-off.json.

    The criterion is the one that selects checkpoints, else transfer cross-validation, the paper's. One that holds rows
    out is averaged over folds of the source. A λ is eligible if its model of every fold is; "auto" if none is.
    """
    folder, select = session.folder, session.config.select
    rule = "transfer-cv" if select == LAST else select
    found = read_trade_offs(folder.path) or TradeOffSearch(rule)
    done = {(trial.trade_off, trial.fold) for trial in found.trials}
    for fold in range(FOLDS if holds_out(rule) else 1):
        missing = [value for value in TRADE_OFFS if (value, fold) not in done]
        found = replace(found, trials=(*found.trials, *_try(session, baseline, rule, fold, missing)))
        folder.write_trade_offs(found)
        _forget_trials(session)
    chosen = _best(found.trials)
    folder.write_trade_offs(replace(found, chosen=chosen))
    _forget_trials(session)
    return chosen


def _try(session: Session, baseline: Run | None, rule: str, fold: int, trade_offs: Sequence[float]) -> Iterator[Trial]:
    """Yield the score of a training with each λ, without the held-out source examples that the criterion needs."""
    session = aligned(session)
    data = session.data
    expected = expected_proportions(baseline, data)
    selection = CheckpointSelection(rule, data.source, data.target, expected, fold, session.ranks)
    trained = None if baseline is None else baseline.model.network
    trials = [session.within(PLACE, f"{value:g}-{fold}", trade_off=value) for value in trade_offs]
    for place, made in fit_together([Order(trial, selection.anew(), trained) for trial in trials]):
        if isinstance(made, UserError):
            raise made
        judged = made.selection.chosen_by(session.config.select)
        yield Trial(trade_offs[place], fold, judged.scores[rule], judged.eligible)


def _best(trials: Sequence[Trial]) -> float | Literal["auto"]:
    """Return the λ of the highest mean score among those whose every trial is eligible."""
    groups = [[trial for trial in trials if trial.trade_off == trade_off] for trade_off in TRADE_OFFS]
    allowed = [all(trial.eligible for trial in group) for group in groups]
    best = choose([mean(trial.score for trial in group) for group in groups], allowed)
    return "auto" if best is None else TRADE_OFFS[best]


def _forget_trials(session: Session) -> None:
    """Remove the folders of trials whose scores are written."""
    if session.writes:
        shutil.rmtree(session.folder.path / PLACE, ignore_errors=True)
