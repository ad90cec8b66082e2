"""`jointadapt ls`: what there is by name."""

import click

from jointadapt.cli.printing import as_json, print_json


@click.command("ls")
@click.argument("what", required=False, type=click.Choice(["methods", "backbones"]))
@as_json
def list_(what: str | None, json_: bool) -> None:
    """List methods and backbones."""
    from jointadapt.backbones import backbone_names
    from jointadapt.methods import METHODS, options_of

    methods = {name: (cls.__doc__ or "").splitlines()[0].split(": ")[0] for name, cls in METHODS.items()}
    if json_:
        everything = {"methods": {name: list(options_of(name)) for name in methods}, "backbones": backbone_names()}
        print_json({what: everything[what]} if what else everything)
        return
    if what != "backbones":
        for name, text in methods.items():
            click.echo(f"{name:12} {text}")
        click.echo("auto         Trains several, and chooses without target labels")
    if what != "methods":
        names = backbone_names()
        click.echo("\n".join(names) if what else f"\n{len(names)} backbones; see: jointadapt ls backbones")
