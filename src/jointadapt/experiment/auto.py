"""`--method auto`: several methods trained, their mean or one of them used, without target labels."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from jointadapt.config import BASELINE
from jointadapt.data.domain import some_rows
from jointadapt.diagnostics.shift_kind import Diagnosis, diagnose
from jointadapt.evaluation.calibration import calibration_error, softening_temperature, tempered
from jointadapt.experiment.candidates import CORRECTED, ONE_CLASS, in_words, predicted_by, train_again, train_candidates
from jointadapt.experiment.estimate import estimate_chosen
from jointadapt.experiment.few_labels import judge_by_labels, without_labels
from jointadapt.experiment.run import Run, compare_with, read_finished
from jointadapt.experiment.session import Session
from jointadapt.experiment.unknown import describe_unknown, told_unknown
from jointadapt.methods.registry import AUTO
from jointadapt.runs.model import Model
from jointadapt.runs.summary import AccuracyEstimate, Calibration, DiagnosisSummary, FewLabels, ModelScores
from jointadapt.selection.models import CAUTIOUS, COMBINATION, Choice, choose_model, score_models, seems_one_class

COMPARED_ROWS = 2_000  # of each domain, by which the models are compared
ONE_CLASS_WORDS = (
    "it gives nearly all target examples one class, and a logistic regression on the same rows agrees; adapting would "
    "spread them over the other classes."
)


def choose_method(session: Session, baseline: Run) -> Run:
    """Train the candidates, each in a run folder of its own; the files of the chosen model become ours.

    Where target labels are given, the candidates are trained without them and judged by them, and the chosen one is
    trained again.
    """
    if session.folder.finished:
        return read_finished(session)
    rows = _input_features(session)
    diagnosis = diagnose(*rows, session.config.seed, _compared_groups(session))
    kind = _kind_seen(session, rows, diagnosis, baseline)
    runs = train_candidates(without_labels(session), baseline, kind)
    predicted = predicted_by(runs, session.data.target)
    choice = _choose(session, rows, ONE_CLASS_WORDS if kind == ONE_CLASS else str(diagnosis), predicted)
    choice, judged = session.fabric.broadcast(judge_by_labels(session, runs, predicted, choice))
    used, trained = runs[choice.chosen], [*runs.values()]
    if session.data.given is not None:
        used = train_again(session, choice.chosen, runs)
        trained.append(used)
        predicted |= predicted_by({choice.chosen: used}, session.data.target)
    single = [own for name, own in predicted.items() if name not in (choice.chosen, COMBINATION, CAUTIOUS)]
    estimate = estimate_chosen(session, predicted[choice.chosen], single)
    model, found = _become(session, used, estimate)
    summary = replace(
        used.summary,
        **_describe_choice(session, choice, baseline, predicted[choice.chosen]),
        **found,
        candidates=_scored(choice, runs),
        diagnosis=DiagnosisSummary(**diagnosis.to_dict()),
        few_labels=None if judged is None else FewLabels(**judged.to_dict()),
        accuracy_estimate=estimate,
        seconds=round(sum(run.summary.seconds for run in trained), 1),
    )
    session.folder.write_summary(summary)
    session.wait()
    return Run(model, summary, session.folder.path)


def _kind_seen(session: Session, rows: tuple[Tensor, Tensor, Tensor], diagnosis: Diagnosis, baseline: Run) -> str:
    """Return the kind of shift, as the diagnosis has it, or as source-only's predictions show it."""
    if diagnosis.kind != "covariate shift":
        return diagnosis.kind
    own = predicted_by({BASELINE: baseline}, session.data.target)[BASELINE]
    alone = seems_one_class(*rows, own[_compared_rows(session)[1]])
    return ONE_CLASS if session.fabric.broadcast(alone) else diagnosis.kind


