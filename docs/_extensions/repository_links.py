"""A page's link to an example's file (`../../examples/S/NAME.py`) leads to its page in the gallery."""

from pathlib import PurePosixPath

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def to_gallery(app: Sphinx, document: nodes.document) -> None:
    for link in list(document.findall(addnodes.download_reference)):
        parts = PurePosixPath(link["reftarget"]).parts
        if "examples" in parts and link["reftarget"].endswith(".py"):
            page = "/gallery/" + "/".join(parts[parts.index("examples") + 1 :])[: -len(".py")]
            xref = addnodes.pending_xref(
                "", *link.children, refdomain="std", reftype="doc", reftarget=page, refexplicit=True, refwarn=True
            )
            xref["refdoc"] = app.env.docname
            link.replace_self(xref)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", to_gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
