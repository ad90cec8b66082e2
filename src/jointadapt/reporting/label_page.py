"""Suggested examples → one page by which a person labels them: no server, no network, the answers come out as CSV."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

from markupsafe import Markup

from jointadapt.data import Domain
from jointadapt.errors import UserError
from jointadapt.reporting.example_views import views
from jointadapt.reporting.html import page_template, percent, plain

MOST_EXAMPLES = 1000
KEYS = 9  # classes have the keys 1 to 9; more of them are looked for by their names


def render(domain: Domain, guesses: Mapping[int, tuple[str, float]], classes: Sequence[str], file: str) -> str:
    """Return the page as text.

    The model's guess is hidden until every example has an answer, unless one asks for it: who has seen a guess tends to
    agree with it, and these are the examples of which the model is not sure.

    Args:
        domain: where the examples are, as a person would look at them.
        guesses: row of an example → the class that the model gives it, and how sure the model is, in [0, 1]; in the
            order in which they are asked.
        classes: the answers there are.
        file: what the browser calls the CSV.

    Raises a `UserError` for more examples than a page can hold, and for one that cannot be read any more.
    """
    if len(guesses) > MOST_EXAMPLES:
        raise UserError(
            f"a page holds up to {MOST_EXAMPLES:,} examples, and these are {len(guesses):,}; lower --budget."
        )
    items = [domain.items[row] for row in guesses]
    script = (files("jointadapt.reporting") / "templates" / "label_page.js").read_text("utf-8")
    questions = [
        {"name": item.replace("\\", "/").rsplit("/", 1)[-1], "view": view, "guess": guess, "sure": percent(100 * sure)}
        for item, view, (guess, sure) in zip(items, views(domain, [*guesses]), guesses.values(), strict=True)
    ]
    data = {
        "key": f"jointadapt labels {_digest([domain.name, items, [*classes]])}",
        "file": file,
        "classes": [{"name": name, "shown": plain(name)} for name in classes],
        "rows": [[item, guess, f"{sure:.6f}"] for item, (guess, sure) in zip(items, guesses.values(), strict=True)],
    }
    return page_template("label_page.html.j2").render(
        domain=domain.name,
        questions=questions,
        classes=classes,
        keys=KEYS,
        file=file,
        data=as_script_data(data),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode(),
    )


def as_script_data(value: object) -> Markup:
    """Return a value as JSON that can stand within a <script> element, whatever its texts are.

    >>> as_script_data(["</script>"])
    Markup('["\\\\u003c/script\\\\u003e"]')
    """
    text = json.dumps(value)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
