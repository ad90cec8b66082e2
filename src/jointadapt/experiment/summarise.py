"""Parts of a summary: what was trained on, what was chosen, and, by the evaluation, what every choice is worth."""

import platform
from typing import Any

import torch
from torch import Tensor

from jointadapt.data import UNLABELLED, Domain
from jointadapt.evaluation.metrics import Evaluation, evaluate, oracle, verdict
from jointadapt.methods.names import method_title
from jointadapt.runs.summary import (
    BaselineSummary,
    CheckpointChoice,
    CheckpointScores,
    DomainSummary,
    Selection,
    Summary,
    TradeOffSearch,
)
from jointadapt.runtime.vision import vision
from jointadapt.selection.checkpoints import CheckpointSelection
from jointadapt.selection.registry import LAST

ORACLE = "oracle"


def describe_domain(domain: Domain, path: str, labels: Tensor) -> DomainSummary:
    """Return what a domain was; `labels` are its own, which the domain at hand may be without."""
    return DomainSummary(path, len(domain), bool((labels != UNLABELLED).any()), domain.skipped)


def describe_selection(
    selection: CheckpointSelection,
    labels: Tensor,
    evaluation: Evaluation | None,
    steps: int,
    trade_off: TradeOffSearch | None = None,
) -> Selection:
    """Return what was selected, and what every other criterion, and the oracle, would have selected.

    Args:
        labels: of the target, by which the candidates are evaluated now that one is chosen.
        evaluation: of the model that is reported; all there is to say where no candidate was looked at.
        steps: the length of the run.
    """
    if not selection.candidates:
        return Selection(selection.rule, steps, (), {LAST: _choice(steps, evaluation)}, trade_off)
    found = [evaluate(seen.predicted, labels, len(selection.reference)) for seen in selection.candidates]
    worth = {seen.step: _choice(seen.step, its) for seen, its in zip(selection.candidates, found, strict=True)}
    choices = {rule: worth[selection.chosen_by(rule).step] for rule in selection.rules}
    best = oracle([choice.accuracy for choice in worth.values()])
    if best is not None:
        choices[ORACLE] = [*worth.values()][best]
    candidates = tuple(
        CheckpointScores(eligible=seen.eligible, scores=seen.scores, **vars(worth[seen.step]))
        for seen in selection.candidates
    )
    return Selection(selection.rule, choices[selection.rule].step, candidates, choices, trade_off)


def compare_with_baseline(
    baseline: Summary, plain: Tensor, predicted: Tensor, labels: Tensor, method: str
) -> dict[str, Any]:
    """Return the fields of a summary that say how the method's predictions stand beside the source-only model's."""
    return {
        "baseline": BaselineSummary(baseline.evaluation, baseline.source_accuracy, baseline.confidence),
        "agreement": 100 * (predicted == plain).double().mean().item(),
        "verdict": verdict(predicted, plain, labels, method_title(method)),
    }


def library_versions() -> dict[str, str]:
    """Return the versions of what was computed with."""
    return {"python": platform.python_version(), "torch": torch.__version__, "torchvision": vision().__version__}


def _choice(step: int, evaluation: Evaluation | None) -> CheckpointChoice:
    if evaluation is None:
        return CheckpointChoice(step, None, None)
    return CheckpointChoice(step, evaluation.accuracy, evaluation.mean_per_class_accuracy)
