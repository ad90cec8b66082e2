"""`jointadapt shift`: are two domains different?"""

import warnings
from typing import Any

import click

from jointadapt.cli.flags import input_flags, take_inputs
from jointadapt.cli.printing import as_json, print_json, track
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions


@click.command(short_help="Test whether two domains differ.")
@click.argument("source")
@click.argument("target", required=False)
@click.option("--run", help="Run folder: also test its model's features and predictions jointly.")
@click.option(
    "--backbone", default="auto", help="Backbone for images, as in `jointadapt train`. [resnet50, or the run's]"
)
@click.option("--weights", default="default", help="default (downloads), none, or a file. [default, or the run's]")
@click.option(
    "--method",
    type=click.Choice(["permutation", "aggregated", "cross", "fourier", "linear"]),
    default="permutation",
    help="permutation: exact; aggregated: exact, any scale; cross: above 20,000 examples; fourier, linear: millions. "
    "[permutation]",
)
@click.option("--permutations", type=int, default=1000, help="Number of permutations (permutation, aggregated). [1000]")
@click.option("--level", type=float, default=0.05, help="Significance level. [0.05]")
@click.option(
    "--standardize",
    type=click.Choice(["auto", "pooled", "no"]),
    default="auto",
    help="Arrays in standard deviations of the pooled sample; auto: where columns have several units. [auto]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the random numbers. [0]")
@click.option("--out", metavar="FOLDER", help="Also write shift.json and the plot, null.svg and null.png, there.")
@input_flags(
    "kind", "label_column", "domain_column", "source_domain", "target_domain", "missing", "window", "stride", "recenter"
)
@as_json
def shift(
    source: str, target: str | None, run: str | None, standardize: Any, out: str | None, json_: bool, **options: Any
) -> None:
    """Test whether SOURCE and TARGET differ: images by a backbone's features, arrays and tables as they are.

    One table may hold both: leave TARGET out, and name its --domain-column.

    With --run, also whether the trained model's features and predictions still differ. Give it held-out
    examples: those that the run was trained on have been matched by the training.
    """
    from jointadapt.diagnostics.shift import check_shift_folder, measure_shift

    if out is not None:
        check_shift_folder(out)
    given = take_inputs(options)
    inputs = InputOptions(**given) if given else None
    if target is None and not (inputs and inputs.splits_table):
        raise UserError("no target is given; where one table holds both, name its --domain-column and --target-domain.")
    found = measure_shift(
        source, target or source, run, standardize=standardize, inputs=inputs, track=track(json_), **options
    )
    for note in found.notes:
        warnings.warn(note, stacklevel=1)
    if out is not None:
        found.write(out)
    if json_:
        print_json(found.to_dict())
        return
    click.echo(str(found))
    if out is not None:
        click.echo(f"Numbers and plot: {out}")
