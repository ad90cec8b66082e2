"""`jointadapt data`: is a benchmark's data whole?"""

import dataclasses
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from jointadapt.cli.printing import as_json, print_json, print_table


@click.group()
def data() -> None:
    """Check the data of a benchmark."""


@data.command(short_help="Check a benchmark's domains, classes and counts.")
@click.argument("benchmark")
@click.option("--root", required=True, help="Folder that holds the benchmark's domains.")
@as_json
def check(benchmark: str, root: str, json_: bool) -> None:
    """Count the examples of each domain and class of BENCHMARK, a name or a TOML file; list what is missing or surplus.

    The exit code is 0 if nothing is missing or surplus, else 1.
    """
    from jointadapt.data.benchmarks import check as find
    from jointadapt.data.benchmarks import load_benchmark

    described = load_benchmark(benchmark)
    findings = find(described, Path(root))
    whole = not any(finding.faults for finding in findings)
    if json_:
        rows = [dataclasses.asdict(finding) for finding in findings]
        print_json({"benchmark": benchmark, "home": described.home, "whole": whole, "domains": rows})
    else:
        table = Table("domain", "rows", "expected", "where", title=Text(described.title or benchmark))
        for finding in findings:
            expected = "–" if finding.expected is None else f"{finding.expected:,}"
            table.add_row(finding.domain, f"{finding.rows:,}", expected, Text(finding.path or "absent"))
        print_table(table)
        for finding in findings:
            for fault in finding.faults:
                click.echo(f"{fault if fault.startswith(finding.domain) else f'{finding.domain}: {fault}'}")
        click.echo("All there." if whole else f"Official source: {described.home or 'not given'}")
    if not whole:
        click.get_current_context().exit(1)
