"""Exports: each format is the model, on real rows, whatever stands before and behind the network; what is refused."""

import ast
import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, draw, draw_folder, write_arrays
from torch import Tensor, nn

import jointadapt
from jointadapt import Model, from_arrays, read_domain, train
from jointadapt.config import make_config
from jointadapt.data import Domain
from jointadapt.data.images import read_image
from jointadapt.errors import UserError
from jointadapt.exporting import loader
from jointadapt.exporting.description import Description, describe
from jointadapt.exporting.export import Export, export
from jointadapt.exporting.formats import FORMATS, Safetensors
from jointadapt.exporting.inputs import rows_of
from jointadapt.inputs.signals import log_spectrograms, magnitudes
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.ensemble import join
from jointadapt.networks.network import Head, Network

TOLERANCE = 1e-5  # of a probability: another library, other orders of sums
FLOAT32 = 1e-5  # of a logarithm of magnitudes of order 1
QUICK = {"steps": 5, "batch_size": 8, "report": False, "baseline": False, "method": "dan"}
ROOT = Path(__file__).parents[1]
ALL = ("onnx", "torch", "safetensors")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # notes on the data; libraries' warnings are others


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder of its own; formats that need a library that is missing are skipped."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=ALL)
def to(request: pytest.FixtureRequest) -> str:
    """A format whose libraries are installed."""
    return needed(request.param)


def needed(to: str) -> str:
    try:
        FORMATS[to].check_installed()
    except UserError as error:
        pytest.skip(str(error))
    return to


def run_of(found: Export, rows: Tensor, own: nn.Module | None = None) -> tuple[Tensor, ...]:
    """Return what the files of an export make of rows."""
    return FORMATS[found.folder.name].runner(found.folder, Description(found.about, {}, own))(rows)


def write_table(path: Path, rows: int, seed: int) -> Path:
    """Write a table of two columns of numbers and two of texts, with gaps, and a label."""
    generator = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "chol", "kind", "place", "label"])
        for number in range(rows):
            sick = number % 2
            chol = "" if generator.random() < 0.2 else f"{200 + 60 * sick + 30 * generator.normal():.2f}"
            kind = "" if generator.random() < 0.2 else "abc"[int(generator.integers(0, 2)) + sick]
            age = f"{50 + 10 * sick + 5 * generator.normal():.1f}"
            writer.writerow([age, chol, kind, "xy"[int(generator.random() < 0.5)], ["well", "sick"][sick]])
    return path


@pytest.fixture
def table(here: Path) -> Path:
    """The folder of a run on two tables with gaps and categories, which tells unknown classes."""
    write_table(here / "s.csv", 60, 0)
    write_table(here / "t.csv", 50, 1)
    train("s.csv", "t.csv", out="run", missing="fill", unknown=True, standardize="domain", **QUICK)
    return here / "run"


# What comes out is the model


