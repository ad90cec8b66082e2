"""The command line: verbs, thin. The only room that prints and exits."""

import contextlib
import dataclasses
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import jointadapt
from jointadapt.config import make_config, read_config
from jointadapt.errors import Interrupted, UserError, unknown_name
from jointadapt.flags import config_flags, read_flags
from jointadapt.progress import Track, bars, silent

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object instead of text.")


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


@cli.command(short_help="Adapt to a target; leaves a run folder with model, predictions and report.")
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@click.option("--resume", "resumed", metavar="RUN", help="Finish an interrupted run.")
@as_json
@config_flags
def train(file: str | None, resumed: str | None, json_: bool, **flags: Any) -> None:
    """Train a classifier for the target domain.

    Options come from a TOML FILE, from flags, or both (flags win).
    """
    from jointadapt.experiment import execute, resume

    given = read_flags(flags)
    track = _track(json_)
    if resumed is not None:
        if given or file:
            raise UserError("--resume takes its options from the run folder; leave the others out.")
        run = resume(resumed, track)
    else:
        run = execute(make_config({**(read_config(file) if file else {}), **given}), track=track)
    assert run.folder is not None
    report = run.folder / "report.html"
    if json_:
        _print_json({**run.summary, "run": str(run.folder), "report": str(report) if report.exists() else None})
        return
    _print_runs(run.summary)
    click.echo(run.summary["verdict"])
    click.echo(f"Run folder: {run.folder}")
    if report.exists():
        click.echo(f"Report: {report}")


@cli.command()
@click.argument("run")
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", "-o", help="CSV file to write instead of standard output.")
@as_json
def predict(run: str, paths: tuple[str, ...], out: str | None, json_: bool) -> None:
    """Print class and probability for new data, as CSV: image files, folders, image lists or arrays."""
    from jointadapt.data.reading import read_paths
    from jointadapt.model import Model
    from jointadapt.runs import write_predictions

    model, domains = Model.load(run), read_paths(paths, track=_track(json_))
    results = [(domain, model.predict_proba(domain, _track(json_))) for domain in domains]
    for domain in domains:
        for note in domain.notes:
            warnings.warn(note, stacklevel=1)
    if json_:
        rows = [
            {"item": item, "class": model.classes[p.argmax()], "probability": p.max().item()}
            for domain, probabilities in results
            for item, p in zip(domain.items, probabilities, strict=True)
        ]
        _print_json({"predictions": rows})
        return
    try:
        with open(out, "x", newline="", encoding="utf-8", errors="surrogateescape") if out else _stdout() as file:  # noqa: PTH123
            for number, (domain, probabilities) in enumerate(results):
                write_predictions(file, domain.unlabelled(), probabilities, model.classes, header=number == 0)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or out is None:
            raise
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another --out.") from error


@cli.command()
@click.argument("run")
@click.argument("path")
@as_json
def evaluate(run: str, path: str, json_: bool) -> None:
    """Print accuracy, mean per-class accuracy and the confusion matrix on labelled data."""
    from jointadapt.data import UNLABELLED, read_domain
    from jointadapt.evaluation import evaluate as measure
    from jointadapt.model import Model

    model, domain = Model.load(run), read_domain(path, track=_track(json_))
    if not domain.labelled:
        raise UserError(f"{path} has no labels to evaluate on; give class folders, or use: jointadapt predict")
    for note in domain.notes:
        warnings.warn(note, stacklevel=1)
    domain, surplus = domain.in_classes(model.classes)
    if surplus:
        warnings.warn(f"not counted, as the model does not know them: {', '.join(surplus)}", stacklevel=1)
    result = measure(model.predict_proba(domain, _track(json_)).argmax(1), domain.labels, len(model.classes))
    if result is None:
        raise UserError(f"{path} has none of the model's classes ({', '.join(model.classes[:5])}…) to evaluate on.")
    unknown = int((domain.labels == UNLABELLED).sum())
    if json_:
        _print_json({**dataclasses.asdict(result), "classes": list(model.classes), "not_counted": unknown})
        return
    rows = f"{result.rows} rows" + (f", {unknown} not counted" if unknown else "")
    click.echo(f"accuracy                 {result.accuracy:6.2f} %  ({rows})")
    click.echo(f"mean per-class accuracy  {result.mean_per_class_accuracy:6.2f} %")
    table = Table("true \\ predicted", *(str(number) for number in range(len(model.classes))), title="confusion matrix")
    for number, (name, row) in enumerate(zip(model.classes, result.confusion, strict=True)):
        table.add_row(Text(f"{number} {name}"), *(str(count) if count else "·" for count in row))
    Console().print(table)