def _compared_rows(session: Session) -> tuple[Tensor, Tensor]:
    """Return the indices of the source examples, and of the target examples, by which the models are compared."""
    source, target = session.data.source, session.data.target
    return some_rows(len(source), COMPARED_ROWS), some_rows(len(target), COMPARED_ROWS)


def _compared_groups(session: Session) -> Tensor | None:
    """Return the groups of those target examples; None where they have none."""
    groups = session.data.target.groups
    return None if groups is None else groups[_compared_rows(session)[1]]


def _input_features(session: Session) -> tuple[Tensor, Tensor, Tensor]:
    """Return source features (n, d), their labels, and target features (m, d), all from before the training.

    They are arrays as they are, or images by the backbone's features.
    """
    found, data, some = [], session.data, _compared_rows(session)
    with session.first_alone(local=True):
        for domain, rows in zip((data.source, data.target), some, strict=True):
            domain = data.extractor.as_rows(domain.select(rows.tolist()))
            found.append(domain.rows(range(len(domain))).flatten(1))
    return found[0], data.source.labels[some[0]], found[1]


def _choose(
    session: Session,
    rows: tuple[Tensor, Tensor, Tensor],
    words: str,
    predicted: Mapping[str, Tensor],
) -> Choice:
    """Return the choice by the input features and each model's predictions; the baseline where none was trained."""
    if len(predicted) == 1:
        return Choice(BASELINE, f"Kept {BASELINE}: {words}", {})
    _, some = _compared_rows(session)
    own = {name: classes[some] for name, classes in predicted.items()}
    if CORRECTED not in own:
        return choose_model(*rows, own, _compared_groups(session))
    scores = score_models(*rows, own, _compared_groups(session))
    if fault := scores[CORRECTED].fault(scores[BASELINE]):
        return Choice(BASELINE, f"Kept {BASELINE}: with its prior moved, {fault}.", scores)
    reason = f"Took {BASELINE} with its prior moved to the target's estimated class shares: {words}"
    return Choice(CORRECTED, reason, scores)


def _become(session: Session, chosen: Run, estimate: AccuracyEstimate) -> tuple[Model, dict[str, Any]]:
    """Write the chosen run's files as this run's, its model made no surer than it is expected to be right; return that,
    and what the summary says of it.
    """
    folder, target, labels = session.folder, session.data.target, session.data.target_truth
    assert chosen.folder is not None
    folder.take(chosen.folder)
    probabilities = chosen.model.outputs(target, session.track, pictured=()).probabilities
    temperature = softening_temperature(probabilities, estimate.assumed / 100)
    calibrated = tempered(probabilities, temperature)
    model, calls = told_unknown(session, replace(chosen.model, temperature=temperature))
    if folder.writes:
        model.save(folder.model)
    folder.write_predictions(target, calibrated, session.data.labels_told, calls)
    calibration = Calibration(
        temperature=temperature,
        believed_accuracy=estimate.assumed,
        error_before=calibration_error(probabilities, labels),
        error=calibration_error(calibrated, labels),
    )
    return model, {
        "confidence": calibrated.max(1).values.mean().item(),
        "calibration": calibration,
        "unknown": describe_unknown(session, model, calls, calibrated.argmax(1)),
    }


def _describe_choice(session: Session, choice: Choice, baseline: Run, predicted: Tensor) -> dict[str, Any]:
    """Return the summary's fields about the choice: the verdict, and the comparison with source-only."""
    against = compare_with(baseline, predicted, session.data, in_words(choice.chosen))
    compared = "" if choice.chosen == BASELINE else " " + against["verdict"]
    verdict = choice.reason + compared
    return {"method": f"{AUTO}: {choice.chosen}", **against, "verdict": verdict, "chosen": choice.chosen}


def _scored(choice: Choice, runs: Mapping[str, Run]) -> dict[str, ModelScores]:
    """Return for each model that was compared its scores, and its target accuracy where that is known."""
    return {name: ModelScores(runs[name].summary.evaluation, **vars(found)) for name, found in choice.scores.items()}
