"""`jointadapt card`: the model card of a run, and the folder in which its model is shared."""

from pathlib import Path
from typing import Any

import click

from jointadapt.cli.flags import model_flags
from jointadapt.cli.printing import as_json, output, print_json
from jointadapt.errors import UserError


@click.command(short_help="Print a model card, or write the folder in which the model is shared.")
@click.argument("run")
@click.option("--out", "-o", metavar="FOLDER", help="Folder to make: README.md, model.safetensors, config.json.")
@click.option("--repo", default="", metavar="NAME/MODEL", help="Name on the Hugging Face Hub, for the card's example.")
@click.option(
    "--license", default="", metavar="ID", help="License of the model, as the hub names it: mit, cc-by-4.0, …"
)
@model_flags
@as_json
def card(run: str, out: str | None, repo: str, license: str, json_: bool, **of_model: Any) -> None:  # noqa: A002
    """Print the model card of a RUN: what it was trained on, how it was chosen, how right it is, its limits, its use.

    With --out FOLDER the model is written beside the card, with its backbone, ready to be shared: `jointadapt predict
    FOLDER …` takes it, and `hf upload NAME/MODEL FOLDER` brings it to the hub.
    """
    from jointadapt.exporting.card import model_card

    if out is None and any(of_model.values()):
        raise UserError(
            "--backbone and --weights are for the model that --out FOLDER writes; give that, or leave them."
        )
    text = model_card(run, repo=repo, license=license)
    if out is not None:
        _share(run, Path(out), text, of_model)
    if json_:
        print_json({"card": text, "folder": out})
    elif out is None:
        with output(None) as file:
            file.write(text)
    else:
        click.echo(f"Model and card: {out}")


def _share(run: str, folder: Path, text: str, of_model: dict[str, Any]) -> None:
    """Write the folder."""
    from jointadapt.exporting.hub import HubModel
    from jointadapt.runtime.files import new_folder

    model = HubModel.of(run, **of_model)
    model.card = text
    with new_folder(folder) as made:
        model.save_pretrained(made)
