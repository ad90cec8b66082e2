"""Recipes: options under one name, each a TOML file here that says where every constant comes from."""

import tomllib
from importlib import resources
from typing import Any

from jointadapt.errors import unknown_name


def recipe_names() -> list[str]:
    """Return the names of the recipes."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def recipe_options(name: str, method: str) -> dict[str, Any]:
    """Return the options that a recipe gives a method: its own, and those under `[methods.NAME]`.

    >>> recipe_options("tllib", "jan")["output_bandwidth"]
    1.6928
    """
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    recipe = tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))
    return {
        **{key: value for key, value in recipe.items() if key != "methods"},
        **recipe.get("methods", {}).get(method, {}),
    }
