"""The fast way of a picture: bytes as Pillow's, transforms as torchvision's, and what `predict` loads on its way."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from jointadapt.config import make_config
from jointadapt.data import Preprocessing, images, read_domain
from jointadapt.data.images import read_image
from jointadapt.data.transforms import random_crop
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.network import Head, Network
from jointadapt.networks.weights import Undrawn
from jointadapt.runs.model import Model

NEEDLESS = {"sklearn", "scipy", "timm", "matplotlib", "lightning_fabric", "pandas", "torch._dynamo", "sympy"}
PREDICT = """
import sys
from jointadapt.cli import main
sys.argv = ["jointadapt", "predict", *{!r}]
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
"""
SIDES = [(33, 47), (64, 64), (300, 201), (37, 260)]
SUBSAMPLING = ("4:4:4", "4:2:2", "4:2:0", "4:1:1")
KINDS = [
    *({"subsampling": kind, "quality": quality} for kind in SUBSAMPLING for quality in (40, 95)),
    *({"progressive": True}, {"keep_rgb": True}, {"optimize": True, "restart_marker_blocks": 3}),
    *({"mode": "L"}, {"mode": "CMYK"}),
]


def picture(height: int, width: int) -> Image.Image:
    """Return a picture with smooth parts, edges and noise."""
    rng = np.random.default_rng(height)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([127 + 120 * np.sin((k + 1) * x / 17 + y / 11) for k in range(3)], axis=-1)
    smooth[height // 3 : height // 2, width // 4 :] = rng.uniform(0, 255, 3)
    return Image.fromarray((smooth + rng.normal(0, 9, smooth.shape)).clip(0, 255).astype(np.uint8))


def by_pillow(path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Return the picture as Pillow alone reads it."""
    with monkeypatch.context() as patch:
        patch.setattr(images, "_jpeg_decoder", lambda: None)
        return read_image(path)


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_jpeg_is_read_as_pillow_reads_it(tmp_path, monkeypatch, sides, options):
    image = picture(*sides).convert(options.get("mode", "RGB"))
    image.save(tmp_path / "a.jpg", **{name: value for name, value in options.items() if name != "mode"})
    assert torch.equal(read_image(tmp_path / "a.jpg"), by_pillow(tmp_path / "a.jpg", monkeypatch))


@pytest.mark.parametrize("orientation", range(10))
def test_a_jpeg_is_turned_as_pillow_turns_it(tmp_path, monkeypatch, orientation):
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    picture(40, 56).save(tmp_path / "a.jpg", exif=exif)
    assert torch.equal(read_image(tmp_path / "a.jpg"), by_pillow(tmp_path / "a.jpg", monkeypatch))


