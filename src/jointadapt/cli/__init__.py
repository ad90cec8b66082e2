"""The command line: verbs, thin, one file a subject. The only room that prints and exits."""

import io
import logging
import sys
import warnings
from typing import Any

import click

import jointadapt
from jointadapt.cli.analyze import analyze
from jointadapt.cli.compare import compare
from jointadapt.cli.data import data
from jointadapt.cli.demo import demo
from jointadapt.cli.listing import list_
from jointadapt.cli.printing import print_error
from jointadapt.cli.shift import test
from jointadapt.cli.suggest import suggest
from jointadapt.cli.train import train
from jointadapt.cli.use import evaluate, predict
from jointadapt.errors import Interrupted, UserError, unknown_name
from jointadapt.progress import first_process


class _Verbs(click.Group):
    """Verbs; an unknown one is answered with the nearest."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(str(unknown_name("command", args[0], self.commands)), ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(jointadapt.__version__, prog_name="jointadapt")
def cli() -> None:
    """Train on labelled source and unlabelled target data, so that the classifier works on the target."""


for verb in (train, compare, predict, evaluate, suggest, test, analyze, data, list_, demo):
    cli.add_command(verb)


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 2, an interruption 128 + signal."""
    warnings.showwarning = _print_warning
    logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)  # it tells of every process it starts
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


def _print_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        print_error(f"warning: {message}")
