"""A trained model → files for other programs, which are run on real rows before they are left behind."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jointadapt.data import Domain, read_domain
from jointadapt.diagnostics.label_suggestion import read_target
from jointadapt.errors import UserError, unknown_name
from jointadapt.experiment.run import Run
from jointadapt.exporting.description import describe
from jointadapt.exporting.formats import ABOUT, FORMATS, Runner
from jointadapt.exporting.inputs import rows_each, rows_of, some_of
from jointadapt.runs.folder import RunFolder, config_of
from jointadapt.runs.model import Model
from jointadapt.runtime.files import default_cache, new_folder, write_atomically
from jointadapt.runtime.json_text import to_json
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.torch_defaults import torch_defaults

TOLERANCE = 1e-5
BATCHES = (1, 2, 7)
MOST_IMAGES, MOST_ROWS = 20, 1000


@dataclass(frozen=True)
class Check:
    """How far an export is from the model on real rows.

    Args:
        domain: the name of the domain that they are from.
        batches: how many rows were handed in at a time.
        difference: the largest of a probability, or of a score of unknown classes.
        agreeing: how many rows get the same class.
    """

    domain: str
    rows: int
    batches: tuple[int, ...]
    difference: float
    agreeing: int
    tolerance: float


@dataclass(frozen=True)
class Export:
    """What was exported: the folder, the model's file in it, what `model.json` says, how it was checked."""

    folder: Path
    file: Path
    about: dict[str, Any]
    check: Check
    bytes: int
    seconds: float

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the probabilities."""
        return self.about["classes"]


@torch_defaults()
def export(
    run: str | Path | Run | Model,
    to: str = "onnx",
    output: str | Path | None = None,
    *,
    check: str | Path | Domain | None = None,
    tolerance: float = TOLERANCE,
    backbone: str | nn.Module | None = None,
    weights: str | Path | None = None,
    track: Track = silent,
) -> Export:
    """Return what was written of a trained model for other programs, after it was run on real rows.

    What is arithmetic is in the file: gaps filled, categories one-hot, z-scores, signals, normalised pixels, the
    network, a mean of several, the temperature, the score of unknown classes. What is none (reading files, finding
    columns) is described in `model.json`, with the names of the classes.

    Args:
        run: the folder of a finished run, its model file, or what `train` returned.
        to: "onnx" (one file for onnxruntime and others), "torch" (`torch.export`), or "safetensors" (weights, and a
            loader that needs no jointadapt).
        output: a folder that is new; by default `export/FORMAT` in that of the run.
        check: the rows that it is run on, a path or a domain; by default some of the run's own target.
        tolerance: the largest difference of a probability that is let pass.
        backbone, weights: as `Model.load` takes them.

    Raises a `UserError` where the difference is larger, and leaves nothing behind then.
    """
    if to not in FORMATS:
        raise unknown_name("format", to, FORMATS)
    if not tolerance > 0:
        raise UserError(f"the tolerance is the largest difference that is let pass, above 0; got {tolerance:g}.")
    form, started = FORMATS[to], time.monotonic()
    form.check_installed()
    folder = _folder_of(run)
    if isinstance(run, Run):
        model = run.model
    else:
        model = run if isinstance(run, Model) else Model.load(run, backbone=backbone, weights=weights)
    if output is None and folder is None:
        raise UserError("this model is in no folder of a run; say where to with output=….")
    target = Path(output) if output is not None else Path(folder or ".") / "export" / to
    with new_folder(target, "--output") as unfinished:
        made = describe(model)
        domain = _rows_to_check(model, run if isinstance(run, str | Path) else folder, check, track)
        file = form.write(unfinished, made)
        _write_about(unfinished, made.about)
        found = _checked(model, form.runner(unfinished, made), domain, tolerance, track)
        if not found.difference <= tolerance:
            raise UserError(
                f"the {to} file is not the model: on {found.rows} rows of {found.domain} its probabilities differ by "
                f"up to {found.difference:.1e}, and at most {tolerance:.1e} is let pass; nothing was kept. Export it "
                "by another --to, or let more pass by --tolerance."
            )
        about = made.about | {"check": vars(found)}
        _write_about(unfinished, about)
        size = file.stat().st_size
    return Export(target, target / file.name, about, found, size, time.monotonic() - started)


def _folder_of(run: str | Path | Run | Model) -> Path | None:
    """Return the folder of a run, None of a model in memory; a `UserError` for a run that is not finished."""
    if isinstance(run, Model):
        return None
    if isinstance(run, Run):
        return run.folder
    path = Path(run)
    if not path.exists():
        raise UserError(f"{path} is not there; give the folder of a finished run, or its model.safetensors.")
    folder = RunFolder(path if path.is_dir() else path.parent)
    if path.is_dir() and folder.begun and not folder.finished:
        raise UserError(f"{path} is not finished; go on with: jointadapt train --resume {path}")
    return folder.path


def _rows_to_check(model: Model, run: str | Path | None, check: str | Path | Domain | None, track: Track) -> Domain:
    """Return some rows, as they were read: of what was given, else of the run's own target."""
    if isinstance(check, Domain):
        domain = check
    elif check is not None:
        domain = read_domain(check, default_cache(), track, model.config.reading_again())
    elif run is None:
        raise UserError("rows to check the export on are missing; name some with check=….")
    else:
        try:
            domain = read_target(run, config_of(run) or model.config, None, default_cache(), track)
        except UserError as error:
            raise UserError(str(error).replace("--target", "--check")) from error
    most = MOST_IMAGES if domain.holds_images else MOST_ROWS
    return some_of(domain, max(1, most // rows_each(model, domain)))


def _checked(model: Model, run: Runner, domain: Domain, tolerance: float, track: Track) -> Check:
    """Return how far an export is from its model, in batches of 1, 2, 7 rows, and of all that are left."""
    rows = rows_of(model, domain)
    rows = rows[:MOST_ROWS]
    expected = [model.predict_proba(domain, track)[: len(rows)]]
    if model.unknown is not None:
        expected.append(model.unknown_scores(domain, track)[: len(rows)])
    sizes = _batches(len(rows))
    found = [run(batch.contiguous()) for batch in track(rows.split(sizes), len(sizes), "checking the export")]
    outputs = [torch.cat(parts) for parts in zip(*found, strict=True)]
    difference = max(largest(mine, theirs) for mine, theirs in zip(expected, outputs, strict=True))
    agreeing = int((expected[0].argmax(1) == outputs[0].argmax(1)).sum())
    return Check(domain.name, len(rows), tuple(sizes), difference, agreeing, tolerance)


def largest(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference; infinity where something is not finite, or has another shape."""
    if expected.shape != found.shape or not found.isfinite().all():
        return float("inf")
    return (expected.double() - found.double()).abs().max().item()


def _batches(rows: int) -> list[int]:
    """Return the sizes of batches that make up so many rows, 1, 2 and 7 first.

    >>> _batches(20), _batches(2)
    ([1, 2, 7, 10], [1, 1])
    """
    sizes, left = [], rows
    for size in (*BATCHES, rows):
        sizes += [min(size, left)] if left else []
        left -= min(size, left)
    return sizes


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    text = to_json(about, indent=1)
    write_atomically(folder / ABOUT, lambda file: file.write(text.encode(errors="replace")))
