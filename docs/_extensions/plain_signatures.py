"""A signature shows `float`, not `Annotated[float, FieldInfo(…), 'help']`: an option's help stands on other pages."""

import re
from typing import Any

from sphinx.application import Sphinx

MARK = "Annotated["
PATH = re.compile(r"~?typing\.(?=Annotated\[)")


def plain(signature: str) -> str:
    """Return a signature with each `Annotated[type, …]` as its type.

    >>> plain("(a: Annotated[float, Gt(gt=[0, 1]), 'T, of it'] = 2.5, b: Annotated[Literal['x', 'y'], 'k'] | None)")
    "(a: float = 2.5, b: Literal['x', 'y'] | None)"
    """
    signature = PATH.sub("", signature)
    while (start := signature.rfind(MARK)) >= 0:  # the innermost first
        inside, first, depth, quote = start + len(MARK), None, 0, ""
        for place in range(inside, len(signature)):
            letter = signature[place]
            if quote:
                quote = "" if letter == quote else quote
            elif letter in "'\"":
                quote = letter
            elif letter in "[(":
                depth += 1
            elif letter == "]" and not depth:
                end = place
                break
            elif letter in "])":
                depth -= 1
            elif letter == "," and not depth and first is None:
                first = place
        else:
            return signature
        signature = signature[:start] + signature[inside : end if first is None else first] + signature[end + 1 :]
    return signature


def shorten(*event: Any) -> tuple[str | None, str | None]:
    signature, returned = event[-2:]
    return signature and plain(signature), returned and plain(returned)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
