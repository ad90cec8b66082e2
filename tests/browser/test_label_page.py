"""The page to label with, in a browser: by the mouse, by keys, after a reload; and the way back to the training."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from soundness import assert_page_is_sound, axe_faults, faults_of_layout

from jointadapt.data.target_labels import read_labels
from jointadapt.diagnostics.label_suggestion import suggest_labels, write_label_page
from jointadapt.experiment import train
from jointadapt.reporting import label_page

pytestmark = pytest.mark.browser

HOSTILE = ("<img src=x onerror=alert(1)>", 'a, "b" </script>', "קפה (חם)", "line\nbreak", "naïve ☕", "=1+1")
RUN = {"steps": 3, "batch_size": 8, "report": False, "baseline": False, "dropout": 0.0}


def pixels(path: Path, classes: tuple[str, ...], seed: int, rows: int = 24) -> Path:
    """Write pictures of noise around a colour of their class."""
    generator = np.random.default_rng(seed)
    y = np.arange(rows) % len(classes)
    colours = np.random.default_rng(0).integers(0, 190, (len(classes), 1, 1, 3))
    x = colours[y] + generator.integers(0, 60, (rows, 24, 24, 3))
    np.savez(path, x=x.astype(np.uint8), y=np.array(classes)[y])
    return path


@dataclass(frozen=True)
class Asked:
    """A run, its domains, and the page of its suggested examples."""

    source: Path
    target: Path
    run: Path
    page: Path

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return self.page.as_uri()


def ask(folder: Path, classes: tuple[str, ...], budget: int = 4) -> Asked:
    """Train on pictures of these classes, and write the page."""
    source, target = pixels(folder / "s.npz", classes, 1), pixels(folder / "t.npz", classes, 2)
    run = folder / "run"
    train(source, target, out=str(run), backbone="cnn", cache=str(folder / "cache"), **RUN)
    suggestions = suggest_labels(run, budget, cache=folder / "cache")
    write_label_page(folder / "ask.html", run, suggestions, cache=folder / "cache")
    return Asked(source, target, run, folder / "ask.html")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Return a page that asks for four examples of six classes with names that break things."""
    return ask(tmp_path_factory.mktemp("few"), HOSTILE)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Return a page with more classes than there are keys."""
    return ask(tmp_path_factory.mktemp("many"), (*(f"kind {n}" for n in range(10)), "Écrou", "screw"))


def counts(tab: Any) -> str:
    """Return what the page says of its progress."""
    return tab.locator("#counts").inner_text()


def shown(tab: Any) -> str:
    """Return which example is shown."""
    return tab.locator(".example:visible h2").inner_text()


def downloaded(tab: Any, path: Path) -> Path:
    """Press the button that downloads the labels, and keep the file."""
    with tab.expect_download() as download:
        tab.locator(".download:visible").first.click()
    download.value.save_as(path)
    return path


def test_from_suggestion_to_retraining(asked: Asked, tab: Any, tmp_path: Path, command: Command) -> None:
    tab.goto(asked.url)
    for name in HOSTILE[:3]:
        tab.locator(".class").nth(asked_classes(asked).index(name)).click()
    tab.get_by_role("button", name="Don’t know").click()
    assert tab.locator("#finished-title").inner_text() == "Done: 3 labelled, 1 don’t know"
    assert tab.evaluate("document.activeElement.id") == "finished-title"
    labels = downloaded(tab, tmp_path / "labels.csv")
    items = [row.item for row in suggest_labels(asked.run, 4)]
    assert read_labels(labels) == dict(zip(items[:3], HOSTILE[:3], strict=True))
    with labels.open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file)).keys() == {"item", "label", "class", "probability"}
    options = (
        "--backbone",
        "cnn",
        "--steps",
        3,
        "--batch-size",
        8,
        "--no-report",
        "--no-baseline",
        "--target-labels",
        labels,
    )
    again = command("train", "--source", asked.source, "--target", asked.target, *options, "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert '"target_labels": 3' in (tmp_path / "again" / "summary.json").read_text()


def asked_classes(asked: Asked) -> list[str]:
    """Return the classes in the order of their buttons."""
    return sorted({str(name) for name in np.load(asked.source)["y"]})


def test_keys_undo_and_a_reload(asked: Asked, tab: Any) -> None:
    tab.goto(asked.url)
    tab.keyboard.press("2")
    assert "Example 2 of 4." in tab.locator("#announcer").inner_text()
    tab.keyboard.press("0")
    assert counts(tab) == "1 of 4 labelled · 1 don’t know"
    tab.reload()
    assert counts(tab) == "1 of 4 labelled · 1 don’t know"
    assert shown(tab) == "Example 3 of 4"
    tab.keyboard.press("Backspace")
    assert (counts(tab), shown(tab)) == ("1 of 4 labelled", "Example 2 of 4")
    tab.keyboard.press("ArrowLeft")
    assert tab.locator(".class[aria-pressed=true]").count() == 1
    tab.keyboard.press("6")  # answers can be changed
    assert (counts(tab), shown(tab)) == ("1 of 4 labelled", "Example 2 of 4")
    tab.get_by_role("button", name="Undo").click()
    tab.get_by_role("button", name="Undo").click()
    assert (counts(tab), shown(tab)) == ("0 of 4 labelled", "Example 1 of 4")
    tab.keyboard.press("9")  # no such class
    tab.get_by_label("Answer by keys").uncheck()
    tab.keyboard.press("1")
    assert counts(tab) == "0 of 4 labelled"


def test_classes_that_are_digits_have_their_own_keys(tmp_path: Path, tab: Any) -> None:
    tab.goto(ask(tmp_path, tuple("0123456789")).url)
    tab.keyboard.press("0")
    tab.keyboard.press("7")
    tab.keyboard.press("-")
    assert counts(tab) == "2 of 4 labelled · 1 don’t know"
    tab.keyboard.press("ArrowLeft")  # the one that nobody knows
    for name in ("7", "0"):
        tab.keyboard.press("ArrowLeft")
        assert tab.locator(".class[aria-pressed=true] bdi").inner_text() == name


def test_starting_over_asks_first(asked: Asked, tab: Any) -> None:
    tab.goto(asked.url)
    tab.keyboard.press("1")
    start = tab.get_by_role("button", name="Start over …")
    start.click()
    tab.get_by_role("button", name="Keep them").click()
    assert counts(tab) == "1 of 4 labelled"
    start.click()
    tab.get_by_role("dialog").get_by_role("button", name="Start over").click()
    tab.get_by_text("0 of 4 labelled").wait_for()  # the dialog says later that it is closed
    tab.reload()
    assert counts(tab) == "0 of 4 labelled"


def test_the_guess_is_hidden_until_the_end(asked: Asked, tab: Any) -> None:
    tab.goto(asked.url)
    assert tab.locator(".guess:visible").count() == 0
    tab.get_by_label("Show the model’s guess").check()
    assert tab.locator(".guess:visible").count() == 1
    tab.get_by_label("Show the model’s guess").uncheck()
    for _ in range(4):
        tab.keyboard.press("1")
    assert tab.locator(".guess:visible").count() == 4
    guesses = [row.predicted for row in suggest_labels(asked.run, 4)]
    first = asked_classes(asked)[0]
    assert tab.locator(".differs").count() == sum(guess != first for guess in guesses)
    tab.locator(".change").nth(2).click()
    assert shown(tab) == "Example 3 of 4"


def test_one_of_many_classes_is_found_by_its_name(many: Asked, tab: Any) -> None:
    tab.goto(many.url)
    tab.keyboard.type("ecr")
    assert tab.locator(".class:visible").all_inner_texts() == ["1\nÉcrou"]
    tab.keyboard.press("Enter")
    assert counts(tab) == "1 of 4 labelled"
    assert tab.evaluate("document.activeElement.id") == "search"
    tab.keyboard.type("no such class")
    assert tab.locator("#no-class").is_visible()
    tab.keyboard.press("Enter")
    assert counts(tab) == "1 of 4 labelled"
    tab.keyboard.press("Escape")
    tab.keyboard.type("kind")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("3")
    assert "kind 2." in tab.locator("#announcer").inner_text()


def test_the_page_is_sound_in_every_state(asked: Asked, many: Asked, tab: Any) -> None:
    assert_page_is_sound(tab, many.url)
    assert_page_is_sound(tab, asked.url)
    for key in "3033":  # the longest words of progress
        tab.keyboard.press(key)
    for width in (360, 1280):
        assert not faults_of_layout(tab, width)
        assert not axe_faults(tab)
    tab.get_by_role("button", name="Start over …").click()
    assert not axe_faults(tab)


def test_signals_and_rows_of_a_table_are_shown(tmp_path: Path, tab: Any) -> None:
    generator = np.random.default_rng(0)
    for name in "st":
        np.savez(tmp_path / f"{name}.npz", x=generator.normal(size=(20, 2, 400)), y=np.arange(20) % 2)
        rows = [f"{n % 7}.5,{'red' if n % 3 else 'blue'},<b>{n % 2}</b>" for n in range(20)]
        (tmp_path / f"{name}.csv").write_text("length,colour,label\n" + "\n".join(rows))
    for end, options in (("npz", {"kind": "signal", "window": 200, "backbone": "cnn1d"}), ("csv", {"backbone": "mlp"})):
        source, target = (tmp_path / f"{name}.{end}" for name in "st")
        train(source, target, out=str(tmp_path / end), **options, **RUN)
        write_label_page(tmp_path / f"{end}.html", tmp_path / end, suggest_labels(tmp_path / end, 3))
        assert_page_is_sound(tab, (tmp_path / f"{end}.html").as_uri())
        if end == "npz":
            assert "window" in tab.locator(".example:visible .file").inner_text()
            assert "200 samples in 2 channels" in str(tab.locator(".example:visible svg").get_attribute("aria-label"))
        else:
            assert tab.locator(".example:visible th[scope=row]").all_inner_texts() == ["length", "colour"]
            assert "<b>1</b>" in tab.locator("#classes").inner_text()


def test_without_scripts_the_examples_can_be_looked_at(asked: Asked, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(asked.url)
    assert tab.locator(".view:visible").count() == 4
    assert tab.locator("button:visible").count() == 0
    assert "needs JavaScript" in tab.locator("main").inner_text()
    context.close()


def test_what_is_not_kept_is_said(asked: Asked, browser: Any) -> None:
    context = browser.new_context()
    tab = context.new_page()
    tab.add_init_script("Storage.prototype.setItem = () => { throw new Error('full') }")
    tab.goto(asked.url)
    tab.keyboard.press("1")
    assert tab.locator("#unsaved").is_visible()
    context.close()


def test_names_that_are_no_unicode_leave_as_they_came(
    tab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jointadapt.data import from_arrays

    monkeypatch.setattr(label_page, "views", lambda _, rows: [""] * len(rows))
    domain = from_arrays(np.zeros((1, 2)), None)
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    object.__setattr__(domain, "items", (name,))
    page = tmp_path / "ask.html"
    page.write_text(label_page.render(domain, {0: ("a", 0.5)}, ("a", "b"), "l.csv"), encoding="utf-8")
    tab.goto(page.as_uri())
    tab.keyboard.press("2")
    labels = downloaded(tab, tmp_path / "labels.csv")
    assert b"caf\xe9.jpg,b" in labels.read_bytes()
    assert read_labels(labels) == {name: "b"}
