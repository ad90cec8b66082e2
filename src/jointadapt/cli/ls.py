"""`jointadapt ls`: what there is by name."""

import click

from jointadapt.cli.printing import as_json, print_json


@click.command()
@click.argument("what", required=False, type=click.Choice(["methods", "backbones", "benchmarks", "recipes"]))
@as_json
def ls(what: str | None, json_: bool) -> None:
    """List methods, backbones, benchmarks and recipes."""
    from jointadapt.data.benchmarks import benchmark_names
    from jointadapt.experiment.recipes import recipe_names
    from jointadapt.methods import METHODS
    from jointadapt.methods.registry import options_of
    from jointadapt.networks.backbones import backbone_names

    methods = {name: (cls.__doc__ or "").splitlines()[0].split(": ")[0] for name, cls in METHODS.items()}
    names = {"backbones": backbone_names(), "benchmarks": benchmark_names(), "recipes": recipe_names()}
    if json_:
        everything = {"methods": {name: list(options_of(name)) for name in methods}, **names}
        print_json({what: everything[what]} if what else everything)
        return
    if what in (None, "methods"):
        for name, text in methods.items():
            click.echo(f"{name:12} {text}")
        click.echo("auto         Trains several, and chooses without target labels")
    if what in names:
        click.echo("\n".join(names[what]))
    elif what is None:
        click.echo(f"\nbenchmarks: {', '.join(names['benchmarks'])}")
        click.echo(f"recipes: {', '.join(names['recipes'])}")
        click.echo(f"{len(names['backbones'])} backbones; see: jointadapt ls backbones")
