"""`jointadapt export`: a trained model for other programs."""

import dataclasses
from typing import Any

import click

from jointadapt.cli.flags import model_flags
from jointadapt.cli.printing import as_json, print_json, track


@click.command(short_help="Write the model for other programs: ONNX, torch.export, plain weights.")
@click.argument("run")
@click.option(
    "--to",
    "to",
    type=click.Choice(["onnx", "torch", "safetensors"]),
    default="onnx",
    help="onnx: one file for onnxruntime and others. torch: a program of torch.export. safetensors: weights, and a "
    "loader that needs no jointadapt. [onnx]",
)
@click.option("--output", "-o", metavar="DIR", help="A new folder to write to. [RUN/export/FORMAT]")
@click.option("--check", metavar="PATH", help="Rows to check it on, if not some of the run's own target.")
@click.option("--tolerance", type=float, default=1e-5, help="Largest difference of a probability to let pass. [1e-5]")
@model_flags
@as_json
def export(run: str, json_: bool, **given: Any) -> None:
    """Write the model of a RUN for other programs, and check it on real rows.

    Preprocessing that is arithmetic is in the file, with the network and the softening temperature; model.json says
    what has to be done before, and names the classes. The file is run, and refused where its probabilities are not
    the model's.
    """
    from jointadapt.exporting.export import export as write

    found = write(run, track=track(json_), **given)
    about, check = found.about, found.check
    if json_:
        print_json(dataclasses.asdict(found) | {"folder": str(found.folder), "file": str(found.file)})
        return
    size = f"{found.bytes / 1e6:.1f} MB" if found.bytes >= 1e6 else f"{found.bytes / 1e3:.0f} kB"
    click.echo(f"{found.file}  ({size}, {found.seconds:.1f} s)")
    for role, value in (("input", about["input"]), *(("output", value) for value in about["output"])):
        shape = ", ".join(map(str, value["shape"]))
        click.echo(f"{role:<7} {value['name']}: {value['dtype']} ({shape}), {value['words']}.")
    for number, step in enumerate(about["input"]["before"]):
        click.echo(f"{'before' if not number else '':<7} {step}")
    *sizes, last = map(str, check.batches)
    batches = f"batches of {', '.join(sizes)} and {last}" if sizes else f"a batch of {last}"
    click.echo(
        f"checked on {check.rows:,} rows of {check.domain} in {batches}: the largest difference of probabilities"
        f"{' and scores' if about['unknown'] else ''} is {check.difference:.1e}."
    )
