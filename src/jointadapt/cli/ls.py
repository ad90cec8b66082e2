"""`jointadapt ls`: what there is by name."""

from typing import Any

import click

from jointadapt.cli.flags import default_of, type_of
from jointadapt.cli.printing import as_json, print_json
from jointadapt.errors import unknown_name
from jointadapt.methods.options import all_options, describe, options_of
from jointadapt.methods.registry import AUTO, CANDIDATES, METHODS
from jointadapt.runtime.options import Option

KINDS = ("methods", "backbones", "benchmarks", "recipes")
ABOUT_AUTO = f"Trains several methods ({', '.join(CANDIDATES)}), and uses their mean, or one, without target labels."


@click.command(short_help="List methods, backbones, benchmarks and recipes.")
@click.argument("what", required=False, metavar=f"[{'|'.join(KINDS)}|METHOD]")
@as_json
def ls(what: str | None, json_: bool) -> None:
    """List methods, backbones, benchmarks and recipes; or describe one METHOD and its options."""
    methods = [*METHODS, AUTO]
    if what is not None and what not in (*KINDS, *methods) and not any(mark in what for mark in "+:"):
        raise unknown_name("method", what, (*KINDS, *methods))
    if what is not None and what not in KINDS:
        _tell(what, json_)
        return
    names = _names() if what != "methods" else {}
    if json_:
        everything = {"methods": {name: list(options_of(name)) for name in methods}, **names}
        print_json({what: everything[what]} if what else everything)
        return
    if what in (None, "methods"):
        for name in methods:
            click.echo(f"{name:12} {_line(_about(name))}")
    if what in names:
        click.echo("\n".join(names[what]))
    elif what is None:
        click.echo(f"\nbenchmarks: {', '.join(names['benchmarks'])}")
        click.echo(f"recipes: {', '.join(names['recipes'])}")
        click.echo(f"{len(names['backbones'])} backbones; see: jointadapt ls backbones")


def _names() -> dict[str, list[str]]:
    from jointadapt.data.benchmarks import benchmark_names
    from jointadapt.experiment.recipes import recipe_names
    from jointadapt.networks.backbones import backbone_names

    return {"backbones": backbone_names(), "benchmarks": benchmark_names(), "recipes": recipe_names()}


def _tell(method: str, json_: bool) -> None:
    """Print what a method, or a sum of some, is, and its options with all methods that have them."""
    parts = {method: ABOUT_AUTO} if method == AUTO else {part: _about(part) for part in method.split("+")}
    known = all_options()
    options = [known.get(name, option) for name, option in options_of(method).items()]
    if json_:
        print_json({"method": method, "about": parts, "options": [_row(option) for option in options]})
        return
    click.echo("\n\n".join(f"{part}: {about}" for part, about in parts.items()))
    for option in options:
        name = f"{option.name} (Python only)" if option.python_only else f"{option.flag} {type_of(option)}"
        given = "" if option.default is None else f" [{default_of(option)}]"
        click.echo(f"\n  {name}\n      {option.help}{given}\n      Of {', '.join(option.owners)}.")


def _row(option: Option) -> dict[str, Any]:
    about = {"name": option.name, "type": type_of(option), "default": default_of(option), "help": option.help}
    return {**about, "owners": list(option.owners), "python_only": option.python_only}


def _about(method: str) -> str:
    return ABOUT_AUTO if method == AUTO else describe(method)


def _line(about: str) -> str:
    """Return the first line of a text as a sentence of its own."""
    return about.splitlines()[0].rstrip(":.") + "." if about else ""
