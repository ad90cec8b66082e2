"""`jointadapt compare`: a table of tasks × methods × seeds."""

import os
from typing import Any

import click
from rich.table import Table as Grid
from rich.text import Text

from jointadapt.cli.flags import GroupedCommand, option_flags, read_flags
from jointadapt.cli.printing import as_json, print_json, print_table, track
from jointadapt.config import RunOptions
from jointadapt.errors import UserError


@click.command(
    cls=GroupedCommand, short_help="Run a benchmark's tasks with several methods and seeds; print the table."
)
@click.option("--benchmark", required=True, help="Benchmark: a name (`jointadapt ls benchmarks`), or a TOML file.")
@click.option("--root", required=True, help="Folder that holds the benchmark's domains.")
@click.option("--tasks", default="all", help='Tasks: all, or a list: a2w,d2w or "amazon → webcam". [all]')
@click.option(
    "--methods",
    default="source-only,dan,dann,jan,jan-a",
    help="Methods, separated by commas. [source-only,dan,dann,jan,jan-a]",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Number of seeds: 0, 1, … [5]")
@click.option(
    "--recipe",
    default="modern",
    help="Preset options: paper, authors-pytorch, tllib or modern (our defaults). [modern]",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Runs in parallel, one thread each. [one per core]")
@click.option(
    "--launcher", type=click.Choice(["local", "ray"]), default="local", help="Where runs are executed. [local]"
)
@click.option("--ray-address", metavar="HOST:PORT", help="Address of the Ray cluster. [auto]")
@click.option(
    "--target-labels", help="CSV of item, label: classes of some target examples, where all tasks have one target."
)
@click.option("--out", help="Folder to keep the runs and the table in (.md, .tex, .csv, .html).")
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown", "latex", "csv", "html"]),
    default="terminal",
    help="Format to print the table in. [terminal]",
)
@as_json
@option_flags(without=RunOptions)
def compare(
    benchmark: str,
    root: str,
    tasks: str,
    methods: str,
    seeds: int,
    recipe: str,
    jobs: int | None,
    launcher: str,
    ray_address: str | None,
    target_labels: str | None,
    out: str | None,
    form: str,
    json_: bool,
    **flags: Any,
) -> None:
    """Train every method on every task of a benchmark with every seed, and print one table.

    Finished runs are reused: an interrupted table goes on where it stopped, a finished one is printed again. Further
    options are those of `train`, for every run, and those of methods, for the runs of the methods that have them; they
    override the recipe's. --select names the criterion of the middle row.
    """
    from jointadapt.comparison.plan import plan
    from jointadapt.comparison.run import compare as run
    from jointadapt.comparison.run import in_processes
    from jointadapt.comparison.table import tabulate

    lists, options = {"tasks": _listed(tasks), "methods": _listed(methods)}, read_flags(flags)
    options |= {"target_labels": target_labels} if target_labels else {}
    comparison, absent = plan(benchmark, root, **lists, seeds=seeds, recipe=recipe, out=out, **options)
    if launcher == "ray":
        from jointadapt.comparison.ray_cluster import on_ray

        if jobs is not None:
            raise UserError("--jobs counts local processes; --launcher ray runs as many as the cluster has cores.")
        launch = on_ray(ray_address or "auto", keep=out is not None)
    elif ray_address is not None:
        raise UserError("--ray-address needs --launcher ray.")
    else:
        launch = in_processes(jobs or os.cpu_count() or 1)
    outcomes, failures = run(comparison, launch, track(json_))
    table = tabulate(comparison, outcomes, absent, failures)
    if out is not None:
        table.write(comparison.folder)
    if json_:
        print_json({**table.to_dict(), "absent": absent, "failures": failures, "out": out})
    elif form == "terminal":
        _print(table)
        if out is not None:
            click.echo(f"Runs and table: {out}")
    else:
        click.echo(getattr(table, form)(), nl=False)
    if failures:
        click.get_current_context().exit(1)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _print(table: Any) -> None:
    from jointadapt.comparison.table import MEASURES

    for number, measure in enumerate(table.rows):
        grid = Grid(f"{MEASURES[measure]}, %", "checkpoint", title=Text(table.title) if number == 0 else None)
        for heading in table.headings:
            grid.add_column(heading, justify="right")
        before = None
        for method, rule, cells in table.texts(measure):
            if before not in (None, method):
                grid.add_section()
            grid.add_row(Text(method if method != before else ""), rule, *cells)
            before = method
        print_table(grid)
    for note in table.notes:
        click.echo(note)
