"""`.. options::` lists every option of a run, and of the methods, from where each is declared."""

from itertools import groupby

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from jointadapt.config import RUN_OPTIONS
from jointadapt.methods.options import all_options
from jointadapt.runtime.options import Option


def shown(option: Option) -> list[str]:
    term = f"``{option.name}``" + ("" if option.default == "" else f" = ``{option.default!r}``")
    help_text = option.help.replace("*", r"\*").replace("`", "``").replace("|", r"\|")
    return [term, f"    {help_text}"]


class OptionsTable(SphinxDirective):
    """A heading for each owner, and below it its options with default and help."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for owner, options in groupby(RUN_OPTIONS.values(), lambda option: option.owners[0]):
            lines += [*heading(owner), *(line for option in options for line in [*shown(option), ""])]
        lines += heading("Options of methods")
        for option in all_options().values():
            lines += [*shown(option), "", f"    Of {', '.join(option.owners)}.", ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def heading(title: str) -> list[str]:
    return [title, "-" * len(title), ""]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("options", OptionsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
