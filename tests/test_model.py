"""A model's file: the first format is read, a backbone's weights are found again or asked for, and not mistaken."""

from pathlib import Path

import pytest
import torch
from conftest import Command, draw_folder
from safetensors.torch import load_file, save_file
from torch import Tensor

from jointadapt import Model, from_arrays, read_domain
from jointadapt.errors import UserError
from jointadapt.networks.backbones import build_backbone

FLOAT32 = 1e-6  # of a probability, on another machine
OLD = Path(__file__).parent / "data" / "model-of-the-first-format.safetensors"
NETWORK = ("--backbone", "squeezenet1_1", "--steps", 2, "--batch-size", 2, "--workers", 0)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with pictures of two domains, a benchmark of them, and a backbone's weights."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 0), ("b", 7)):
        draw_folder(tmp_path / "pictures" / name, 3, seed=seed)
    (tmp_path / "two.toml").write_text("[domains.a]\npath = 'a'\n[domains.b]\npath = 'b'\n")
    return tmp_path


def _weights(file: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_file(build_backbone("squeezenet1_1", "none").body.state_dict(), file)
    return file


def _compare(command: Command, weights: object, out: Path) -> Path:
    """Return the run folder of source-only, a → b, of a comparison."""
    table = ("compare", "--benchmark", "two.toml", "--root", "pictures", "--methods", "source-only", "--seeds", 1)
    outcome = command(*table, "--tasks", "a2b", *NETWORK, "--weights", weights, "--out", out, "--jobs", 1)
    assert outcome.code == 0, outcome.err
    (run,) = (out / "runs").iterdir()
    return run


def _probabilities(path: Path, **given: object) -> Tensor:
    return Model.load(path, **given).predict_proba(read_domain("pictures/b"))


def test_a_file_of_the_first_format_is_read():
    model = Model.load(OLD)
    x = [
        [0.12573022, -0.13210486, 0.64042265],
        [0.10490012, -0.53566937, 0.36159505],
        [1.30400005, 0.94708096, -0.70373524],
        [-1.26542147, -0.62327446, 0.04132598],
    ]
    expected = [0.5410655, 0.5389918, 0.73804957, 0.5018487]
    found = model.predict_proba(from_arrays(torch.tensor(x)))
    torch.testing.assert_close(found[:, 1], torch.tensor(expected), rtol=0, atol=FLOAT32)
    assert (model.config.method, model.config.steps, model.config.weight_decay) == ("mcc", 5, 5e-4)
    assert not model.network.frozen


def test_a_head_finds_its_backbone_by_the_weights_and_asks_for_them_where_they_have_moved(command: Command, here: Path):
    run = _compare(command, _weights(here / "w.safetensors"), here / "table")
    assert not any(name.startswith("backbone.") for name in load_file(run / "model.safetensors"))
    before = _probabilities(run)
    (here / "w.safetensors").rename(here / "moved.safetensors")
    with pytest.raises(UserError, match=r"w\.safetensors, are not there; give the file with --weights FILE"):
        Model.load(run)
    assert torch.equal(_probabilities(run, weights="moved.safetensors"), before)
    predicted = command("predict", run, "pictures/b", "--weights", "moved.safetensors")
    assert predicted.code == 0
    assert len(predicted.out.splitlines()) == 7


def test_a_head_is_shared_with_its_backbone(command: Command, here: Path):
    run = _compare(command, _weights(here / "w.safetensors"), here / "table")
    before = _probabilities(run)
    assert command("card", run, "--out", "shared").code == 0
    (here / "w.safetensors").unlink()
    assert any(name.startswith("backbone.") for name in load_file(here / "shared" / "model.safetensors"))
    assert torch.equal(_probabilities(here / "shared"), before)


def test_a_head_takes_no_other_weights_than_it_was_trained_with(command: Command, here: Path):
    run = _compare(command, _weights(here / "w.safetensors"), here / "table")
    _weights(here / "w.safetensors", seed=1)
    with pytest.raises(UserError, match="trained with other weights of squeezenet1_1 than there are now"):
        Model.load(run)


def test_random_weights_are_kept_with_the_model(command: Command, here: Path):
    run = _compare(command, "none", here / "table")
    assert any(name.startswith("backbone.") for name in load_file(run / "model.safetensors"))
    assert torch.equal(_probabilities(run), _probabilities(run))
    assert torch.equal(_probabilities(run, weights=_weights(here / "w.safetensors")), _probabilities(run))
    with pytest.raises(UserError, match="trained with the backbone squeezenet1_1; leave --backbone out"):
        Model.load(run, backbone="resnet18")


def test_a_network_that_asks_its_weights_for_their_version_is_read_again(command: Command, here: Path):
    network = ("--backbone", "mnasnet0_5", "--weights", "none", *NETWORK[2:])
    trained = command(
        "train", "--source", "pictures/a", "--target", "pictures/b", *network, "--out", "run", "--no-report"
    )
    assert trained.code == 0, trained.err
    before = _probabilities(here / "run")
    save_file(build_backbone("mnasnet0_5", "none").body.state_dict(), here / "w.safetensors")
    assert build_backbone("mnasnet0_5", str(here / "w.safetensors")).widths == (1280,)
    assert before.shape == (6, 2)
