"""A few labels of the target as judges of `auto`: its models are trained without them, and the chosen one with them.

A model that has been trained on an example is no longer judged by it: it is right there whether it is good or not.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from jointadapt.data import UNLABELLED
from jointadapt.experiment.run import Run
from jointadapt.experiment.session import Session
from jointadapt.methods.names import method_title
from jointadapt.selection.few_labels import Judgement, judge
from jointadapt.selection.models import Choice


def without_labels(session: Session) -> Session:
    """Return the session in which no target label is given; the same if none is."""
    data, config = session.data, session.config
    if data.given is None:
        return session
    return replace(session, data=replace(data, given=None), config=config.but(target_labels=""))


def judge_by_labels(
    session: Session, runs: Mapping[str, Run], predicted: Mapping[str, Tensor], choice: Choice
) -> tuple[Choice, Judgement | None]:
    """Return the choice by the labels that are given, and what they say; without any, or any candidate, it stays."""
    given, target = session.data.given, session.data.target
    if given is None or len(runs) == 1:
        return choice, None
    rows = (given != UNLABELLED).nonzero().flatten()
    few = target.select(rows.tolist())
    probabilities = {name: runs[name].model.outputs(few, pictured=()).probabilities.cpu() for name in predicted}
    scores = {name: found.total() for name, found in choice.scores.items()}
    found = judge(given[rows], probabilities, predicted, rows, scores)
    reason = f"Chose {method_title(found.chosen)} by target labels: {found}."
    return replace(choice, chosen=found.chosen, reason=reason), found
