"""The pages of the site hold together: each method has its equation, each public name its page, each title one page."""

import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from jointadapt.cli import cli
from jointadapt.config import RUN_OPTIONS
from jointadapt.methods import METHODS
from jointadapt.methods.options import all_options

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EQUATIONS = tomllib.loads((DOCS / "_extensions/equations.toml").read_text("utf-8"))["equations"]
PUBLIC = [
    "jointadapt",
    *(f"jointadapt.{room}" for room in ("data", "discrepancy", "methods", "networks", "two_sample")),
]


def listed(page: Path) -> list[str]:
    """Return the names that a page's autosummaries list."""
    return re.findall(r"^    (jointadapt\.[\w.]+)$", page.read_text("utf-8"), re.MULTILINE)


def found(name: str) -> object:
    """Return the object of a dotted name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_every_method_and_every_discrepancy_has_its_equation():
    methods = [f"{type_.__module__}.{type_.__qualname__}" for type_ in map(METHODS.__getitem__, METHODS)]
    wanted = {*methods, *listed(DOCS / "reference/discrepancy.md"), "jointadapt.two_sample_test"}
    assert not sorted(wanted - {*EQUATIONS})
    shown = {name for page in (DOCS / "reference").glob("*.md") for name in listed(page)}
    assert not sorted({*EQUATIONS} - shown)
    assert all(found(name).__doc__ for name in EQUATIONS)


def test_every_public_name_stands_in_the_reference():
    pages = "\n".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    for module in PUBLIC:
        missing = [n for n in importlib.import_module(module).__all__ if not re.search(rf"\b{n}\b", pages)]
        assert not missing, f"{module}: list {missing} on a page of docs/reference"


def test_each_equation_of_the_paper_leads_to_code_that_names_it():
    sections = re.split(r"^## ", (DOCS / "theory/paper.md").read_text("utf-8"), flags=re.MULTILINE)
    numbered = [section for section in sections if section.startswith(("Eq. ", "Sec. "))]
    assert [section.partition(":")[0] for section in numbered] == [
        "Eq. (7)",
        "Eq. (9)",
        "Eq. (10)",
        "Eq. (11)",
        "Sec. 5.1",
    ]
    for section in numbered:
        names = re.findall(r"\{py:\w+\}`~?([\w.]+)`", section)
        number = section.partition(":")[0]
        assert any(number in (found(name).__doc__ or "") for name in names), f"none of {names} names {number}"


def test_titles_differ():
    titles: dict[str, Path] = {}
    for page in sorted(DOCS.rglob("*.md")):
        if "_build" in page.parts or page.name == "changelog.md":
            continue
        (title,) = re.findall(r"^# (.+)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.S | re.M), re.M)
        assert title not in titles, f"{page} and {titles[title]} are both called {title!r}"
        titles[title] = page


def test_the_chart_shows_what_the_tables_say(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    which_method = importlib.import_module("which_method")
    drawn = which_method.chart(which_method.steps())
    assert drawn == which_method.CHART.read_text("utf-8"), "draw it: python docs/_extensions/which_method.py"
    page = (DOCS / "start/which-method.md").read_text("utf-8")
    for step in which_method.steps():
        option = step["answer"].split()[-1] if "--method" in step["answer"] else step["answer"].split()[0]
        assert option in page


def test_a_bar_without_a_table_is_refused(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    which_method = importlib.import_module("which_method")
    with pytest.raises(ValueError, match="expected one cell"):
        which_method.measured({"table": "task", "row": "no such row", "column": "suggested"})


def test_what_ours_is_called_exists():
    """On the page for those who come from other libraries: methods, flags and options of the right column."""
    page = (DOCS / "start/coming-from.md").read_text("utf-8")
    ours = [line.split("|")[2] for line in page.splitlines() if line.startswith("| ")]
    ours += [line for line in page.splitlines() if line.startswith(("$ jointadapt", "run = ", "jointadapt."))]
    shown = CliRunner().invoke(cli, ["train", "--help"], prog_name="jointadapt", terminal_width=300).output
    flags = {flag for cell in ours for flag in re.findall(r"--[a-z][\w-]+", cell)}
    assert len(flags) > 8
    assert not {flag for flag in flags if not re.search(rf"{flag}\b", shown)}
    names = {name for cell in ours for name in re.findall(r'`"([\w-]+)"`', cell)}
    assert names - {"snd", "dev"} <= {*METHODS}
    options = {name for cell in ours for name in re.findall(r'options=\{"(\w+)"', cell)}
    assert options == {"align", "recenter", "trade_off"}
    assert options <= {*RUN_OPTIONS, *all_options()} | {"trade_off"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_tutorials_commands_run(tmp_path, monkeypatch):
    """In their order, with ten steps of training in place of 600."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOINTADAPT_CACHE", str(tmp_path / "cache"))
    tutorial = (DOCS / "start/tutorial.md").read_text("utf-8")
    scripts = iter(re.findall(r"^```python\n(.*?)^```", tutorial, re.MULTILINE | re.DOTALL))
    commands = [
        line[2:]
        for block in re.findall(r"^```console\n(.*?)^```", tutorial, re.M | re.S)
        for line in block.splitlines()
    ]
    assert len(commands) > 10
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "python":
            exec(compile(next(scripts), arguments[0], "exec"), {})
            continue
        assert program == "jointadapt"
        arguments += ["--steps", "10"] if arguments[0] == "train" else []
        outcome = CliRunner().invoke(cli, arguments, prog_name="jointadapt")
        assert outcome.exit_code == 0, f"{command}\n{outcome.output}"
    exec(compile(next(scripts).replace("trade_off=1.0", "trade_off=1.0, steps=10"), "tutorial.md", "exec"), {})
    assert (tmp_path / "runs/scanner-phone-jan/report.html").exists()


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    specification = importlib.util.spec_from_file_location("check_links", ROOT / "docs/check_links.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a><a href="b.html#gone">b</a><img src="c.png">')
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="https://elsewhere.example">x</a>')
    within, outside, broken = module.check(tmp_path)
    assert (within, outside) == (3, 1)
    assert broken == ["a.html: b.html#gone: no such anchor", "a.html: c.png: no such file"]
