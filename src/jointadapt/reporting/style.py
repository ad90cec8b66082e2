"""The house style of every figure, and how a figure becomes part of a page.

No class name and no file name ever enters matplotlib, so no name can break a figure: names stand in the HTML around it.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

SOURCE, TARGET, METHOD, GREY, INK, RULE = "#0072b2", "#d55e00", "#0b5c8a", "#8b8f94", "#454b52", "#b9bdc2"
# Ten colours that stay apart for colour-blind readers (Petroff, 2021); from the eleventh class on they repeat.
CLASS_COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadb",
)  # fmt: skip


@contextmanager
def house_style(name: str) -> Iterator[None]:
    """Set our style over matplotlib's defaults, whatever the user's own style; ids in the SVG follow from the name."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("svg", fonttype="none", hashsalt=name)
        matplotlib.rc("font", size=8.5)
        matplotlib.rc("axes", grid=True, axisbelow=True, edgecolor=RULE, linewidth=0.7, labelcolor=INK)
        matplotlib.rc("axes.spines", top=False, right=False)
        matplotlib.rc("grid", color="#e7e8ea", linewidth=0.6)
        matplotlib.rc("xtick", color=RULE, labelcolor=INK)
        matplotlib.rc("ytick", color=RULE, labelcolor=INK)
        yield


def inline(figure: Figure, alt: str) -> Markup:
    """Return the figure as an <svg> element that scales with its box and shares no id or style with its neighbours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, dpi=200)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    body = re.sub(r"(?s)<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index(">") + 1 :])
    body = re.sub(r'(<(?:g|image)\b[^>]*?) id="[^"]*"', r"\1", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag.group()), body)  # not the tick labels
    return Markup('<svg role="img" aria-label="{}" {}>').format(alt, Markup(view_box.group())) + Markup(body)


def save(figure: Figure, file: BinaryIO, kind: str) -> None:
    """Write the figure, as "svg" or "png", the same bytes on every call."""
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(file, format=kind, dpi=200, metadata=metadata)
