"""The command line: verbs, thin, one file a verb. The only package that prints and exits.

A verb is loaded when it is asked for, and what it works with when it runs, so that `--version` and `--help` answer at
once.
"""

import io
import logging
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from jointadapt.errors import Interrupted, UserError, unknown_name
from jointadapt.version import __version__

# The verbs in the order of `--help`: what is typed → the module here that has a command of the module's name.
VERBS = {
    "train": "train",
    "compare": "compare",
    "predict": "predict",
    "evaluate": "evaluate",
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
    warnings.showwarning = _print_warning
    sys.path.append(str(Path.cwd()))  # "module:Name" may lie here; what is installed comes first
    logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)  # it reports every process that it starts
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a file's name may hold bytes that are no UTF-8
    try:
        sys.exit(cli(standalone_mode=False, prog_name="jointadapt") or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        print_error(error.format_message() + (f" See: {context.command_path} --help" if context else ""))
        sys.exit(2)
    except UserError as error:
        print_error(str(error))
        sys.exit(2)
    except Interrupted as error:
        from jointadapt.runtime.progress import first_process

        if not first_process():  # of several that stop together, one speaks and gives the code
            sys.exit(0)
        print_error(str(error))
        sys.exit(128 + error.number)
    except (KeyboardInterrupt, click.Abort):
        print_error("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # a full disk, a folder that goes away
        print_error(f"{error}; mend that, and start again or train --resume.")
        sys.exit(2)


def print_error(message: str) -> None:
    """Print one line; what is no text in it (line ends, terminal codes, bytes of no character) is escaped."""
    click.echo("jointadapt: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in message), err=True)


def _print_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        print_error(f"warning: {message}")
