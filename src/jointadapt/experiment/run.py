"""One method: trained, judged, and written into its run folder."""

import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from lightning_fabric import Fabric
from torch import Tensor

from jointadapt.config import Config
from jointadapt.data import UNLABELLED, Domain
from jointadapt.data.batches import share
from jointadapt.data.domain import Transform, some_rows
from jointadapt.evaluation.metrics import evaluate, verdict
from jointadapt.evaluation.predict import activations
from jointadapt.experiment.fit import fit
from jointadapt.experiment.prepare import Prepared
from jointadapt.networks.network import Network
from jointadapt.runs.folder import RunFolder
from jointadapt.runs.model import Model
from jointadapt.runtime.progress import Track
from jointadapt.selection.checkpoints import Candidates
from jointadapt.selection.guard import shares
from jointadapt.training.distributed import Ranks
from jointadapt.version import __version__

PICTURED_ROWS = 300


@dataclass(frozen=True)
class Run:
    """What a training leaves: the model, the summary, and the folder with everything (None when none was asked for)."""

    model: Model
    summary: dict[str, Any]
    folder: Path | None


def train_method(config: Config, data: Prepared, baseline: Run | None, fabric: Fabric, track: Track) -> Run:
    """Train one method, from its newest checkpoint if it has one, and write all of the run folder but the report."""
    folder = RunFolder(Path(config.out), fabric.is_global_zero)
    if folder.finished:
        return Run(Model.load(folder.path), folder.read_summary(), folder.path)
    folder.write_config(config)
    started = time.monotonic()
    ranks = Ranks.of(fabric)
    candidates = Candidates(config.select, data.source, data.target, expected_shares(baseline, data), ranks=ranks)
    trained = None if baseline is None else baseline.model.network
    network = fit(config, candidates, data, trained, folder, fabric, track)
    candidates.settle(network)
    network.float()  # also after training in float64, as rows are float32
    backbone = network.backbone
    transform = backbone.preprocessing.evaluation() if data.source.holds_images and backbone.preprocessing else None
    rows_s, rows_t = (some_rows(len(domain), PICTURED_ROWS) for domain in (data.source, data.target))
    features_s, probabilities_s = _activations(network, data.source, rows_s, transform, ranks, track)
    features_t, probabilities_t = _activations(network, data.target, rows_t, transform, ranks, track)
    predicted = probabilities_t.argmax(1)
    if data.frozen:
        network.backbone = data.backbone
    model = Model(network.cpu().eval(), data.source.classes, config, data.shape)
    if folder.writes:
        model.save(folder.model)
    folder.write_predictions(data.target, probabilities_t)
    folder.write_features(
        source=features_s.numpy(),
        target=features_t.numpy(),
        source_labels=data.source.labels[rows_s].numpy(),
        target_predicted=predicted[rows_t].numpy(),
        target_labels=data.target.labels[rows_t].numpy(),
    )
    evaluation = evaluate(predicted, data.target.labels, len(data.source.classes))
    on_source = evaluate(probabilities_s.argmax(1), data.source.labels, len(data.source.classes))
    summary = {
        "jointadapt": __version__,
        "task": f"{data.source.name} → {data.target.name}",
        **{name: getattr(config, name) for name in ("method", "backbone", "steps", "seed")},
        "frozen": data.frozen,
        "classes": list(data.source.classes),
        "source": _describe(data.source, config.source),
        "target": _describe(data.target, config.target),
        "target_labels": 0 if data.given is None else int((data.given != UNLABELLED).sum()),
        "warnings": list(data.notes),
        "selection": {
            **candidates.summary(config.steps, evaluation),
            "trade_off": folder.read_trade_offs(),
        },
        "source_accuracy": on_source.accuracy if on_source else None,
        "confidence": probabilities_t.max(1).values.mean().item(),
        "evaluation": asdict(evaluation) if evaluation else None,
        **compare_with(baseline, predicted, data.target, config.method),
        "seconds": round(time.monotonic() - started, 1),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
    }
    folder.write_summary(summary)
    fabric.barrier()  # what one rank has written, the others read
    return Run(model, summary, folder.path)


def _activations(
    network: Network, domain: Domain, pictured: Tensor, transform: Transform | None, ranks: Ranks, track: Track
) -> tuple[Tensor, Tensor]:
    """Return features of some rows and probabilities of all; each rank passes a part through the network."""
    if ranks.count == 1:
        return activations(network, domain, transform, track=track, pictured={*pictured.tolist()})
    parts = [share(len(domain), rank, ranks.count) for rank in range(ranks.count)]
    kept = [[row - part.start for row in pictured.tolist() if row in part] for part in parts]
    own = parts[ranks.rank]
    seen = activations(network, domain.select(own), transform, track=track, pictured={*kept[ranks.rank]})
    device = next(network.parameters()).device
    lengths = [[[len(rows)] for rows in each] for each in (kept, parts)]
    features, probabilities = (ranks.gather(x.to(device), rows).cpu() for x, rows in zip(seen, lengths, strict=True))
    return features, probabilities


def expected_shares(baseline: Run | None, data: Prepared) -> Tensor:
    """Return the share of each class among the target rows: as source-only predicts them, else as in the source."""
    if baseline is None or baseline.folder is None:
        return shares(data.source.labels, len(data.source.classes))
    return shares(read_predicted(baseline.folder, data.target), len(data.source.classes))


def read_predicted(folder: Path, target: Domain) -> Tensor:
    """Return the class that the run of a folder predicts for each target row, as an index into the target's classes."""
    index = {name: position for position, name in enumerate(target.classes)}
    return torch.tensor([index[name] for name in RunFolder(folder).read_predictions()])


def compare_with(baseline: Run | None, predicted: Tensor, target: Domain, method: str) -> dict[str, Any]:
    """Return what the summary says of the comparison with the source-only model."""
    if baseline is None or baseline.folder is None:
        return {"baseline": None, "agreement": None, "verdict": "Not compared: one model was trained."}
    plain = read_predicted(baseline.folder, target)
    return {
        "baseline": {key: baseline.summary[key] for key in ("evaluation", "source_accuracy", "confidence")},
        "agreement": 100 * (predicted == plain).double().mean().item(),
        "verdict": verdict(predicted, plain, target.labels, method.upper()),
    }


def _describe(domain: Domain, path: str) -> dict[str, Any]:
    return {"path": path, "rows": len(domain), "labelled": domain.labelled, "skipped": domain.skipped}
