"""Formulas become MathML when the site is built: browsers draw it without a script, so pages work offline."""

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)
converter = LatexToMathML(macros={"R": r"\mathbb{R}", "E": r"\mathbb{E}"})


def mathml(node: nodes.math | nodes.math_block, displayed: bool) -> str:
    """Return the node's TeX as MathML; TeX that cannot be read is a warning, which ends the build."""
    try:
        return converter.convert_with_local_state(node.astext(), displaystyle=displayed)
    except LatexError as error:
        log.warning("TeX that cannot be drawn (%s): %s", error, node.astext(), location=node)
        return ""


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(mathml(node, displayed=False))
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="formula"))
    if node.get("number"):
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})</span>')
    writer.body.append(mathml(node, displayed=True) + "</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
