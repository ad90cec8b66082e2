"""`jointadapt suggest-labels`: which target examples to label first."""

import dataclasses
from typing import Any

import click

from jointadapt.cli.flags import model_flags
from jointadapt.cli.printing import as_json, output, print_json, track


@click.command("suggest-labels", short_help="Print the target examples most worth labelling, as CSV.")
@click.argument("run")
@click.option("--budget", type=click.IntRange(min=1), default=20, help="Number of examples to label. [20]")
@click.option("--target", help="Domain to choose from, if not the run's own target.")
@click.option("--out", "-o", help="CSV file to write instead of standard output.")
@model_flags
@as_json
def suggest_labels(run: str, budget: int, target: str | None, out: str | None, json_: bool, **of_model: Any) -> None:
    """Print the target examples most worth labelling, as CSV; fill in `label` for `train --target-labels`."""
    from jointadapt.diagnostics.label_suggestion import suggest_labels as find
    from jointadapt.diagnostics.label_suggestion import write_suggestions

    suggestions = find(run, budget, target, track=track(json_), **of_model)
    if json_:
        print_json({"suggestions": [dataclasses.asdict(row) for row in suggestions]})
        return
    with output(out) as file:
        write_suggestions(file, suggestions)
