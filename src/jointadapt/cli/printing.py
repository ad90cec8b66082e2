"""What several verbs print, and how."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from jointadapt.errors import UserError
from jointadapt.runtime.progress import Track, bars, silent

WIDEST = 10_000

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object instead of text.")


def print_json(value: Any) -> None:
    """Print one object, in ASCII."""
    click.echo(json.dumps(value, ensure_ascii=True))


def print_table(table: Table) -> None:
    """Print a table as wide as a terminal lets it be; as wide as it is where no terminal is."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum)
    console.print(table)


def track(json_: bool) -> Track:
    """Return the bars of a terminal; nothing for machines."""
    return bars if sys.stderr.isatty() and not json_ else silent


@contextlib.contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """Open a new file for text; without a path give standard output, which stays open."""
    if path is None:
        yield sys.stdout
        return
    try:
        with Path(path).open("x", newline="", encoding="utf-8", errors="surrogateescape") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out.") from error
