"""The equation beside each function: `equations.toml` gives in TeX what a docstring says in plain text.

A docstring's first indented block is replaced by the equation of that name; its other indented blocks are kept as they
are written, in a fixed font. "Sign: …", "Source: …" and the like begin paragraphs.
"""

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

EQUATIONS: dict[str, str] = tomllib.loads((Path(__file__).parent / "equations.toml").read_text("utf-8"))["equations"]
SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Note|Example|Examples|Keyword Args):$")

LEAD = re.compile(r"^(Sign|Bias|Source|Cost): ")


def blocks(lines: list[str]) -> list[tuple[int, int]]:
    """Return where each indented block of a docstring begins and ends, those of its sections (`Args:`) left out."""
    found, start, section = [], None, False
    for number, line in enumerate([*lines, "end"]):
        indented = line.startswith("    ")
        if start is not None and line.strip() and not indented:
            end = number
            while not lines[end - 1].strip():
                end -= 1
            found.append((start, end))
            start = None
        if line.strip() and not indented:
            section = bool(SECTION.match(line.strip()))
        if start is None and indented and not section and (number == 0 or not lines[number - 1].strip()):
            start = number
    return found


def render(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:  # noqa: ARG001
    for number in reversed(range(1, len(lines))):
        if LEAD.match(lines[number]) and lines[number - 1].strip():
            lines.insert(number, "")
    equation = EQUATIONS.get(name)
    spans = blocks(lines)
    for order, (start, end) in reversed(list(enumerate(spans))):
        as_written = [".. code-block:: text", "", *lines[start:end], ""]
        lines[start:end] = drawn(equation) if equation and order == 0 else as_written
    if equation and not spans:
        lines[1:1] = ["", *drawn(equation)]


def drawn(equation: str) -> list[str]:
    return [".. math::", "", *(f"    {line}" for line in equation.strip().splitlines()), ""]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", render, priority=400)  # before napoleon's 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
