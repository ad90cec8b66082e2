"""`jointadapt demo`: adaptation at work, with nothing to download."""

from pathlib import Path

import click
from rich.table import Table

from jointadapt.cli.printing import as_json, print_json, print_table, track


@click.command(short_help="Adapt to tilted, blurred and pale digits in a minute.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the runs; by default a temporary one.")
@as_json
def demo(out: Path | None, json_: bool) -> None:
    """Adapt to tilted, blurred and pale digits; downloads nothing, takes under a minute."""
    from jointadapt.experiment.demo import METHODS, SEEDS, run_demo

    result = run_demo(out, track(json_))
    means = {method: result.mean(method) for method in METHODS}
    if json_:
        numbers = {method.replace("-", "_"): value for method, value in means.items()}
        print_json({**numbers, "accuracies": result.accuracies, "report": str(result.report)})
        return
    table = Table("target accuracy, %", *(f"seed {seed}" for seed in SEEDS), "mean", title="digits → another scanner")
    for method in METHODS:
        table.add_row(method, *(f"{value:.1f}" for value in result.accuracies[method]), f"{means[method]:.1f}")
    print_table(table)
    click.echo(f"Adaptation gained {means['jan'] - means['source-only']:.1f} points. Report: {result.report}")
