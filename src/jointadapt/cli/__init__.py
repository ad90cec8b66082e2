"""The command line: verbs, thin, one file a verb. The only package that prints and exits.

A verb is loaded when it is asked for, and what it works with when it runs, so that `--version` and `--help` answer at
once.
"""

import logging
import os
import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from jointadapt.cli.console import close_output, open_console
from jointadapt.errors import Interrupted, LostProcessError, UserError, unknown_name
from jointadapt.runtime.signals import interruptions
from jointadapt.version import __version__

# The verbs in the order of `--help`: what is typed → the module here that has a command of the module's name.
VERBS = {
    "train": "train",
    "compare": "compare",
    "predict": "predict",
    "evaluate": "evaluate",
    "estimate": "estimate",
    "export": "export",
    "card": "card",
    "suggest-labels": "suggest_labels",
    "shift": "shift",
    "analyze": "analyze",
    "data": "data",
    "ls": "ls",
    "demo": "demo",
}


class _Verbs(click.Group):
    """Verbs, loaded by name; an unknown one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module = VERBS[cmd_name]
        return getattr(import_module(f"jointadapt.cli.{module}"), module)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(str(unknown_name("command", args[0], VERBS)), ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="jointadapt")
def cli() -> None:
    """Train on labelled source and unlabelled target data, so that the classifier works on the target."""


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 2, an interruption 128 + signal."""
    open_console()
    warnings.showwarning = _print_warning
    try:
        sys.path.append(str(Path.cwd()))  # "module:Name" may lie here; what is installed comes first
    except FileNotFoundError:
        print_error("the working folder is gone; change to one that is there.")
        sys.exit(2)
    logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)  # it reports every process that it starts
    leave = sys.exit
    with interruptions() as asked:
        try:
            code = cli(standalone_mode=False, prog_name="jointadapt") or 0
        except BaseException as error:
            code = _told(error, asked)
            if isinstance(error, LostProcessError):
                leave = os._exit
        code = _flushed(code)
    leave(code)


def _told(error: BaseException, asked: list[int]) -> int:
    """Tell what ended the command in one line and return the exit code; what is a fault of ours is raised again.

    An interruption in the middle of an import, or of a reader, may come as anything: as an ImportError, a UserError.
    """
    if isinstance(error, Interrupted):
        from jointadapt.runtime.progress import first_process

        if not first_process():  # of several that stop together, one speaks and gives the code
            return 0
        print_error(str(error))
        return 128 + error.number
    if asked or isinstance(error, KeyboardInterrupt | click.Abort):
        number = signal.Signals(asked[0] if asked else signal.SIGINT)
        print_error("interrupted" if number == signal.SIGINT else f"stopped by {number.name}")
        return 128 + number
    match error:
        case SystemExit():
            return error.code if isinstance(error.code, int) else 1
        case click.exceptions.NoArgsIsHelpError():
            error.show()
        case click.ClickException():
            context = error.ctx if isinstance(error, click.UsageError) else None
            print_error(error.format_message() + (f" See: {context.command_path} --help" if context else ""))
        case UserError():
            print_error(str(error))
        case BrokenPipeError():
            close_output()
            return 141
        case OSError():  # a full disk, a folder that goes away
            print_error(f"{error}; mend that, and start again or train --resume.")
        case _:
            raise error
    return 2


def _flushed(code: int) -> int:
    """Return the exit code once all is written; another where it cannot be: the pipe is closed, the disk full."""
    try:
        sys.stdout.flush()
    except OSError as error:
        close_output()
        if not isinstance(error, BrokenPipeError):
            print_error(f"standard output cannot be written ({error.strerror}).")
        return 141 if isinstance(error, BrokenPipeError) else 2
    return code


def print_error(message: str) -> None:
    """Print one line; what is no text in it (line ends, terminal codes, bytes of no character) is escaped."""
    with suppress(OSError):  # a terminal that has gone
        click.echo("jointadapt: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in message), err=True)


def _print_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        print_error(f"warning: {message}")
