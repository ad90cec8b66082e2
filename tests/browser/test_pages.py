"""The pages that runs leave, and those of the site, in a browser: sound at both widths, in light and dark."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from soundness import assert_page_is_sound

pytestmark = pytest.mark.browser

SITE = Path(__file__).parents[2] / "docs/_build/html"
KINDS_OF_PAGES = (
    "index.html",
    "start/tutorial.html",
    "start/which-method.html",
    "guides/choosing.html",
    "results/choosing.html",
    "theory/paper.html",
    "theory/methods.html",
    "gallery/index.html",
    "gallery/joint_adaptation/joint_not_marginal.html",
    "reference/options.html",
    "reference/api/jointadapt.jmmd_biased.html",
    "reference/api/jointadapt.AdaptedClassifier.html",
)


def clouds(path: Path, seed: int, moved: float) -> Path:
    """Write rows of three classes with names that a page has to bear."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, 90)
    x = generator.normal(size=(90, 4)) + 3 * np.eye(3, 4)[y] + moved
    names = np.array(["a class with a name as long as some people give it", "<b>bold</b>", "קפה"])
    np.savez(path, x=x.astype(np.float32), y=names[y])
    return path


@pytest.fixture
def domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Run in a folder with two domains and a benchmark of them."""
    monkeypatch.chdir(tmp_path)
    toml = "".join(f"[domains.{name}]\npath = '{name}.npz'\n" for name in ("north", "south"))
    (tmp_path / "two.toml").write_text(toml)
    return clouds(tmp_path / "north.npz", 0, 0.0), clouds(tmp_path / "south.npz", 1, 0.5)


SMALL = ("--backbone", "none", "--steps", 12, "--batch-size", 12)


@pytest.mark.parametrize("method", ["jan", "auto"])
def test_the_report_and_the_figures_of_a_run_are_sound(
    tab: Any, command: Command, domains: tuple[Path, Path], method: str
) -> None:
    source, target = domains
    trained = command("train", "--source", source, "--target", target, "--method", method, "--out", "run", *SMALL)
    assert trained.code == 0, trained.err
    assert_page_is_sound(tab, Path("run/report.html").absolute().as_uri())
    assert command("analyze", "run").code == 0
    assert_page_is_sound(tab, Path("run/analysis/analysis.html").absolute().as_uri())


@pytest.mark.usefixtures("domains")
def test_the_page_of_a_table_is_sound(tab: Any, command: Command) -> None:
    table = ("--benchmark", "two.toml", "--root", ".", "--methods", "source-only,jan", "--seeds", 2, "--jobs", 1)
    done = command("compare", *table, "--out", "table", *SMALL)
    assert done.code == 0, done.err
    assert_page_is_sound(tab, Path("table/table.html").absolute().as_uri())


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Serve the site on this machine, as its scripts may not read files beside a page that is one itself."""
    if not SITE.exists():
        pytest.skip("the site is not built: make docs")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("page", KINDS_OF_PAGES)
def test_a_page_of_the_site_is_sound(tab: Any, site: str, page: str) -> None:
    assert_page_is_sound(tab, f"{site}/{page}")
