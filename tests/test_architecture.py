"""The house: who may import whom, what is pure, and how long a method's file may be."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "jointadapt"
ROOMS = [
    ("errors", "interruption", "progress", "pages"),
    ("kernels", "schedules", "calibration"),
    ("discrepancy",),
    ("two_sample",),
    ("data",),
    ("backbones",),
    ("networks",),
    ("methods",),
    ("building",),
    ("checkpoints", "ranks"),
    ("trainer",),
    ("selection",),
    ("health",),
    ("evaluation",),
    ("candidates",),
    ("config", "recipes"),
    ("flags", "model", "runs"),
    ("preparation",),
    ("figures",),
    ("shift", "suggestion", "diagnosis", "choosing"),
    ("report",),
    ("experiment",),
    ("demo", "estimator", "comparison", "analysis"),
    ("table", "cluster"),
    ("cli",),
    ("__main__",),
]
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
PURE = ("kernels", "discrepancy", "two_sample", "schedules", "calibration")
MOST_LINES_OF_A_METHOD = 80
FILES = sorted(PACKAGE.rglob("*.py"))
PURE_FILES = [file for file in FILES if file.relative_to(PACKAGE).parts[0].removesuffix(".py") in PURE]
METHOD_FILES = [file for file in FILES if file.parent.name == "methods" and file.stem != "__init__"]


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    "file",
    [f for f in FILES if f.parent != PACKAGE or f.name != "__init__.py"],
    ids=lambda f: str(f.relative_to(PACKAGE)),
)
def test_a_room_imports_only_rooms_above_it(file):
    own = room_of(file)
    others = {name.split(".")[1] for name in imports(file) if name.startswith("jointadapt.") and name.count(".")}
    others = {other for other in others if other in RANK and other != own}
    assert own in RANK, f"{own} has no place in the house"
    below = {other for other in others if RANK[other] > RANK[own]}
    assert not below, f"{own} imports {below}, which stand below it"


@pytest.mark.parametrize("file", PURE_FILES, ids=name_of)
def test_the_numerics_are_pure(file):
    assert not {name for name in imports(file) if name.startswith(("torch.nn", "torch.optim"))}


@pytest.mark.parametrize("file", METHOD_FILES, ids=name_of)
def test_a_method_is_short_and_imports_no_sibling(file):
    assert len(file.read_text("utf-8").splitlines()) <= MOST_LINES_OF_A_METHOD
    siblings = {name for name in imports(file) if name.startswith("jointadapt.methods.")}
    assert all(name.startswith("jointadapt.methods.contract") for name in siblings)


def test_only_the_trainer_descends():
    for file in FILES:
        calls = {
            node.func.attr
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        }
        assert room_of(file) == "trainer" or not calls & {"backward", "zero_grad"}, file


def test_only_the_command_line_prints_and_exits():
    for file in FILES:
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert room_of(file) in ("cli", "__main__") or "print" not in calls, file
