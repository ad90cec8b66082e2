"""Files of weights as trainers leave them: what is read out of them, what is refused, and what it is called."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from conftest import Command, draw_folder
from safetensors.torch import save_file
from torch import Tensor, nn

from jointadapt.errors import UserError
from jointadapt.networks.backbones import build_backbone

NAME = "resnet18"


def state(seed: int = 1, classes: int = 1000) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return torchvision.models.resnet18(weights=None, num_classes=classes).state_dict()


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


STATE, OTHER = state(), state(2)
WITHOUT = {name: tensor for name, tensor in STATE.items() if not name.startswith("fc.")}
PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "backbone.",
    "encoder_q.",
    "module.encoder_q.",
    "module._orig_mod.",
    "net.",
)


def saved(folder: Path, content: object, suffix: str = ".pth") -> str:
    path = folder / f"w{suffix}"
    save_file(content, path) if suffix == ".safetensors" else torch.save(content, path)  # pyright: ignore
    return str(path)


def first(path: str, name: str = NAME) -> Tensor:
    return next(build_backbone(name, path).parameters())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_that_leaves_a_perfect_fit_is_left_out_and_told(tmp_path: Path, prefix: str, suffix: str) -> None:
    backbone = build_backbone(NAME, saved(tmp_path, below(prefix, STATE), suffix))
    assert torch.equal(next(backbone.parameters()), STATE["conv1.weight"])
    (note,) = backbone.notes or ("",)
    assert "those below" in note or prefix == "_orig_mod."


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"state_dict": STATE, "epoch": 7, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, "state_dict"),
        ({"model": STATE, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.7)}, "model"),
        ({"model_state_dict": below("module.", STATE), "epoch": 7}, "model_state_dict"),
        ({"state_dict": OTHER, "state_dict_ema": STATE}, "state_dict_ema"),
        ({"student": below("backbone.", OTHER), "teacher": below("backbone.", STATE)}, "teacher"),
        ({"state_dict": {**below("encoder_q.", STATE), **below("encoder_k.", OTHER), "queue": torch.ones(3)}}, "q."),
        ({"state_dict": {**below("backbone.", WITHOUT), "head.weight": torch.ones(3, 512)}}, "1 others are left out"),
    ],
    ids=["Lightning", "arguments", "tutorial", "EMA", "DINO", "MoCo", "with a head"],
)
def test_a_checkpoint_gives_its_weights_and_says_which(tmp_path: Path, content: object, part: str) -> None:
    backbone = build_backbone(NAME, saved(tmp_path, content))
    assert torch.equal(next(backbone.parameters()), STATE["conv1.weight"])
    assert part in backbone.notes[0]


def test_numbers_beside_the_tensors_do_no_harm(tmp_path: Path) -> None:
    backbone = build_backbone(NAME, saved(tmp_path, {**STATE, "epoch": 7, "name": "mine"}))
    assert torch.equal(next(backbone.parameters()), STATE["conv1.weight"])
    assert not backbone.notes


def test_a_submodule_that_was_compiled_is_known(tmp_path: Path) -> None:
    compiled = {name.replace("layer1.0.", "layer1.0._orig_mod."): tensor for name, tensor in STATE.items()}
    assert torch.equal(first(saved(tmp_path, compiled)), STATE["conv1.weight"])


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_partial_fit_names_what_is_missing(tmp_path: Path, prefix: str) -> None:
    part = {name: tensor for name, tensor in STATE.items() if not name.startswith("layer4.1.conv")}
    part["conv1.weight"] = part["conv1.weight"][:, :1].contiguous()
    with pytest.raises(
        UserError, match=r"2 of 122 tensors are missing \(layer4\.1\.conv1\.weight, layer4\.1\.conv2"
    ) as e:
        first(saved(tmp_path, below(prefix, part)))
    assert "1 are of another shape (conv1.weight)" in str(e.value)
    with pytest.raises(UserError, match=r"1 are unknown \(layer9\.weight\)"):
        first(saved(tmp_path, {**STATE, "layer9.weight": torch.ones(2)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    broken = {**STATE, "layer3.0.conv1.weight": torch.full_like(STATE["layer3.0.conv1.weight"], value)}
    with pytest.raises(UserError, match=r"294912 of 294912 weights of layer3\.0\.conv1\.weight are NaN or infinite"):
        first(saved(tmp_path, broken))


def test_a_timm_network_takes_no_file_that_lacks_a_layer(tmp_path: Path) -> None:
    name = "timm/resnet10t"
    whole = timm.create_model("resnet10t", num_classes=3).state_dict()
    assert torch.equal(first(saved(tmp_path, whole), name), next(iter(whole.values())))
    lacking = {key: tensor for key, tensor in whole.items() if not key.startswith("layer4.0.bn2.")}
    with pytest.raises(UserError, match=r"are missing \(layer4\.0\.bn2\.weight, "):
        first(saved(tmp_path, lacking), name)


def test_a_module_of_ones_own_takes_what_others_take(tmp_path: Path) -> None:
    net = nn.Sequential(inner := nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    other = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).state_dict()
    path = saved(tmp_path, {"model": below("module.", other), "epoch": 1})
    backbone = build_backbone(net, path, (4,))
    assert torch.equal(next(backbone.parameters()), other["0.weight"])
    assert "those below 'module.'" in backbone.notes[0]
    with pytest.raises(UserError, match=r"2 of 4 tensors are missing \(2\.weight, 2\.bias\)"):
        build_backbone(net, saved(tmp_path, {"0.weight": other["0.weight"], "0.bias": other["0.bias"]}), (4,))
    inner.weight.data[0] = torch.nan
    with pytest.raises(UserError, match=r"the backbone .*Sequential: 4 of 32 weights of .*0\.weight are NaN"):
        build_backbone(net, "default", (4,))


def test_what_was_taken_of_a_file_is_told_by_train_and_shift(tmp_path: Path, command: Command) -> None:
    for name, seed in (("a", 0), ("b", 7)):
        draw_folder(tmp_path / name, 3, seed=seed)
    torch.manual_seed(0)
    weights = torchvision.models.squeezenet1_1(weights=None).state_dict()
    network = ("--backbone", "squeezenet1_1", "--weights", saved(tmp_path, {"model": below("module.", weights)}))
    domains = ("--source", tmp_path / "a", "--target", tmp_path / "b")
    quick = ("--steps", 2, "--no-report", "--no-baseline", "--out", tmp_path / "run")
    for outcome in (
        command("train", *domains, *network, *quick),
        command("shift", tmp_path / "a", tmp_path / "b", *network, "--permutations", 19),
    ):
        assert outcome.code == 0, outcome.err
        assert "of its 'model' those below 'module.' are taken" in outcome.err


@pytest.mark.parametrize(
    ("scale", "code", "says"), [(0.0, 0, "makes the same features of all 6 rows"), (1e30, 2, "makes NaN")]
)
def test_features_that_say_nothing_are_told(
    tmp_path: Path, command: Command, scale: float, code: int, says: str
) -> None:
    for name, seed in (("a", 0), ("b", 7)):
        draw_folder(tmp_path / name, 3, seed=seed)
    torch.manual_seed(0)
    weights = {key: scale * x for key, x in torchvision.models.squeezenet1_1(weights=None).state_dict().items()}
    network = ("--backbone", "squeezenet1_1", "--weights", saved(tmp_path, weights))
    outcome = command("shift", tmp_path / "a", tmp_path / "b", *network, "--permutations", 19)
    assert outcome.code == code
    assert says in outcome.err
