"""`jointadapt suggest-labels`: which target examples to label first."""

import dataclasses
from typing import Any

import click

from jointadapt.cli.flags import model_flags
from jointadapt.cli.printing import as_json, output, print_json, track
from jointadapt.errors import UserError


@click.command("suggest-labels", short_help="Print the target examples most worth labelling, as CSV.")
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
@click.option("--target", help="Domain to choose from, if not the run's own target.")
@click.option("--out", "-o", help="CSV file to write instead of standard output.")
@model_flags
@as_json
def suggest_labels(
    run: str, budget: int, purpose: str, target: str | None, out: str | None, json_: bool, **of_model: Any
) -> None:
    """Print the target examples most worth labelling, as CSV; fill in `label` for `train --target-labels`."""
    from jointadapt.diagnostics import label_suggestion

    if purpose == "choosing":
        if target:
            raise UserError("--for choosing asks for examples of the run's own target; leave --target out.")
        suggestions = label_suggestion.suggest_for_choosing(run, budget)
    else:
        suggestions = label_suggestion.suggest_labels(run, budget, target, track=track(json_), **of_model)
    if json_:
        print_json({"suggestions": [dataclasses.asdict(row) for row in suggestions]})
        return
    with output(out) as file:
        label_suggestion.write_suggestions(file, suggestions)
