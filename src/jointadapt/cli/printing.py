"""What several verbs print, and how."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich.console import Console as Terminal
from rich.measure import Measurement
from rich.table import Table

from jointadapt.cli.console import Console
from jointadapt.errors import UserError
from jointadapt.runtime.json_text import to_json
from jointadapt.runtime.progress import Track, bars, silent

if TYPE_CHECKING:
    from jointadapt.evaluation.open_set import OpenSetEvaluation

WIDEST = 10_000

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object instead of text.")


def print_json(value: Any) -> None:
    """Print one object, in ASCII."""
    click.echo(to_json(value, ascii_only=True))


def print_table(table: Table) -> None:
    """Print a table as wide as a terminal lets it be; as wide as it is where no terminal is."""
    console = Terminal()
    if not console.is_terminal:
        console = Terminal(width=Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum)
    console.print(table)


def describe_open_set(found: "OpenSetEvaluation") -> str:
    """Return in a line how well unknown classes are told."""

    def shown(rate: float | None) -> str:
        return "–" if rate is None else f"{rate:.1f} %"

    return (
        f"Known classes against unknown: AUROC {shown(found.auroc)}, H-score {shown(found.h_score)} (known classes "
        f"{shown(found.known_accuracy)} of {found.known_rows} rows, unknown {shown(found.unknown_recall)} of "
        f"{found.unknown_rows}; the labels serve evaluation only)."
    )


def track(json_: bool) -> Track:
    """Return the bars of a terminal; nothing for machines."""
    return bars if sys.stderr.isatty() and not json_ else silent


@contextlib.contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """Open a new file for text; without a path give standard output, which stays open."""
    if path is None:
        if Console.closed:
            raise UserError("standard output is closed; name a file by --out.")
        before = Console.lost
        yield sys.stdout
        if lost := Console.lost - before:
            told = f"{lost} characters are not in {sys.stdout.encoding}, the encoding of this output, and were replaced"
            warnings.warn(f"{told}; --out FILE keeps them.", stacklevel=1)
        return
    try:
        with Path(path).open("x", newline="", encoding="utf-8", errors="surrogateescape") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out.") from error
