"""`jointadapt suggest-labels`: which target examples to label first, and a page to label them with."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from jointadapt.cli.flags import model_flags
from jointadapt.cli.printing import as_json, output, print_json, track
from jointadapt.errors import UserError


@click.command("suggest-labels", short_help="Print the target examples most worth labelling, as CSV or as a page.")
@click.argument("run")
@click.option("--budget", type=click.IntRange(min=1), default=20, help="Number of examples to label. [20]")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["teaching", "choosing"]),
    default="teaching",
    help="teaching: those that a model would learn most from. choosing: those on which the models of an auto run "
    "disagree, to tell which is the best. [teaching]",
)
@click.option("--target", help="Domain to choose from, if not the run's own target; where that lies, if it has moved.")
@click.option("--page", metavar="FILE", help="Write a page (HTML) by which a person labels them, instead of the CSV.")
@click.option("--out", "-o", help="CSV file to write instead of standard output.")
@model_flags
@as_json
def suggest_labels(
    run: str,
    budget: int,
    purpose: str,
    target: str | None,
    page: str | None,
    out: str | None,
    json_: bool,
    **of_model: Any,
) -> None:
    """Print the target examples most worth labelling, as CSV; fill in `label` for `train --target-labels`.

    With --page they come as a page to label them with, in any browser, which hands out the CSV.
    """
    from jointadapt.diagnostics import label_suggestion

    if page and Path(page).exists():
        raise UserError(f"{page} is there already; choose another --page, or remove it.")
    if purpose == "choosing":
        if target and not page:
            raise UserError("--for choosing asks for examples of the run's own target; leave --target out.")
        suggestions = label_suggestion.suggest_for_choosing(run, budget)
    else:
        suggestions = label_suggestion.suggest_labels(run, budget, target, track=track(json_), **of_model)
    size = 0
    if page:
        size = label_suggestion.write_label_page(page, run, suggestions, target, track=track(json_), **of_model)
    if json_:
        print_json({"suggestions": [dataclasses.asdict(row) for row in suggestions]} | ({"page": page} if page else {}))
        return
    if page:
        click.echo(f"Page: {page} ({len(suggestions)} examples, {size / 1e6:.1f} MB). Open it in a browser.")
    if out or not page:
        with output(out) as file:
            label_suggestion.write_suggestions(file, suggestions)
