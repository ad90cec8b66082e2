"""`jointadapt suggest`: which target rows to label first."""

import dataclasses

import click

from jointadapt.cli.printing import as_json, print_json, stdout, track
from jointadapt.errors import UserError


@click.command()
@click.argument("run")
@click.option("--budget", type=click.IntRange(min=1), default=20, help="Rows to name. [20]")
@click.option("--target", help="Rows to choose from, when not the run's own target.")
@click.option("--out", "-o", help="CSV file to write instead of standard output.")
@as_json
def suggest(run: str, budget: int, target: str | None, out: str | None, json_: bool) -> None:
    """Print the target rows worth a label first, as CSV; filled in, `train --target-labels` takes it."""
    from jointadapt.diagnostics.label_suggestion import suggest as find
    from jointadapt.diagnostics.label_suggestion import write_suggestions

    rows = find(run, budget, target, track=track(json_))
    if json_:
        print_json({"suggestions": [dataclasses.asdict(row) for row in rows]})
        return
    try:
        with open(out, "x", newline="", encoding="utf-8", errors="surrogateescape") if out else stdout() as file:  # noqa: PTH123
            write_suggestions(file, rows)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or out is None:
            raise
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another --out.") from error
