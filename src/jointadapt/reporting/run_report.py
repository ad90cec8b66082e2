"""Run folder → one HTML page that needs nothing else: no network, no script, no second file."""

from pathlib import Path

from jointadapt.reporting import run_figures as figures
from jointadapt.reporting import run_report_parts as parts
from jointadapt.reporting.html import page_template
from jointadapt.reporting.run_report_parts import Thumbnail
from jointadapt.reporting.unknown_part import unknown_part
from jointadapt.runs.reading import read_config_text, read_run, shown
from jointadapt.runtime.files import write_atomically

__all__ = ["Thumbnail", "render", "write_report"]


def write_report(run: Path, thumbnail: Thumbnail | None = None) -> Path:
    """Return the path of `run/report.html`, written in one stroke from the files of a run folder.

    Args:
        run: a run folder; `summary.json` is needed, every other file is shown where it is there.
        thumbnail: row of `predictions.csv` → its picture, or None where there is none.
    """
    page = render(run, thumbnail).encode()
    path = run / "report.html"
    write_atomically(path, lambda file: file.write(page))
    return path


def render(folder: Path, thumbnail: Thumbnail | None = None) -> str:
    """Return the page as text, its parts in the order in which they are read."""
    run = read_run(folder)
    classes, config = parts.class_names(run), read_config_text(folder).strip()
    return page_template("report.html.j2").render(
        task=run.task or "Domain adaptation",
        method=parts.title_of(run),
        summary=run.summary,
        subtitle=parts.subtitle(run),
        compared=run.baseline is not None,
        comparison=parts.comparison(run),
        candidates=parts.candidates(run),
        class_shares=parts.class_shares(run, classes),
        facts=parts.facts(run),
        config=config.split("\n") if config else [],
        curves=parts.learning_curves(run),
        **parts.confusion_parts(run, classes),
        maps=parts.feature_maps(run),
        legend=[(i + 1, name, figures.class_colour(i)) for i, name in enumerate(classes)],
        numbered=len(classes) <= figures.MOST_NUMBERED_CLASSES,
        target_labels="target_labels" in shown(lambda: run.features, {}),
        unknown=unknown_part(run),
        pictures=parts.pictures(run, thumbnail),
    )
