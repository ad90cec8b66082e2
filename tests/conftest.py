"""What every test shares: one thread, a cache of its own, small pictures, and the command line called in-process."""

import gc
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# What a checked module is the first to import would be compiled anew: jaxtyping's hook has another place for it.
import lightning_fabric  # noqa: F401
import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401
import torch
import torchvision  # noqa: F401
from PIL import Image
from type_checks import install

install()
torch.set_num_threads(1)
os.fsync = lambda _: None  # no test cuts the power

CLASSES = ("cat", "dog")
SPLITS = 2  # of an analysis's A-distances


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what tests make, not at all that was imported, too."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def pages_in_less_time() -> None:
    """Let maps take fewer iterations, and A-distances of analyses fewer splits: pages say and draw as much."""
    from jointadapt import analysis
    from jointadapt.reporting import run_figures

    run_figures.MAP_ITERATIONS = 250  # the fewest that scikit-learn takes
    analysis.a_distance = partial(analysis.a_distance, splits=SPLITS)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's cache of features out of it."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("JOINTADAPT_CACHE", str(folder))
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a command leaves: exit code and both outputs; bytes that are no UTF-8 are escaped as surrogates."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Run the command line in this process."""
    from jointadapt.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["jointadapt", *map(str, arguments)])
        capsysbinary.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            with pytest.raises(SystemExit) as stop:
                main()
        out, err = (text.decode(errors="surrogateescape") for text in capsysbinary.readouterr())
        assert isinstance(stop.value.code, int)
        return Outcome(stop.value.code, out, err)

    return run


@pytest.fixture
def refused(command: Command, tmp_path: Path) -> Callable[..., str]:
    """Run a command that has to fail as a user's mistake does, leaving every file as it was; return its one line."""

    def files() -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}

    def run(*arguments: object) -> str:
        before = files()
        outcome = command(*arguments)
        assert outcome.code == 2
        assert outcome.out == ""
        *warned, line = outcome.err.splitlines()
        assert all(text.startswith("jointadapt: warning: ") for text in warned)
        assert line.startswith("jointadapt: ")
        assert "Traceback" not in outcome.err
        assert files() == before
        return line

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give a headless Chromium; skip the tests that need it where there is none."""
    programs = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, programs)), None)
    if program is None:
        pytest.skip(f"no browser is installed ({', '.join(programs)})")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """Give an empty tab of a browser that remembers nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


def draw(path: Path, seed: int = 0, mode: str = "RGB") -> Path:
    """Write a picture of 32 × 32 pixels of noise around a colour of the seed's."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 60, (32, 32, 3)) + generator.integers(0, 190, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)
    return path


def draw_folder(path: Path, each: int = 4, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Path:
    """Write a folder of class folders with pictures."""
    for number, name in enumerate(classes):
        for index in range(each):
            draw(path / name / f"{index}.png", seed + 100 * number + index)
    return path


def write_arrays(path: Path, rows: int = 40, seed: int = 0, shift: float = 0.0, labelled: bool = True) -> Path:
    """Write rows of four features in two classes as .npz."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 4)).astype(np.float32)
    labels = {"y": np.where(x[:, 0] > 0, *CLASSES)} if labelled else {}
    np.savez(path, x=x + shift, **labels)
    return path
