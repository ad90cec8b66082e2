"""`jointadapt test`: are two domains different?"""

import warnings
from typing import Any

import click

from jointadapt.cli.printing import as_json, print_json, track


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("--run", help="Run folder: also test what its model makes of them, features and predictions jointly.")
@click.option("--backbone", default="auto", help="For images: torchvision or timm name. [resnet50, or the run's]")
@click.option("--weights", default="default", help="default (downloads), none, or a file. [default, or the run's]")
@click.option(
    "--method",
    type=click.Choice(["permutation", "aggregated", "cross", "fourier", "linear"]),
    default="permutation",
    help="permutation: exact; aggregated: exact, any scale; cross: above 20,000 rows; fourier, linear: millions. "
    "[permutation]",
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
    from jointadapt.diagnostics.shift import check_out, compare

    if out is not None:
        check_out(out)
    shift = compare(source, target, run, track=track(json_), **options)
    for note in shift.notes:
        warnings.warn(note, stacklevel=1)
    if out is not None:
        shift.write(out)
    if json_:
        print_json(shift.to_dict())
        return
    click.echo(str(shift))
    if out is not None:
        click.echo(f"Numbers and plot: {out}")