def test_a_table_with_gaps_and_categories_a_temperature_and_unknown_classes(table: Path, to: str):
    model = replace(Model.load(table), temperature=1.7)
    model.save(table / "model.safetensors")
    found = export(table, to)
    assert found.folder == table / "export" / to
    assert found.check.rows == 50
    assert found.check.batches == (1, 2, 7, 40)
    assert found.check.agreeing == 50
    assert found.check.difference <= TOLERANCE
    about = json.loads((found.folder / "model.json").read_text())
    assert about["classes"] == ["sick", "well"]
    assert about["temperature"] == 1.7
    assert about["check"]["difference"] == found.check.difference
    assert [column["name"] for column in about["input"]["columns"]] == ["age", "chol", "kind", "place"]
    row = torch.tensor([[55.0, torch.nan, 1, 0], [55.0, 210, -1, 1], [torch.inf, 210, 0, 1]])
    probabilities, scores = run_of(found, row)
    one = Path("one.csv")
    one.write_text("age,chol,kind,place\n55,,b,x\n55,210,never seen,y\n")
    expected = model.predict_proba(read_domain(one))
    torch.testing.assert_close(probabilities[:2], expected, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(scores[:2], model.unknown_scores(read_domain(one)), rtol=0, atol=TOLERANCE)
    assert probabilities[2].isnan().all()
    assert scores[2].isnan()


@pytest.fixture
def hospitals(here: Path) -> Path:
    """The run that the page on exports is about, exported in each format that is installed."""
    write_table(here / "hospital-a.csv", 60, 0)
    write_table(here / "hospital-b.csv", 50, 1)
    train("hospital-a.csv", "hospital-b.csv", out="runs/my-run", missing="fill", standardize="source", **QUICK)
    return here / "runs/my-run"


def test_the_page_on_exports_runs_and_an_onnx_file_says_what_it_is_and_not_where_it_was_made(hospitals: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    for form in ALL:
        export(hospitals, needed(form))
    page = (ROOT / "docs/guides/exporting.md").read_text("utf-8")
    names: dict = {}
    for code in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs/guides/exporting.md", "exec"), names)
    sys.path.remove("runs/my-run/export/safetensors")
    del sys.modules["load"]
    model, domain = Model.load(hospitals), read_domain("hospital-b.csv")
    with Path("hospital-b.csv").open(newline="") as file:
        rows = torch.tensor([names["table_row"](record) for record in csv.DictReader(file)])
    torch.testing.assert_close(rows, rows_of(model, domain), rtol=0, atol=0, equal_nan=True)
    seen, framing = draw(Path("a.png")), jointadapt.data.Preprocessing(50, 24).framing()
    expected = framing(read_image(seen)).numpy().astype(int)
    assert np.abs(names["picture"](seen, 50, 24) - expected).max() <= 1
    file = hospitals / "export/onnx/model.onnx"
    session = onnxruntime.InferenceSession(file)
    kept = session.get_modelmeta().custom_metadata_map
    assert json.loads(kept["classes"]) == ["sick", "well"]
    assert float(kept["temperature"]) == 1
    assert "unknown_threshold" not in kept
    assert json.loads(kept["jointadapt"])["input"]["words"]
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("columns", "tensor(float)", [4])
    assert isinstance(given.shape[0], str)
    assert [out.name for out in session.get_outputs()] == ["probabilities"]
    assert str(ROOT).encode() not in file.read_bytes()


def test_a_program_of_torch_says_what_it_is_and_not_where_it_was_made(table: Path):
    found = export(table, "torch")
    extra = {"model.json": ""}
    torch.export.load(found.file, extra_files=extra)
    assert json.loads(extra["model.json"])["classes"] == ["sick", "well"]
    content = found.file.read_bytes()
    assert str(ROOT).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_weights_are_read_without_jointadapt(table: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    found = export(table, "safetensors", "deployed")
    assert {path.name for path in found.folder.iterdir()} == {"load.py", "model.json", "model.safetensors"}
    torch.save(rows_of(Model.load(table), read_domain("t.csv")), "rows.pt")
    code = (
        "import sys\nsys.modules['jointadapt'] = None\nsys.path.insert(0, 'deployed')\nimport torch\n"
        "from load import load\nmodel = load('deployed')\n"
        "torch.save(model(torch.load('rows.pt'))[0], 'found.pt')\nassert model.about['classes'] == ['sick', 'well']"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    expected = Model.load(table).predict_proba(read_domain("t.csv"))
    torch.testing.assert_close(torch.load("found.pt"), expected, rtol=0, atol=TOLERANCE)


def test_the_loader_imports_nothing_of_ours():
    tree = ast.parse(Path(loader.__file__).read_text("utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in (*modules, *names) if name.startswith("jointadapt")]


def signals(seed: int) -> Domain:
    generator = np.random.default_rng(seed)
    y = np.arange(40) % 2
    wave = np.sin(np.arange(90) * (0.2 + 0.3 * y[:, None, None]))
    return from_arrays(generator.normal(size=(40, 2, 90)) + 2 * wave, y, kind="signal")


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("cnn1d", {}),
        ("resnet1d", {"recenter": True, "unknown": True, "standardize": "domain"}),
        ("inception1d", {"window": 30, "stride": 20}),
        ("mlp", {"representation": "fft", "zscore": False, "standardize": "source", "unknown": True}),
        ("cnn", {"representation": "log-spectrogram"}),
    ],
)
def test_signals_are_prepared_in_the_file(backbone: str, options: dict):
    model = train(signals(0), signals(1), backbone=backbone, **options, **QUICK).model
    found = export(model, "safetensors", "deployed", check=signals(1))
    assert found.check.difference <= TOLERANCE
    assert found.about["input"]["shape"][1:] == [2, options.get("window", 90)]


def test_signals_are_prepared_in_a_graph():
    options = {"representation": "fft", "recenter": True, "backbone": "mlp"}
    model = train(signals(0), signals(1), **options, **QUICK).model
    assert export(model, needed("onnx"), "deployed", check=signals(1)).check.difference <= TOLERANCE


def test_of_long_recordings_some_windows_are_checked():
    model = train(signals(0), signals(1), backbone="cnn1d", window=30, stride=10, **QUICK).model
    recordings = from_arrays(torch.randn(400, 2, 90), kind="signal")
    found = export(model, "safetensors", "deployed", check=recordings)
    assert found.check.rows == 994  # 7 windows of each of 142
    assert found.check.difference <= TOLERANCE


@pytest.mark.parametrize("time", [2, 7, 64, 90, 101])
def test_magnitudes_by_two_small_products_are_those_of_the_fourier_transform(time: int):
    rows = torch.randn(3, 2, time, generator=torch.Generator().manual_seed(time))
    expected = magnitudes(rows).log1p().flatten(1)
    torch.testing.assert_close(loader.Spectra(time)(rows), expected, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("time", [16, 90, 1024])
def test_spectrograms_by_a_convolution_are_those_of_short_fourier_transforms(time: int):
    rows = torch.randn(3, 2, time, generator=torch.Generator().manual_seed(time))
    torch.testing.assert_close(loader.Frames(time)(rows), log_spectrograms(rows), rtol=0, atol=FLOAT32)


def test_arrays_and_arrays_of_pixels():
    generator = np.random.default_rng(0)
    pixels = [from_arrays(generator.integers(0, 256, (20, size, size), np.uint8), np.arange(20) % 2) for size in (8, 6)]
    model = train(*pixels, backbone="cnn", **QUICK).model
    found = export(model, "safetensors", "of-pixels", check=pixels[1])
    assert found.check.difference <= TOLERANCE
    assert (found.about["input"]["shape"], found.about["input"]["range"]) == (["batch", 1, 8, 8], (0, 1))
    rows = [read_domain(write_arrays(Path(f"{seed}.npz"), seed=seed)) for seed in range(2)]
    model = train(*rows, standardize="source", backbone="none", **QUICK).model
    assert export(model, "safetensors", "of-rows", check=rows[1]).check.difference <= TOLERANCE


@pytest.mark.parametrize(("frozen", "to"), [(True, "safetensors"), (False, "safetensors"), (False, "onnx")])
def test_the_mean_of_several_networks(frozen: bool, to: str):
    rows = [read_domain(write_arrays(Path(f"{seed}.npz"), seed=seed)) for seed in range(2)]
    models = [train(*rows, backbone="mlp", frozen=frozen, **QUICK | {"seed": seed}).model for seed in range(2)]
    shared = models[0].network.backbone
    networks = [Network(shared if frozen else m.network.backbone, m.network.head, frozen) for m in models]
    model = replace(models[0], network=join(networks).eval(), temperature=2.0)
    found = export(model, needed(to), to, check=rows[1])
    assert found.check.difference <= TOLERANCE
    assert len(found.about["heads"]) == 2
    assert len(found.about["backbones"]) == (1 if frozen else 2)


class Own(nn.Module):
    """Convolutions of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 16)."""
        return self.layers(x)


@pytest.mark.parametrize("to", ["onnx", "safetensors"])
def test_pictures_through_a_backbone_of_one_s_own(here: Path, to: str):
    for name in ("a", "b"):
        draw_folder(here / name, 5)
    torch.manual_seed(0)
    own = jointadapt.Backbone.of(Own(), preprocessing=jointadapt.data.Preprocessing(40, 32))
    run = train("a", "b", backbone=own, out="run", unknown=True, workers=0, **QUICK)
    found = export("run", needed(to), backbone=own)
    assert found.check.difference <= TOLERANCE
    assert found.about["input"]["shape"] == ["batch", 3, 32, 32]
    assert found.about["input"]["dtype"] == "uint8"
    if to == "safetensors":
        assert export(run, to, "again", check="b").check.difference == found.check.difference
        with pytest.raises(ValueError, match="give it: load"):
            loader.load(found.folder)


def test_a_named_backbone_has_its_library_s_own_names(here: Path):
    for name in ("a", "b"):
        draw_folder(here / name, 3)
    run = train("a", "b", out="run", backbone="squeezenet1_1", weights="none", workers=0, **QUICK)
    found = export("run", "safetensors")
    assert found.check.difference <= TOLERANCE
    assert found.about["backbones"] == [
        {"library": "torchvision", "name": "squeezenet1_1", "arguments": {}, "without": "classifier.1"}
    ]
    assert "backbones.0.features.0.weight" in describe(run.model).tensors


FAMILIES = (
    "alexnet",
    "vgg11",
    "googlenet",
    "inception_v3",
    "resnet18",
    "resnet50",
    "squeezenet1_0",
    "mobilenet_v2",
    "efficientnet_b0",
    "vit_b_16",
    "convnext_tiny",
    "swin_t",
    "densenet121",
    "mnasnet0_5",
    "timm/resnet10t",
    "vit_tiny_patch16_224",
    "mobilenetv3_small_050",
)


def _of_backbone(name: str, folder: Path) -> tuple[Model, Domain]:
    """Return a model with random weights that is as sure as a trained one, and pictures."""
    torch.manual_seed(0)
    backbone = build_backbone(name, "none")
    network = Network(backbone, Head(backbone.widths, 5), frozen=True).eval()
    rows = read_domain(draw_folder(folder / "pictures", 5))
    model = Model(network, tuple("abcde"), make_config({"method": "source-only", "backbone": name}))
    with torch.no_grad():
        logits = model.predict_proba(rows).log()
        network.head.classifier.weight *= 2 / logits.std()
    return model, rows


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_backbones_of_every_family(name: str, here: Path, to: str):
    model, rows = _of_backbone(name, here)
    found = export(model, to, "deployed", check=rows)
    assert found.check.batches == (1, 2, 7)
    assert found.check.difference <= TOLERANCE


# What is refused


def test_a_file_that_is_not_the_model_is_refused_and_leaves_nothing(table: Path, monkeypatch: pytest.MonkeyPatch):
    whole = Safetensors.runner

    def off(self: Safetensors, *given) -> Callable:
        run = whole(self, *given)
        return lambda rows: tuple(part + 1e-3 for part in run(rows))

    monkeypatch.setattr(Safetensors, "runner", off)
    with pytest.raises(
        UserError, match=r"on 50 rows of t its probabilities differ by up to 1\.0e-03, and at most 1\.0"
    ):
        export(table, "safetensors")
    assert not (table / "export").exists()
    assert export(table, "safetensors", tolerance=0.01).check.difference == pytest.approx(1e-3, rel=0.01)


def test_what_is_no_run_or_no_place_is_told_in_one_line(
    table: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    assert "nowhere is not there" in refused("export", "nowhere")
    Path("empty").mkdir()
    assert "empty holds no trained model" in refused("export", "empty")
    assert "'jpeg' is not one of" in refused("export", table, "--to", "jpeg")
    with pytest.raises(UserError, match="unknown format 'onxn'; did you mean 'onnx'"):
        export(table, "onxn")
    assert "the tolerance is the largest difference" in refused("export", table, "--tolerance", 0)
    Path("full").mkdir()
    Path("full/a").touch()
    assert "full is there already; choose another --output" in refused("export", table, "--to", "torch", "-o", "full")
    assert "cannot be written to" in refused("export", table, "--to", "torch", "-o", "full/a/b")
    assert "nothing.csv" in refused("export", table, "--to", "torch", "--check", "nothing.csv")
    (table / "summary.json").rename("summary.json")
    assert f"{table} is not finished; go on with: jointadapt train --resume" in refused("export", table)
    Path("summary.json").rename(table / "summary.json")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "install it with: pip install 'jointadapt[onnx]'" in refused("export", table)


def test_a_model_in_memory_needs_rows_and_a_place(table: Path):
    model = Model.load(table)
    with pytest.raises(UserError, match="output="):
        export(model, "safetensors")
    with pytest.raises(UserError, match="check="):
        export(model, "safetensors", "deployed")
    with pytest.raises(UserError, match="is ready for a network already"):
        export(model, "safetensors", "deployed", check=model.inputs.target(read_domain("t.csv")))
    assert not Path("deployed").exists()


def test_a_run_on_arrays_asks_for_rows(here: Path, refused: Callable[..., str]):
    rows = [read_domain(write_arrays(here / f"{seed}.npz", seed=seed)) for seed in range(2)]
    train(*rows, out="run", **QUICK)
    assert "--check" in refused("export", "run", "--to", "safetensors")
    assert export("run", "safetensors", check="1.npz").check.difference <= TOLERANCE


def test_the_command_prints_what_is_handed_in_what_comes_out_and_how_far_it_is(table: Path, command: Command):
    shown = command("export", table, "--to", "safetensors")
    assert shown.code == 0, shown.err
    assert "input   columns: float32 (batch, 4), the columns in the order of model.json: numbers" in shown.out
    assert "output  probabilities: float32 (batch, 2), the probability of each class" in shown.out
    assert "checked on 50 rows of t in batches of 1, 2, 7 and 40: the largest difference" in shown.out
    told = json.loads(command("export", table, "--to", "safetensors", "-o", "other", "--json").out)
    assert told["check"]["difference"] <= TOLERANCE
    assert told["file"] == str(Path("other/model.safetensors"))
