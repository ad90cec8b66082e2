"""What is installed with the package, and what is shipped with its source."""

import ast
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# With its extra; whoever uses it is told how to install it.
OPTIONAL = {"ray": "ray", "huggingface_hub": "hub", "onnxruntime": "onnx"}


def named(requirements: list[str]) -> set[str]:
    """Return the names of some requirements."""
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def third_parties(file: Path) -> set[str]:
    """Return the modules of others that a file imports, wherever in it."""
    nodes = [*ast.walk(ast.parse(file.read_text("utf-8")))]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"jointadapt"}


def test_whatever_is_imported_is_declared() -> None:
    imported = {name for file in (ROOT / "src").rglob("*.py") for name in third_parties(file)} - {*OPTIONAL}
    declared, distributions = named(PROJECT["dependencies"]), packages_distributions()
    providing = {name: {canonicalize_name(found) for found in distributions[name]} for name in imported}
    assert {name for name, providers in providing.items() if not providers & declared} == set()
    assert declared - set().union(*providing.values()) == set()
    for name, extra in OPTIONAL.items():
        assert canonicalize_name(name) in named(PROJECT["optional-dependencies"][extra])


def test_every_requirement_has_a_lower_bound() -> None:
    for text in (*PROJECT["dependencies"], *(t for extra in PROJECT["optional-dependencies"].values() for t in extra)):
        assert ">=" in text, text


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: nothing tells which files there should be")
def test_the_source_distribution_holds_what_the_tests_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        shipped = {name.partition("/")[2] for name in tar.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    tracked = {name for name in filter(None, listed) if not name.startswith((".ci/", "."))}
    assert tracked - shipped == set()
