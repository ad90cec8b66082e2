"""The house: who may import whom, what is pure, what is loaded when, and how long a method's file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "jointadapt"
# Each room imports only what stands before it; rooms in one tuple do not import one another.
ORDER = [
    ("version", "errors"),
    ("runtime",),
    ("discrepancy",),
    ("two_sample",),
    ("data",),
    ("inputs",),
    ("networks",),
    ("methods",),
    ("training",),
    ("evaluation",),
    ("selection",),
    ("config",),
    ("runs",),
    ("reporting",),
    ("diagnostics",),
    ("experiment",),
    ("analysis", "comparison", "estimator", "exporting"),
    ("cli",),
    ("__main__",),
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
PURE = ("discrepancy", "two_sample")
GLOBAL_STATE = ("manual_seed", "set_rng_state", "set_default_dtype", "set_num_threads")
MOST_LINES_OF_A_METHOD = 80
FILES = sorted(PACKAGE.rglob("*.py"))
PURE_FILES = [file for file in FILES if file.relative_to(PACKAGE).parts[0] in PURE]
SHARED = ("base", "parts", "kernels", "kernel_methods", "weighed_kernels")  # by the methods
NO_METHODS = ("__init__", *SHARED, "registry", "names", "options", "build", "combined")
FILES_OF_METHODS = [file for file in FILES if file.parent.name == "methods"]
METHOD_FILES = [file for file in FILES_OF_METHODS if file.stem not in NO_METHODS]
HEAVY = {"torch", "scipy", "torchvision", "timm", "sklearn", "matplotlib", "huggingface_hub", "onnx", "onnxruntime"}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def imports(file: Path) -> set[str]:
    """Return every name that a file imports, `import jointadapt` as the room `__init__`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def calls(file: Path) -> set[str]:
    """Return the names of the functions and methods that a file calls."""
    nodes = [node.func for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
    return {n.id if isinstance(n, ast.Name) else n.attr for n in nodes if isinstance(n, ast.Name | ast.Attribute)}


def test_every_room_has_its_place():
    rooms = {room_of(file) for file in FILES} - {"__init__"}
    assert rooms == set(RANK)


@pytest.mark.parametrize("file", [f for f in FILES if f != PACKAGE / "__init__.py"], ids=name_of)
def test_a_room_imports_only_rooms_before_it(file):
    own = room_of(file)
    assert "jointadapt" not in imports(file), f"{own} imports the package's face; the version is in jointadapt.version"
    others = {name.split(".")[1] for name in imports(file) if name.startswith("jointadapt.")} - {own}
    after = {other for other in others if RANK.get(other, len(ORDER)) >= RANK[own]}
    assert not after, f"{own} imports {after}, which do not stand before it"


@pytest.mark.parametrize("file", PURE_FILES, ids=name_of)
def test_the_numerics_are_pure(file):
    assert not {name for name in imports(file) if name.startswith(("torch.nn", "torch.optim"))}
    assert not {name for name in GLOBAL_STATE if f"torch.{name}(" in file.read_text("utf-8")}


@pytest.mark.parametrize("file", FILES_OF_METHODS, ids=name_of)
def test_a_method_is_short_and_so_is_what_stands_beside_it(file):
    assert len(file.read_text("utf-8").splitlines()) <= MOST_LINES_OF_A_METHOD


@pytest.mark.parametrize("file", METHOD_FILES, ids=name_of)
def test_a_method_imports_no_sibling(file):
    siblings = {name.split(".")[2] for name in imports(file) if name.startswith("jointadapt.methods.")}
    assert siblings <= {*SHARED}


def test_only_the_trainer_descends():
    for file in FILES:
        assert name_of(file) == "training/trainer.py" or not calls(file) & {"backward", "zero_grad"}, file


def test_only_the_command_line_prints_and_exits():
    for file in FILES:
        assert room_of(file) in ("cli", "__main__") or "print" not in calls(file), file


RUN_FILES = {"config.toml", "metrics.jsonl", "predictions.csv", "features.npz", "summary.json", "trade-off.json"}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_run_folder_has_one_reader(file):
    """Only `runs` knows its files, `runs/folder.py` writes them, and `runs/reading.py` alone parses any."""
    named = {n.value for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Constant)} & RUN_FILES
    assert not named or name_of(file) in ("runs/folder.py", "runs/reading.py"), f"{file} names {named}"
    parsing = {"load", "loads", "reader", "DictReader", "read_text"}
    assert name_of(file) != "runs/folder.py" or not calls(file) & parsing


@pytest.mark.parametrize("file", [f for f in FILES if room_of(f) == "selection"], ids=name_of)
def test_selection_has_no_function_that_takes_target_labels(file):
    evaluation = {name for name in imports(file) if name.startswith("jointadapt.evaluation")}
    assert all(name.startswith("jointadapt.evaluation.predict.") for name in evaluation)


VERBS = (
    "train",
    "compare",
    "predict",
    "evaluate",
    "estimate",
    "export",
    "card",
    "suggest-labels",
    "shift",
    "analyze",
    "data check",
    "ls",
    "demo",
)


@pytest.mark.parametrize(
    "arguments", ["--version", "--help", *(f"{verb} --help" for verb in VERBS), "ls methods", "ls jan-a+mcc"]
)
def test_the_command_line_answers_without_the_libraries_it_works_with(arguments):
    code = (
        "import sys\nfrom jointadapt.cli import main\n"
        f"sys.argv = ['jointadapt', *{arguments.split()!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        f"loaded = {HEAVY!r} & set(sys.modules)\nassert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_package_s_face_loads_what_is_asked_for():
    code = (
        "import sys, jointadapt\n"
        f"assert not {HEAVY!r} & set(sys.modules)\n"
        "jointadapt.jmmd_unbiased\n"
        "loaded = {'torchvision', 'timm', 'sklearn', 'matplotlib', 'lightning_fabric'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert all(getattr(jointadapt, name) is not None for name in jointadapt.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
