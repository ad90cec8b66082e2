"""Recipes: options under one name, each a TOML file here that says where every constant comes from."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from jointadapt.config import Config, fitting
from jointadapt.errors import unknown_name
from jointadapt.methods.registry import METHODS


def recipe_names() -> list[str]:
    """Return the names of the recipes."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def recipe_options(name: str, method: str) -> dict[str, Any]:
    """Return the options that a recipe gives a method: its own, as far as the method has them, and `[methods.NAME]`.

    >>> recipe_options("tllib", "jan")["output_bandwidth"]
    1.6928
    """
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    recipe = tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))
    methods = recipe.pop("methods", {})
    return {**fitting(recipe, method), **methods.get(method, {})}


def with_recipe(name: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options over those of a recipe, if one is named."""
    method = METHODS.name_of(options.get("method", Config.method))
    return {**(recipe_options(name, method) if name else {}), **options}
