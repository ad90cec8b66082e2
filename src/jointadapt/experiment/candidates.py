"""The models that `auto` chooses from: which they are for a kind of shift, and their training."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from jointadapt.config import BASELINE
from jointadapt.data import Domain
from jointadapt.experiment.alignment import can_align
from jointadapt.experiment.run import Run, join_runs, raising, train_method, train_methods
from jointadapt.experiment.session import Session
from jointadapt.methods.registry import CANDIDATES
from jointadapt.runs.reading import CANDIDATES_FOLDER, folder_of, read_predicted
from jointadapt.selection.models import CAUTIOUS, COMBINATION, UNBALANCED, asks_for_caution

ONE_CLASS = "one class"  # a kind of shift that is seen in source-only's predictions
TOO_LITTLE = ("too few examples", "none found")  # kinds of shift for which there is nothing to be adapted, or by
UNTRAINED = (*TOO_LITTLE, ONE_CLASS)  # kinds for which no candidate is trained
CORRECTED = "source-only, shares corrected"  # the one candidate where label shift alone explains the difference
MOVED = (BASELINE, "mcc")  # methods that are trained on the source moved onto the target, too


def train_candidates(session: Session, baseline: Run, kind: str) -> dict[str, Run]:
    """Return the baseline and, by their names, the candidates for a kind of shift, their combination last."""
    runs = {BASELINE: baseline}
    if kind in UNTRAINED:
        return runs
    if kind == "label shift":
        return runs | {CORRECTED: train_method(_corrected(session), baseline)}
    runs |= _trained(_candidates(session), baseline)
    runs[COMBINATION] = join_runs(_within(session, COMBINATION), [*runs.values()], baseline)
    if asks_for_caution(predicted_by(runs, session.data.target)):
        runs[CAUTIOUS] = join_runs(_within(session, CAUTIOUS), [runs[name] for name in UNBALANCED], baseline)
    return runs


def train_again(session: Session, name: str, compared: Mapping[str, Run]) -> Run:
    """Return the run of a model, or of those that it is the mean of, trained on the labelled target examples too."""
    session = session.within("with-labels")
    plain = _within(session, BASELINE, method=BASELINE, align="no", label_shift="no")
    every = {BASELINE: plain, **_candidates(session)}
    every[CORRECTED] = _corrected(session)
    members = {COMBINATION: [each for each in every if each in compared], CAUTIOUS: [*UNBALANCED]}.get(name, [name])
    runs = {BASELINE: train_method(plain, None)}
    runs |= _trained({each: every[each] for each in members if each != BASELINE}, runs[BASELINE])
    if members == [name]:
        return runs[name]
    return join_runs(_within(session, name), [runs[each] for each in members], runs[BASELINE])


def in_words(name: str) -> str:
    """Return a candidate's name as a sentence begins with it.

    >>> in_words("combination"), in_words("mcc moved")
    ('The combination', 'mcc on the moved source')
    """
    words = {
        COMBINATION: "The combination",
        CAUTIOUS: "The cautious combination",
        CORRECTED: "Source-only with its prior moved",
    }
    return words.get(name, name.replace(" moved", " on the moved source"))


def predicted_by(runs: Mapping[str, Run], target: Domain) -> dict[str, Tensor]:
    """Return the class of each target example (m,) by each run that has a folder."""
    return {name: read_predicted(run.folder, target) for name, run in runs.items() if run.folder is not None}


def _candidates(session: Session) -> dict[str, Session]:
    """Return the sessions of the candidates by their names, each in a folder below this run's."""
    options = {name: {"method": name} for name in CANDIDATES}
    if can_align(session.data.source):
        options |= {f"{name} moved": {"method": name, "align": "columns"} for name in MOVED}
    return {name: _within(session, name, **own) for name, own in options.items()}


def _trained(sessions: Mapping[str, Session], baseline: Run) -> dict[str, Run]:
    """Return the run of each session by its name."""
    return dict(zip(sessions, raising(train_methods([*sessions.values()], baseline)), strict=True))


def _corrected(session: Session) -> Session:
    return _within(session, CORRECTED, method=BASELINE, label_shift="estimate")


def _within(session: Session, name: str, **options: Any) -> Session:
    """Return the session of a candidate of this name; source-only has no trade-off to be given."""
    if options.get("method") == BASELINE:
        options["trade_off"] = "auto"
    return session.within(CANDIDATES_FOLDER, folder_of(name), baseline=False, unknown=False, **options)
