"""A docstring may call things by their short names: `jan_kernels` leads to `jointadapt.discrepancy.jan_kernels`."""

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

PAGES = {"Config": "reference/options", "METHODS": "reference/methods", "CRITERIA": "guides/selection"}


def find(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Element | None:
    """Return a link to the one object whose name ends so, or to the page of a table; None where there is none."""
    if node.get("refdomain") != "py":
        return None
    name, here = node["reftarget"].partition("(")[0], node["refdoc"]
    if name in PAGES:
        return make_refnode(app.builder, here, PAGES[name], None, content)
    objects = env.domains.python_domain.objects
    found = {entry.docname: entry for full, entry in objects.items() if full == name or full.endswith(f".{name}")}
    if len(found) != 1:
        return None
    ((page, entry),) = found.items()
    return make_refnode(app.builder, here, page, entry.node_id, content)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
