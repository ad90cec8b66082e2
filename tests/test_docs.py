"""The documentation says what the code does."""

import re
from pathlib import Path

import click
import pytest
import sklearn
from click.testing import CliRunner

from jointadapt.cli import cli
from jointadapt.methods import METHODS
from jointadapt.methods.options import options_of

ROOT = Path(__file__).parents[1]
ROOMS = ("start", "guides", "theory", "results")
PAGE = re.compile(r"\bdocs/[a-z-]+/[a-z-]+\.md\b")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_help_of_train_stands_in_the_docs():
    shown = CliRunner().invoke(cli, ["train", "--help"], prog_name="jointadapt", terminal_width=110).output
    run, mark, _ = shown.partition("\nOptions of ")  # a method's own stand in docs/theory/methods.md
    assert mark
    assert blocks("docs/guides/data-and-runs.md", "text") == [run], (
        "paste the run's options from: jointadapt train --help"
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_its_options_are_documented(method):
    page = (ROOT / "docs/theory/methods.md").read_text("utf-8")
    assert f"\n`{method}`\n: " in page
    for option in options_of(method).values():
        name = f"{option.name}=" if option.python_only else option.flag
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert method in [name.strip() for name in row.split("|")[2].split(",")]


def test_the_readmes_python_runs():
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_page_for_scikit_learn_runs():
    """Without the blocks that need a library of others, which test_estimator_in_tools tests."""
    names: dict[str, object] = {}
    with sklearn.config_context():
        for code in blocks("docs/guides/scikit-learn.md", "python"):
            if not code.startswith("# "):
                exec(compile(code, "docs/guides/scikit-learn.md", "exec"), names)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("page", "count"), [("formats", 1), ("extending", 1), ("discrepancy", 2), ("two-sample-tests", 2)]
)
def test_the_shortest_thing_of_a_guide_works(page: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks(f"docs/guides/{page}.md", "python")[:count]:
        exec(compile(code, page, "exec"), names)


def test_every_guide_begins_with_the_shortest_thing_that_works():
    for path in (ROOT / "docs/guides").glob("*.md"):
        text = path.read_text("utf-8")
        if path.stem != "index" and "\n## The shortest thing that works\n" not in text:
            assert text.index("\n```") < 1_000, f"{path.name}: a command or a snippet belongs near the top"


def test_the_commands_of_the_pages_have_their_flags():
    pages = [ROOT / "README.md", *(path for room in ROOMS for path in (ROOT / "docs" / room).glob("*.md"))]
    commands = [line for page in pages for line in commands_of(page.read_text("utf-8"))]
    assert len(commands) > 50
    context = click.Context(cli)
    for verb, *flags in commands:
        command = cli.get_command(context, verb)
        assert command, verb
        if isinstance(command, click.Group):
            continue
        options = [name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)]
        assert not {*flags} - {*options}, (verb, flags)


def commands_of(page: str) -> list[list[str]]:
    """Return the verb and the flags of each call of jointadapt in the console blocks of a page."""
    found = re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = "\n".join(found).replace("\\\n", " ").splitlines()
    calls = [re.split(r" #|;|\|", line.partition("jointadapt ")[2])[0] for line in lines if "jointadapt " in line]
    return [[call.split()[0], *re.findall(r"(?<=\s)--?[a-z][a-z-]*", call)] for call in calls if call]


def test_the_programs_that_the_pages_name_are_there():
    pages = [path.read_text("utf-8") for room in ROOMS for path in (ROOT / "docs" / room).glob("*.md")]
    named = {program for page in pages for program in re.findall(r"\b(?:benchmarks|tests|examples)/[\w/]+\.py\b", page)}
    assert len(named) > 20
    assert not [program for program in sorted(named) if not (ROOT / program).exists()]


def test_the_pages_that_code_names_are_there():
    folders = [ROOT / name for name in ("src", "tests", "benchmarks", "examples", "docs")]
    texts = [path for folder in folders for end in ("py", "toml", "md", "rst") for path in folder.rglob(f"*.{end}")]
    named = {page for path in [*texts, ROOT / "CONTRIBUTING.md"] for page in PAGE.findall(path.read_text("utf-8"))}
    assert len(named) > 10
    assert not [page for page in sorted(named) if not (ROOT / page).exists()]


def test_the_readmes_links_are_there():
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", (ROOT / "README.md").read_text("utf-8")):
        assert (ROOT / link).exists(), link


def test_the_readme_gives_the_two_commands():
    (first, *_) = blocks("README.md", "console")
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["$ make demo", "$ make test"]
    assert "make test" in (ROOT / ".ci/run").read_text("utf-8")
