"""`jointadapt analyze`: the figures of finished runs."""

import warnings
from pathlib import Path
from typing import Any

import click

from jointadapt.cli.flags import model_flags
from jointadapt.cli.printing import as_json, print_json, track


@click.command(short_help="Draw the figures of finished runs: t-SNE, A-distance, JMMD, convergence, sensitivity.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", metavar="FOLDER", help="Folder to write to; by default analysis/ within the first RUN.")
@click.option(
    "--sweep",
    "options",
    multiple=True,
    type=click.Choice(["trade_off", "bandwidth"]),
    help="First repeat the first RUN with other values of this option and other seeds; may be given twice.",
)
@model_flags
@as_json
def analyze(runs: tuple[str, ...], out: str | None, options: tuple[Any, ...], json_: bool, **of_model: Any) -> None:
    """Draw what finished runs show: SVG, PNG, the numbers as CSV, and a page, analysis.html.

    A RUN is a run folder, or a folder that contains run folders. Runs that cannot be read are named and left out; the
    exit code is then 1.
    """
    from jointadapt.analysis import analyze as find
    from jointadapt.analysis import check_out, sweep

    folder = Path(out) if out else Path(runs[0]) / "analysis"
    check_out(folder)
    swept = [run for option in options for run in sweep(runs[0], option, folder, track(json_))]
    analysis = find([*runs, *swept], track(json_), **of_model)
    page = analysis.write(folder)
    for note in (*analysis.notes, *(f"left out: {text}" for text in analysis.unread)):
        warnings.warn(note, stacklevel=1)
    if json_:
        figures = {spec.name: spec.rows for spec in analysis.specs if spec.name != "tsne"}
        told = {"absent": analysis.absent, "unread": analysis.unread, "page": str(page)}
        print_json({"runs": len(analysis.runs), "figures": figures, **told})
    else:
        click.echo(f"{len(analysis.runs)} runs: {', '.join(spec.name for spec in analysis.specs)}")
        for text in analysis.absent:
            click.echo(f"Not shown: {text}.")
        click.echo(f"Page: {page}")
    if analysis.unread:
        click.get_current_context().exit(1)