def test_what_the_decoder_does_not_take_pillow_judges(tmp_path, monkeypatch):
    taken = []

    def refuse(*given):
        taken.append(given)
        raise RuntimeError("not this one")

    monkeypatch.setattr(images, "_jpeg_decoder", lambda: refuse)
    draw(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").shape[0] == 3
    assert taken


def test_a_jpeg_that_ends_early_is_refused_as_by_pillow(tmp_path):
    content = io.BytesIO()
    picture(300, 201).save(content, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
    with pytest.raises(OSError, match="truncated"):
        read_image(tmp_path / "cut.jpg")


# Transforms: those of torchvision, to the bit


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_transforms_are_torchvision_s(sides, interpolation):
    mode = InterpolationMode(interpolation)
    image = torch.from_numpy(np.array(picture(*sides))).permute(2, 0, 1)
    ours = Preprocessing(48, 40, interpolation=interpolation)
    normalise = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(ours.mean, ours.std)]
    framing = [v2.Resize(48, mode, antialias=True), v2.CenterCrop(40)]
    crop = v2.RandomResizedCrop(40, interpolation=mode, antialias=True)
    theirs = v2.Compose([crop, v2.RandomHorizontalFlip(), *normalise])
    assert torch.equal(ours.framing()(image), v2.Compose(framing)(image))
    assert torch.equal(ours.evaluation()(image), v2.Compose([*framing, *normalise])(image))
    for seed in range(20):
        torch.manual_seed(seed)
        expected = theirs(image)
        torch.manual_seed(seed)
        assert torch.equal(ours.training()(image), expected)


def test_a_frame_larger_than_the_picture_is_black_around_it():
    image = torch.from_numpy(np.array(picture(64, 64))).permute(2, 0, 1)
    theirs = v2.Compose([v2.Resize(32, antialias=True), v2.CenterCrop(40)])
    assert torch.equal(Preprocessing(32, 40).framing()(image), theirs(image))


@pytest.mark.parametrize("sides", [(10, 1000), (1000, 10), (60, 80)], ids=str)
def test_a_random_crop_is_torchvision_s_also_of_a_strip(sides):
    theirs = v2.RandomResizedCrop(40)
    for seed in range(20):
        torch.manual_seed(seed)
        made = theirs.make_params([torch.zeros(3, *sides)])
        crop = random_crop(*sides, torch.Generator().manual_seed(seed))
        assert crop == (made["top"], made["left"], made["height"], made["width"])


def test_a_row_s_chance_comes_from_its_seed_alone(tmp_path):
    for name in "abc":
        draw(tmp_path / f"{name}.png", (90, 70))
    domain, transform, before = read_domain(tmp_path), Preprocessing(32, 32).training(), torch.get_rng_state()
    rows = domain.rows([0, 1, 2], transform, [5, 6, 7])
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(domain.rows([2, 0], transform, [7, 5]), rows[[2, 0]])
    torch.manual_seed(6)
    assert torch.equal(domain.rows([1], transform)[0], rows[1])


# What predicting loads


def test_predict_loads_neither_what_it_does_not_use_nor_a_compiler(tmp_path):
    """What is not loaded had been more than half of the time to an answer."""
    draw(tmp_path / "a.jpg", (70, 90))
    backbone = build_backbone("squeezenet1_1", "none")
    model = Model(
        Network(backbone, Head(backbone.widths, 2, 16), True).eval(),
        ("x", "y"),
        make_config({"backbone": "squeezenet1_1", "bottleneck": 16}),
    )
    model.save(tmp_path / "model.safetensors")
    code = (
        PREDICT.format(["model.safetensors", "a.jpg"]) + f"needless = {NEEDLESS!r}\n"
        "assert not needless & set(sys.modules), needless & set(sys.modules)\n"
        "assert 'torch' in sys.modules and 'torchvision' in sys.modules\n"
        "import torch, torch._dynamo.utils as compiler\n"
        "from torchvision.ops.roi_align import is_compile_supported\n"
        "assert is_compile_supported('cpu') == compiler.is_compile_supported('cpu')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    ((_, _, _),) = [line.split(",") for line in done.stdout.splitlines()[1:]]


def test_a_model_of_arrays_predicts_without_torchvision(tmp_path):
    np.save(tmp_path / "rows.npy", np.eye(4, dtype=np.float32))
    backbone = build_backbone("mlp", "none", (4,))
    network = Network(backbone, Head(backbone.widths, 2, 16)).eval()
    config = make_config({"backbone": "mlp", "bottleneck": 16})
    Model(network, ("x", "y"), config, (4,)).save(tmp_path / "model.safetensors")
    code = (
        PREDICT.format(["model.safetensors", "rows.npy"])
        + f"assert not {NEEDLESS | {'torchvision'}!r} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "swin_t", "mnasnet0_5", "timm/resnet10t", "cnn"])
def test_a_model_that_is_loaded_draws_nothing_and_is_the_one_that_was_saved(name, monkeypatch):
    """All that would be drawn is NaN, so that a number that the file does not bring would show."""
    shape = (3, 32, 32) if name == "cnn" else None
    backbone = build_backbone(name, "none", shape)
    config = make_config({"backbone": name, "bottleneck": 8})
    model = Model(Network(backbone, Head(backbone.widths, 2, 8)).eval(), ("x", "y"), config, shape)
    content = model.packed()
    monkeypatch.setattr(torch, "empty", lambda *sizes, empty=torch.empty, **how: _nan(empty(*sizes, **how)))
    loaded = Model.__new__(Model)
    loaded.__setstate__({"packed": content})
    size = 32 if shape else 224
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded.network(x).logits, model.network(x).logits)


def _nan(made: torch.Tensor) -> torch.Tensor:
    return made.fill_(torch.nan) if made.is_floating_point() else made


def test_nothing_is_drawn_within_undrawn():
    before = torch.get_rng_state()
    with Undrawn():
        layers = [torch.nn.Linear(3, 2), torch.nn.Conv2d(3, 2, 3), torch.nn.Embedding(3, 2)]
        torch.nn.init.trunc_normal_(layers[0].weight)
        torch.nn.init.kaiming_normal_(tensor=layers[1].weight)
        torch.nn.init.xavier_uniform_(layers[0].weight)
        torch.nn.init.ones_(layers[2].weight)
    assert torch.equal(before, torch.get_rng_state())
    assert (layers[2].weight == 1).all()
