"""A method's name → the options that its class declares, and what it says of itself. It loads no torch."""

import inspect

from jointadapt.methods.registry import METHODS, parts_of
from jointadapt.runtime.options import Option, docstring_in_source, merge, options_in_source, options_of_class


def options_of(name: str) -> dict[str, Option]:
    """Return a method's options by name; of a sum of methods those of all its parts, of "auto" its candidates'.

    >>> [*options_of("dann")], [*options_of("dann+mcc")]
    (['discriminator_width'], ['discriminator_width', 'mcc_temperature'])
    """
    return merge((part, _declared(part)) for part in parts_of(name))


def all_options() -> dict[str, Option]:
    """Return the options of all methods by name, each with the names of the methods that have it."""
    return merge((name, _declared(name)) for name in METHODS)


def describe(name: str) -> str:
    """Return the docstring of a method's class."""
    row = METHODS.row(name)
    return docstring_in_source(row) if row else inspect.cleandoc(METHODS[name].__doc__ or "")


def _declared(name: str) -> tuple[Option, ...]:
    """Return the options that a method declares; one of ours is read, not loaded."""
    row = METHODS.row(name)
    return options_in_source(row) if row else options_of_class(METHODS[name])
