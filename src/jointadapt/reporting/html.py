"""The template of a page; numbers and names as text in it. A page is one file, and whatever is put into it is text."""

import math
import unicodedata
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

Number = int | float  # JSON writes 100 as well as 100.0

KEPT_FORMAT_CHARACTERS = "\u200c\u200d"  # joiners inside words and emoji


def page_template(name: str) -> jinja2.Template:
    """Return a template of a page; whatever is put into it shows as text."""
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    """Return where templates come from, each compiled once, however many pages a process writes."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jointadapt.reporting"),
        autoescape=True,
        finalize=plain,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, points=points)
    return environment


def percent(value: Number | None) -> str:
    """Return a percentage with one decimal, a dash where it is not known."""
    return f"{value:.1f}\N{NO-BREAK SPACE}%" if value is not None and math.isfinite(value) else "–"


def points(old: Number | None, new: Number | None) -> str:
    """Return the change between two percentages in points, with its sign; nothing where one is not known.

    >>> points(70.0, 83.14), points(70.0, 69.0), points(None, 83.1)
    ('+13.1', '−1.0', '')
    """
    change = math.nan if old is None or new is None else new - old
    return f"{change:+.1f}".replace("-", "−") if math.isfinite(change) else ""


def plain(value: Any) -> Any:
    """Return a text with each control, direction or line-breaking character written out, so that a name shows as it is.

    >>> plain("photo\\u202egpj.exe"), plain("two\\nlines")
    ('photo\\\\u202egpj.exe', 'two\\\\nlines')
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(map(_visible, value))


def _visible(letter: str) -> str:
    hidden = unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in KEPT_FORMAT_CHARACTERS
    return letter.encode("unicode_escape").decode() if hidden else letter


def counted(number: int | None, word: str) -> str:
    """Return a number of things, "1,234 rows"; nothing where it is not known."""
    return "" if number is None else f"{number:,} {word}{'' if number == 1 else 's'}"


def duration(seconds: Number) -> str:
    """Return a time in the units a person would use.

    >>> duration(12.34), duration(754), duration(7300)
    ('12.3 s', '12 min 34 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
