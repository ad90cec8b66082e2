"""`--method auto`: several methods trained, one chosen without target labels."""

from dataclasses import asdict, replace
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from jointadapt.config import BASELINE, Config
from jointadapt.data import Domain
from jointadapt.data.domain import some_rows
from jointadapt.diagnostics.shift_kind import diagnose
from jointadapt.evaluation.calibration import calibration_error, cooling_temperature, tempered
from jointadapt.experiment.prepare import Prepared, workers
from jointadapt.experiment.run import Run, compare_with, read_predicted, train_method
from jointadapt.networks.features import features_of
from jointadapt.runs.folder import RunFolder
from jointadapt.runs.model import Model
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.progress import Track
from jointadapt.selection.models import CANDIDATES, Choice, choose_model

AUTO = "auto"
COMPARED_ROWS = 2_000  # of each domain, by which the models are compared


def choose_method(config: Config, data: Prepared, baseline: Run, fabric: Fabric, track: Track) -> Run:
    """Train the candidates, each in a run folder of its own; the files of the best, or the baseline's, become ours."""
    folder = RunFolder(Path(config.out), fabric.is_global_zero)
    if folder.finished:
        return Run(Model.load(folder.path), folder.read_summary(), folder.path)
    some = [some_rows(len(domain), COMPARED_ROWS) for domain in (data.source, data.target)]
    with fabric.rank_zero_first(local=True):
        rows_s, rows_t = (
            _rows_as_they_come(domain.select(rows.tolist()), config, data, fabric, track)
            for domain, rows in zip((data.source, data.target), some, strict=True)
        )
    labels = data.source.labels[some[0]]
    diagnosis = diagnose(rows_s, labels, rows_t, config.seed)
    runs = {BASELINE: baseline}
    for name in () if diagnosis.too_few else CANDIDATES:
        candidate = replace(config, method=name, baseline=False, out=str(folder.path / "candidates" / name))
        runs[name] = train_method(candidate, data, baseline, fabric, track)
    predicted = {name: read_predicted(run.folder, data.target) for name, run in runs.items() if run.folder is not None}
    if diagnosis.too_few:
        choice = Choice(BASELINE, f"Kept {BASELINE}: {diagnosis}", {})
    else:
        choice = choose_model(rows_s, labels, rows_t, {name: classes[some[1]] for name, classes in predicted.items()})
    choice = fabric.broadcast(choice)
    chosen = runs[choice.chosen]
    assert chosen.folder is not None
    folder.take(chosen.folder)
    of_model = chosen.model.activations_of_features if data.frozen else chosen.model.activations
    _, probabilities = of_model(data.target, track)
    temperature = cooling_temperature(probabilities, choice.believed)
    calibrated = tempered(probabilities, temperature)
    model = replace(chosen.model, temperature=temperature)
    if folder.writes:
        model.save(folder.model)
    folder.write_predictions(data.target, calibrated)
    against = compare_with(baseline, predicted[choice.chosen], data.target, choice.chosen)
    compared = "" if choice.chosen == BASELINE else " " + against["verdict"]
    summary = {
        **chosen.summary,
        "method": f"{AUTO}: {choice.chosen}",
        **against,
        "verdict": choice.reason + compared,
        "chosen": choice.chosen,
        "candidates": {
            name: {"evaluation": run.summary["evaluation"], **asdict(choice.scores[name])}
            for name, run in runs.items()
            if name in choice.scores
        },
        "diagnosis": diagnosis.to_dict(),
        "confidence": calibrated.max(1).values.mean().item(),
        "calibration": {
            "temperature": temperature,
            "believed_accuracy": 100 * choice.believed,
            "error_before": calibration_error(probabilities, data.target.labels),
            "error": calibration_error(calibrated, data.target.labels),
        },
        "seconds": round(sum(run.summary["seconds"] for run in runs.values()), 1),
    }
    folder.write_summary(summary)
    fabric.barrier()
    return Run(model, summary, folder.path)


def _rows_as_they_come(domain: Domain, config: Config, data: Prepared, fabric: Fabric, track: Track) -> Tensor:
    """Return rows (n, d) that no training has moved: arrays, or images by the backbone's features before it."""
    if domain.holds_images:
        cache = Path(config.cache) if config.cache else default_cache()
        domain = features_of(domain, data.backbone, config.backbone, fabric.device, cache, workers(config), track)
    return domain.rows(range(len(domain))).flatten(1)
