"""`jointadapt estimate`: the target accuracy that is expected without target labels."""

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from jointadapt.cli.flags import model_flags
from jointadapt.cli.printing import as_json, print_json, track
from jointadapt.errors import UserError
from jointadapt.runtime.progress import first_process

if TYPE_CHECKING:
    pass


@click.command(short_help="Estimate the target accuracy without target labels, with an interval.")
@click.argument("run", required=False)
@click.option("--source", help="The run's source, if it was trained on arrays in memory.")
@click.option("--target", help="The run's target, likewise.")
@click.option(
    "--source-probabilities",
    metavar="FILE",
    help="Of any model, instead of RUN: its probabilities of labelled source rows that it was not trained on; a column "
    "a class, and label (.csv, .parquet, .feather; .npz: probabilities, label, classes).",
)
@click.option("--target-probabilities", metavar="FILE", help="Its probabilities of target rows, likewise.")
@click.option(
    "--other",
    "others",
    multiple=True,
    metavar="FILE",
    help="Another model's probabilities of the same target rows: their agreement speaks too. May be repeated.",
)
@model_flags
@as_json
def estimate(
    run: str | None,
    source: str | None,
    target: str | None,
    source_probabilities: str | None,
    target_probabilities: str | None,
    others: tuple[str, ...],
    json_: bool,
    **of_model: Any,
) -> None:
    """Print the target accuracy that is expected without target labels, with a 90 % interval.

    Of a RUN: a twin with its options, and another seed, is trained once without a fifth of the source, on which it is
    judged; the estimate is written into the run's summary and report, and given at once from then on. Of any other
    model: two tables of probabilities.

    It is assumed that examples that look alike have one label in both domains: nothing else can be seen without labels.
    """
    tables = source_probabilities, target_probabilities
    if (run is None) == (tables == (None, None)):
        raise UserError("give a RUN, or --source-probabilities and --target-probabilities of any other model.")
    if run is not None:
        _of_run(run, {"source": source, "target": target, **of_model}, json_)
        return
    if source_probabilities is None or target_probabilities is None:
        missing = "--source-probabilities" if source_probabilities is None else "--target-probabilities"
        raise UserError(f"{missing} is missing; both tables are needed.")
    from jointadapt.diagnostics.accuracy.probability_tables import estimate_from_tables

    found, accuracy = estimate_from_tables(source_probabilities, target_probabilities, others)
    if json_:
        print_json({**dataclasses.asdict(found), "accuracy": accuracy})
        return
    click.echo(found.words)
    _echo_truth(accuracy)


def _of_run(run: str, given: dict[str, Any], json_: bool) -> None:
    from jointadapt.experiment import estimate as estimate_run

    summary = estimate_run(run, track(json_), **{name: value for name, value in given.items() if value is not None})
    if not first_process():
        return
    found = summary.accuracy_estimate
    assert found is not None
    if json_:
        print_json({**dataclasses.asdict(found), "accuracy": summary.accuracy, "run": run})
        return
    click.echo(found.words)
    _echo_truth(summary.accuracy)


def _echo_truth(accuracy: float | None) -> None:
    if accuracy is not None:
        click.echo(f"Measured with the target's labels, for evaluation only: {accuracy:.1f} %.")
