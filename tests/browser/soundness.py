"""What any page has to be: free of script errors, nothing cut off at any width, readable by everybody."""

from collections.abc import Sequence
from typing import Any

import pytest

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

SCHEMES = ("light", "dark")
GRAVE = ("serious", "critical")
# Elements that hide a part of their own text; those that are there for screen readers alone are clipped on purpose.
CUT_OFF = """() => [...document.querySelectorAll("body *")].filter((element) => {
  const style = getComputedStyle(element);
  const hides = ["hidden", "clip"].includes(style.overflowX) && style.clipPath === "none" && style.clip === "auto";
  return hides && element.clientWidth > 1 && element.scrollWidth > element.clientWidth + 1;
}).map((element) => element.outerHTML.slice(0, 120))"""
WIDER = """() => {
  const room = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= room) return [];
  return [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > room + 1)
    .map((element) => element.outerHTML.slice(0, 120)).slice(0, 5).concat(["the document is wider than the window"]);
}"""


def assert_page_is_sound(page: Any, url: str, widths: Sequence[int] = (360, 1280)) -> None:
    """Open a page in a browser's tab and see that it is sound, at each width and in light and dark.

    No script fails, nothing is missing, the document does not scroll sideways, no text is cut off, and axe-core finds
    no serious and no critical fault (contrast, alternative texts, names of controls, order of headings, …).
    """
    faults: list[str] = []

    def failed(error: Any) -> None:
        faults.append(f"script: {error}")

    def logged(message: Any) -> None:
        if message.type == "error":
            faults.append(f"console: {message.text}")

    def lost(request: Any) -> None:
        faults.append(f"not loaded: {request.url}")

    def answered(response: Any) -> None:
        if response.status >= 400:
            lost(response)

    listeners = {"pageerror": failed, "console": logged, "requestfailed": lost, "response": answered}
    for event, listener in listeners.items():
        page.on(event, listener)
    try:
        for width in widths:
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(url)
            faults += faults_of_layout(page, width)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour on its way
                faults += [f"{width} px, {scheme}: {fault}" for fault in axe_faults(page)]
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
    assert not faults, f"{url}:\n" + "\n".join(faults)


def faults_of_layout(page: Any, width: int) -> list[str]:
    """Return what is cut off, or wider than a window of this width, of the page as it stands."""
    page.set_viewport_size({"width": width, "height": 800})
    return [
        f"{width} px: {what}: {element}"
        for what, script in (("cut off", CUT_OFF), ("too wide", WIDER))
        for element in page.evaluate(script)
    ]


def axe_faults(page: Any) -> list[str]:
    """Return the serious and critical faults that axe-core finds in the page as it stands."""
    # Preloading would fetch style sheets anew, out of place, for a rule that is no serious one.
    found = axe.Axe().run(page, options={"preload": False}).response["violations"]
    return [
        f"{fault['id']} ({fault['help']}): {node['html'][:160]} {node['failureSummary'][:200]}"
        for fault in found
        if fault["impact"] in GRAVE
        for node in fault["nodes"][:3]
    ]
