"""Finished runs → the figures of the paper and those its readers want: SVG, PNG, the numbers as CSV, and one page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from torch import nn

from jointadapt.analysis import figures
from jointadapt.analysis.figures import MAPPED_METHODS, MAPPED_ROWS, FigureSpec, Swept
from jointadapt.analysis.outputs import Observer, RunOutputs
from jointadapt.data import UNLABELLED
from jointadapt.data.domain import some_rows
from jointadapt.discrepancy import jan_kernels, jmmd_unbiased
from jointadapt.discrepancy.a_distance import FEWEST_GROUPS, FEWEST_PER_DOMAIN, a_distance
from jointadapt.discrepancy.distances import mean_squared_distance
from jointadapt.errors import UserError
from jointadapt.experiment import execute_variants
from jointadapt.experiment.trade_off import TRADE_OFFS
from jointadapt.reporting.html import page_template
from jointadapt.reporting.run_figures import tsne
from jointadapt.reporting.style import house_style, inline, save
from jointadapt.runs.folder import RunFolder
from jointadapt.runs.reading import FinishedRun, find_readable_runs, read_run
from jointadapt.runtime.files import write_atomically
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.torch_defaults import torch_defaults

PAGE = "analysis.html"
MOST_ROWS = 20_000
SEEDS = 3
BANDWIDTH_MULTIPLES = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)


@dataclass(frozen=True)
class Analysis:
    """The figures that the runs allow.

    `absent`: what others would need; `notes`: what to know beforehand; `unread`: runs that are left out, and why.
    """

    runs: tuple[FinishedRun, ...]
    specs: tuple[FigureSpec, ...]
    absent: tuple[str, ...]
    notes: tuple[str, ...]
    unread: tuple[str, ...] = ()

    def write(self, folder: str | Path) -> Path:
        """Write each figure as SVG, PNG and CSV, and return the path of the page that shows them all."""
        folder = Path(folder)
        drawn = []
        for spec in self.specs:
            with house_style(spec.name):
                figure = spec.draw(spec.rows)
                for kind in ("svg", "png"):
                    write_atomically(folder / f"{spec.name}.{kind}", lambda file, k=kind, f=figure: save(f, file, k))
                drawn.append((spec, figure.get_figwidth(), inline(figure, spec.label)))
            table = spec.csv().encode(errors="surrogateescape")
            write_atomically(folder / f"{spec.name}.csv", lambda file, text=table: file.write(text))
        page = self._page(drawn).encode(errors="replace")
        write_atomically(folder / PAGE, lambda file: file.write(page))
        return folder / PAGE

    def _page(self, drawn: Sequence[tuple[FigureSpec, float, Markup]]) -> str:
        tasks = list(dict.fromkeys(run.task for run in self.runs))
        return page_template("analysis.html.j2").render(
            tasks=tasks, runs=len(self.runs), drawn=drawn, absent=self.absent, notes=self.notes, cell=_cell
        )


def check_out(folder: str | Path) -> None:
    """Raise a `UserError` if an analysis would be written over something else; before the work."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give --out a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PAGE).exists() and not (folder / "sweep").exists():
        raise UserError(f"{folder} is not empty and holds no earlier analysis; choose another --out.")


@torch_defaults()
def analyze(
    runs: Sequence[str | Path],
    track: Track = silent,
    *,
    backbone: str | nn.Module | None = None,
    weights: str | Path | None = None,
) -> Analysis:
    """Return the figures of finished runs: run folders, or folders that hold some.

    Whole domains are used: a run's model sees all rows again (of a frozen backbone, by its cached features). A run that
    cannot be read is left out, and named in `Analysis.unread`; where none can be, that is a `UserError`.

    Args:
        backbone, weights: as `Model.load` takes them, for those runs that cannot find theirs.
    """
    found, unread = find_readable_runs(runs)
    main = _main(found)
    observer = Observer(track, backbone, weights)
    shown: dict[str, list[dict[str, Any]]] = {}
    measured: dict[FinishedRun, dict[str, Any]] = {}
    for run in track(found, len(found), "analysing"):
        try:
            _, seen = run.metrics, observer.see(run)
        except UserError as error:
            unread.append(f"{run.folder}: {error}" if str(run.folder) not in str(error) else str(error))
            continue
        measured[run] = _measure(run, seen)
        mapped = shown.setdefault(run.task, [])
        if run in main and run.method in MAPPED_METHODS and all(row["method"] != run.method for row in mapped):
            mapped += _map(run, seen)
    if not measured:
        raise UserError(unread[0])
    found = list(measured)
    main = _main(found)
    rows = list(measured.values())
    compared = [measured[run] for run in main]
    made = [
        figures.maps(shown),
        figures.a_distances(compared),
        figures.jmmd(compared),
        figures.convergence(main),
        *(figures.sensitivity(found, name) for name in ("trade_off", "bandwidth")),
        figures.scatter(rows),
    ]
    there = tuple(spec for spec in made if isinstance(spec, FigureSpec))
    absent = tuple(spec for spec in made if isinstance(spec, str))
    return Analysis(tuple(found), there, absent, tuple(observer.notes), tuple(unread))


