"""Check the links of the built site: every page, file and anchor that a page names is there.

    python docs/check_links.py docs/_build/html

Links to other sites are counted, not followed: the site is built offline. Source pages lead back to the page of a
function, by an anchor that names it as another module does; that page is looked for, not the anchor. (The program
linkchecker looks for no anchors, and, run as root, becomes a user who may not read the site.)
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.add(value)
            elif value and name in ("id", "name"):
                self.anchors.add(value)


def check(site: Path) -> tuple[int, int, list[str]]:
    """Return how many links within the site and to others there are, and those that lead nowhere."""
    found = [path for path in sorted(site.rglob("*.html")) if site / "_static" not in path.parents]
    pages = {path: Page(path.read_text("utf-8")) for path in found}
    within, outside, broken = 0, 0, []
    for path, page in pages.items():
        for link in sorted(page.links):
            scheme, host, place, _, anchor = urlsplit(link)
            if scheme or host:
                outside += 1
                continue
            within += 1
            to = (path.parent / unquote(place)).resolve() if place else path
            if not to.is_file():
                broken.append(f"{path.relative_to(site)}: {link}: no such file")
            elif site / "_modules" in path.parents:
                continue
            elif anchor and to in pages and unquote(anchor) not in pages[to].anchors:
                broken.append(f"{path.relative_to(site)}: {link}: no such anchor")
    return within, outside, broken


if __name__ == "__main__":
    within, outside, broken = check(Path(sys.argv[1]).resolve())
    print(*broken, sep="\n", end="\n" if broken else "")
    print(f"{within} links within the site, {len(broken)} broken; {outside} to other sites, not followed.")
    sys.exit(bool(broken))
