"""`jointadapt train`: a run, new or resumed."""

from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from jointadapt.cli.flags import GroupedCommand, option_flags, read_flags
from jointadapt.cli.printing import as_json, describe_open_set, print_json, print_table, track
from jointadapt.config import BASELINE, make_config, read_config
from jointadapt.runtime.progress import first_process

if TYPE_CHECKING:
    from jointadapt.runs.summary import ClassSharesSummary, Selection, Summary

MOST_SHARES = 4


@click.command(
    cls=GroupedCommand, short_help="Adapt to a target; leaves a run folder with model, predictions and report."
)
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@click.option(
    "--resume", "resumed", metavar="RUN", help="Resume an interrupted run; with options, start it if it is new."
)
@click.option("--recipe", help="Preset options: paper, authors-pytorch, tllib or modern; FILE and flags override them.")
@as_json
@option_flags()
def train(file: str | None, resumed: str | None, recipe: str | None, json_: bool, **flags: Any) -> None:
    """Train a classifier for the target domain.

    Options come from a TOML FILE, from flags, or both (flags win); a method's own options need that method.
    """
    from jointadapt.experiment import execute, resume
    from jointadapt.experiment.recipes import with_recipe

    options = with_recipe(recipe, {**(read_config(file) if file else {}), **read_flags(flags)})
    bar = track(json_)
    run = execute(make_config(options), track=bar) if resumed is None else resume(resumed, bar, options)
    assert run.folder is not None
    if not first_process():
        return
    report = run.folder / "report.html"
    if json_:
        print_json(
            {**run.summary.to_json(), "run": str(run.folder), "report": str(report) if report.exists() else None}
        )
        return
    _print_runs(run.summary)
    if run.summary.sources:
        click.echo(f"Sources: {', '.join(map(str, run.summary.sources))}.")
    click.echo(run.summary.verdict)
    if run.summary.class_shares is not None:
        click.echo(_shares(run.summary.classes, run.summary.class_shares))
    click.echo(_selection(run.summary.selection))
    if (unknown := run.summary.unknown) is not None:
        click.echo(f"Unknown: {unknown.rows} target rows, {unknown.share:.1f} %, score above {unknown.threshold:.3f}.")
        if unknown.evaluation is not None:
            click.echo(describe_open_set(unknown.evaluation))
    if run.summary.accuracy_estimate is not None:
        click.echo(run.summary.accuracy_estimate.words)
    click.echo(f"Run folder: {run.folder}")
    if report.exists():
        click.echo(f"Report: {report}")


def _print_runs(summary: "Summary") -> None:
    table = Table("", "target accuracy", "mean per class", "source accuracy", title=Text(summary.task))
    rows = [(BASELINE, summary.baseline)] if summary.baseline else []
    for name, row in [*rows, (summary.method, summary)]:
        measured = row.evaluation
        cells = (measured.accuracy, measured.mean_per_class_accuracy) if measured else (None, None)
        table.add_row(name, *(f"{cell:.1f} %" if cell is not None else "–" for cell in (*cells, row.source_accuracy)))
    print_table(table)


def _shares(classes: tuple[str, ...], found: "ClassSharesSummary") -> str:
    """Return the classes whose shares move most, with the interval of each in the target."""
    order = sorted(range(len(classes)), key=lambda i: -abs(found.target[i] - found.source[i]))[:MOST_SHARES]
    told = [
        f"{classes[i]} {found.source[i]:.0f} → {found.target[i]:.0f} % ({found.low[i]:.0f}–{found.high[i]:.0f})"
        for i in order
    ]
    more = f", and {len(classes) - len(told)} more classes" if len(classes) > len(told) else ""
    return f"Class shares, source → target as estimated: {', '.join(told)}{more}."


def _selection(selection: "Selection") -> str:
    """Return which checkpoint is reported, how it was selected, and the accuracies of the last and the oracle."""
    text = f"Checkpoint: step {selection.step}, selected by {selection.rule!r}"
    beside = {name: selection.choices[name].accuracy for name in ("last", "oracle") if name in selection.choices}
    given = [f"{name} {accuracy:.1f} %" for name, accuracy in beside.items() if accuracy is not None]
    if given:
        text += f"; target accuracy: {', '.join(given)} (the labels serve evaluation only)"
    if selection.trade_off:
        text += f"; λ = {selection.trade_off.chosen} selected by {selection.trade_off.rule!r}"
    return f"{text}."