def sweep(run: str | Path, option: Swept, out: str | Path, track: Track = silent) -> list[Path]:
    """Return the folders of runs like the given one but for one option and the seed; none is trained twice.

    λ takes seven values from 0.01 to 1; the bandwidth a sixteenth to sixteen times the mean squared distance of the
    run's own features. Each is trained with three seeds, without a baseline.
    """
    found = read_run(run)
    config = found.config
    if not found.on_files:
        raise UserError(f"{run} was trained on arrays in memory; only runs on files can be trained again.")
    if not found.takes(option):
        raise UserError(f"{run} is a run of {config.method}, which has no {option}; give one of a method that has.")
    values: Iterable[float] = TRADE_OFFS
    if option == "bandwidth":
        seen = Observer(track).see(found)
        scale = mean_squared_distance(*seen.features).item()
        values = [float(f"{scale * multiple:.3g}") for multiple in BANDWIDTH_MULTIPLES]
    variants = {}
    for value in values:
        for seed in range(config.seed, config.seed + SEEDS):
            folder = Path(out) / "sweep" / f"{option}-{value:g}-{seed}"
            made = {option: value, "seed": seed, "out": str(folder), "baseline": False, "report": False}
            variants[folder] = config.but(**made)
    missing = [variant for folder, variant in variants.items() if not RunFolder(folder).finished]
    if missing:
        execute_variants(missing, track)
    return [*variants]


def _main(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return the runs that stand for their method: where it was run with several settings, those as its first run."""
    first: dict[tuple[str, str], str] = {}
    return [run for run in runs if first.setdefault((run.task, run.method), run.options("seed")) == run.options("seed")]


def _measure(run: FinishedRun, seen: RunOutputs) -> dict[str, Any]:
    """Return the discrepancies of a run: JMMD of the whole domains on features × predictions, proxy A-distance."""
    samples = [[layer[:MOST_ROWS] for layer in _shuffled([*outputs])] for outputs in (seen.source, seen.target)]
    recordings = [len(own.unique()) for own in seen.groups if own is not None]
    few = min(map(len, seen.features)) < FEWEST_PER_DOMAIN or min(recordings, default=FEWEST_GROUPS) < FEWEST_GROUPS
    distance = a_distance(*seen.features, groups=seen.groups) if not few else None
    return {
        "task": run.task,
        "method": run.method,
        "seed": run.config.seed,
        "jmmd": jmmd_unbiased(samples[0], samples[1], jan_kernels(2)).item()
        if min(len(layers[0]) for layers in samples) > 1
        else None,
        "a_distance": distance and distance.distance,
        "a_distance_error": distance and distance.standard_error,
        "rows_fitted_to": distance and distance.seen,
        "classifier_error": distance and distance.error,
        "accuracy": run.accuracy,
        "run": str(run.folder),
    }


def _shuffled(layers: list[torch.Tensor]) -> list[torch.Tensor]:
    order = torch.randperm(len(layers[0]), generator=torch.Generator().manual_seed(0))
    return [layer[order] for layer in layers]


def _map(run: FinishedRun, seen: RunOutputs) -> list[dict[str, Any]]:
    few = [some_rows(len(features), MAPPED_ROWS) for features in seen.features]
    plane = tsne(*(f[rows].numpy() for f, rows in zip(seen.features, few, strict=True)))
    if plane is None:
        return []
    classes = run.summary.classes
    parts = zip(("source", "target"), plane, few, seen.labels, strict=True)
    return [
        {
            "task": run.task,
            "method": run.method,
            "domain": domain,
            "row": row,
            "class": classes[label] if label != UNLABELLED else "",
            "x": float(x),
            "y": float(y),
        }
        for domain, points, rows, labels in parts
        for (x, y), row, label in zip(points, rows.tolist(), labels[rows].tolist(), strict=True)
    ]


def _cell(value: Any) -> str:
    """Return a value as a cell of the page's table."""
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