@cli.command()
@click.argument("source")
@click.argument("target")
@click.option("--run", help="Run folder: also test what its model makes of them, features and predictions jointly.")
@click.option("--backbone", default="auto", help="For images: torchvision or timm name. [resnet50, or the run's]")
@click.option("--weights", default="default", help="default (downloads), none, or a file. [default, or the run's]")
@click.option(
    "--method",
    type=click.Choice(["permutation", "aggregated", "cross", "linear"]),
    default="permutation",
    help="permutation: exact; aggregated: exact, any scale; cross: above 20,000 rows; linear: millions. [permutation]",
)
@click.option("--permutations", type=int, default=1000, help="Relabellings: permutation, aggregated. [1000]")
@click.option("--level", type=float, default=0.05, help="Rate of false alarms to accept. [0.05]")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Repeats a test exactly. [0]")
@click.option("--out", metavar="FOLDER", help="Also write test.json and the plot, null.svg and null.png, there.")
@as_json
def test(source: str, target: str, run: str | None, out: str | None, json_: bool, **options: Any) -> None:
    """Tell whether SOURCE and TARGET differ: images by a backbone's features, arrays as they are.

    With --run, also whether the trained model's features and predictions still differ. Give it rows that the run was
    not trained on: its own training rows were pulled together and are not held out.
    """
    from jointadapt.shift import check_out, compare

    if out is not None:
        check_out(out)
    shift = compare(source, target, run, track=_track(json_), **options)
    for note in shift.notes:
        warnings.warn(note, stacklevel=1)
    if out is not None:
        shift.write(out)
    if json_:
        _print_json(shift.to_dict())
        return
    click.echo(str(shift))
    if out is not None:
        click.echo(f"Numbers and plot: {out}")


@cli.command("ls")
@click.argument("what", required=False, type=click.Choice(["methods", "backbones"]))
@as_json
def list_(what: str | None, json_: bool) -> None:
    """List methods and backbones."""
    from jointadapt.backbones import backbone_names
    from jointadapt.methods import METHODS, options_of

    methods = {name: (cls.__doc__ or "").splitlines()[0].split(": ")[0] for name, cls in METHODS.items()}
    if json_:
        everything = {"methods": {name: list(options_of(name)) for name in methods}, "backbones": backbone_names()}
        _print_json({what: everything[what]} if what else everything)
        return
    if what != "backbones":
        for name, text in methods.items():
            click.echo(f"{name:12} {text}")
    if what != "methods":
        names = backbone_names()
        click.echo("\n".join(names) if what else f"\n{len(names)} backbones; see: jointadapt ls backbones")


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the runs; by default a temporary one.")
@as_json
def demo(out: Path | None, json_: bool) -> None:
    """Adapt to tilted, blurred and pale digits; nothing to download, under a minute."""
    from jointadapt.demo import METHODS, SEEDS, run_demo

    result = run_demo(out, _track(json_))
    means = {method: result.mean(method) for method in METHODS}
    if json_:
        numbers = {method.replace("-", "_"): value for method, value in means.items()}
        _print_json({**numbers, "accuracies": result.accuracies, "report": str(result.report)})
        return
    table = Table("target accuracy, %", *(f"seed {seed}" for seed in SEEDS), "mean", title="digits → another scanner")
    for method in METHODS:
        table.add_row(method, *(f"{value:.1f}" for value in result.accuracies[method]), f"{means[method]:.1f}")
    Console().print(table)
    click.echo(f"Adaptation gained {means['jan'] - means['source-only']:.1f} points. Report: {result.report}")


def _print_runs(summary: dict[str, Any]) -> None:
    table = Table("", "target accuracy", "mean per class", "source accuracy", title=Text(summary["task"]))
    rows = [("source-only", summary["baseline"])] if summary["baseline"] else []
    for name, row in [*rows, (summary["method"], summary)]:
        measured = row["evaluation"]
        cells = (measured["accuracy"], measured["mean_per_class_accuracy"]) if measured else (None, None)
        cells = (*cells, row["source_accuracy"])
        table.add_row(name, *(f"{cell:.1f} %" if cell is not None else "–" for cell in cells))
    Console().print(table)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=True))


def _print_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        _print_error(f"warning: {message}")


def _print_error(message: str) -> None:
    """Print one line; what is no text in it (line ends, terminal codes, bytes of no character) is escaped."""
    click.echo("jointadapt: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in message), err=True)


def _track(json_: bool) -> Track:
    return bars if sys.stderr.isatty() and not json_ else silent


def _stdout() -> Any:
    return contextlib.nullcontext(sys.stdout)


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 2, an interruption 128 + signal."""
    warnings.showwarning = _print_warning
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a file's name may hold bytes that are no UTF-8
    try:
        sys.exit(cli(standalone_mode=False, prog_name="jointadapt") or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        _print_error(error.format_message() + (f" See: {context.command_path} --help" if context else ""))
        sys.exit(2)
    except (UserError, Interrupted) as error:
        _print_error(str(error))
        sys.exit(128 + error.number if isinstance(error, Interrupted) else 2)
    except (KeyboardInterrupt, click.Abort):
        _print_error("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # a full disk, a folder that goes away
        _print_error(f"{error}; mend that, and start again or train --resume.")
        sys.exit(2)


if __name__ == "__main__":
    main()
