"""The chart "which method when", whose numbers are read from the measured tables of the pages.

`python docs/_extensions/which_method.py` draws docs/images/which-method.svg from which_method.toml. A test draws it
again, so that a table that changes asks for a new chart.
"""

import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
CHART = DOCS / "images" / "which-method.svg"
WIDTH, MARGIN, LINE, BAR, GAP = 460, 16, 21, 19, 30
NAMES, LONGEST = 130, 220  # pixels: of a bar's name, of a bar that means 100


def tables() -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the header and the rows of every Markdown table of the pages."""
    for page in sorted(DOCS.rglob("*.md")):
        lines: list[list[str]] = []
        for line in [*page.read_text("utf-8").splitlines(), ""]:
            if line.startswith("|"):
                lines.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            elif lines:
                yield lines[0], lines[2:]
                lines = []


def measured(bar: dict[str, Any]) -> float:
    """Return the cell of the measured table that a bar names; a ValueError where there is none, or several differ."""
    found = {
        row[header.index(bar["column"])]
        for header, rows in tables()
        if header[0] == bar["table"] and bar["column"] in header
        for row in rows
        if row[0] == bar["row"] and len(row) == len(header)
    }
    if len(found) != 1:
        raise ValueError(
            f"{bar}: expected one cell of that table, row and column on the pages; found {found or 'none'}."
        )
    return float(found.pop().strip("*"))


def chart(steps: list[dict[str, Any]]) -> str:
    """Return the chart as SVG: a card a question, from the top down."""
    drawn, top = [], MARGIN
    for number, step in enumerate(steps):
        bars = step.get("bars", [])
        height = 3 * LINE + 12 + BAR * len(bars)
        if number:
            drawn.append(f'<path class="arrow" d="M{WIDTH / 2} {top - GAP + 3}v{GAP - 9}" marker-end="url(#head)"/>')
        drawn.append(
            f'<rect class="card" x="{MARGIN}" y="{top}" width="{WIDTH - 2 * MARGIN}" height="{height}" rx="8"/>'
        )
        drawn.append(text(2 * MARGIN, top + 22, step["question"], "question"))
        drawn.append(text(2 * MARGIN, top + 22 + LINE, step["answer"], "answer"))
        drawn.append(text(2 * MARGIN, top + 21 + 2 * LINE, step["note"], "note"))
        for place, bar in enumerate(bars):
            value, y = measured(bar), top + 2 * LINE + 30 + BAR * place
            kind, left = "best" if bar.get("best") else "other", 2 * MARGIN + NAMES
            drawn.append(text(2 * MARGIN, y + 12, bar["name"], "name"))
            drawn.append(
                f'<rect class="{kind}" x="{left}" y="{y}" width="{value / 100 * LONGEST:.1f}" height="{BAR - 5}"/>'
            )
            drawn.append(text(left + value / 100 * LONGEST + 6, y + 12, f"{value:.1f}", "name"))
        top += height + GAP
    height = top - GAP + MARGIN
    described = "; ".join(f"{step['question']} {step['answer']}" for step in steps)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">
<title>Which method when</title>
<desc>{escape(described)}</desc>
<style>
text {{ font-family: system-ui, sans-serif; font-size: 13px; fill: #1b1f24 }}
.question {{ font-size: 15px; font-weight: 600 }}
.answer {{ font-family: ui-monospace, monospace; font-size: 14px; fill: #0b5394 }}
.note {{ fill: #57606a }}
.card {{ fill: #f6f8fa; stroke: #8c959f }}
.best {{ fill: #0b5394 }}
.other {{ fill: #8c959f }}
.arrow {{ stroke: #57606a; stroke-width: 1.5; fill: none }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
{chr(10).join(drawn)}
</svg>
"""


def text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" class="{kind}">{escape(words)}</text>'


def steps() -> list[dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["step"]


if __name__ == "__main__":
    CHART.write_text(chart(steps()), "utf-8")
