"""`jointadapt shift`: do two domains differ, as they are and as a trained model sees them?"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, draw_folder, write_arrays

from jointadapt.diagnostics.label_suggestion import suggest_labels
from jointadapt.diagnostics.shift import measure_shift
from jointadapt.diagnostics.shift_kind import diagnose
from jointadapt.two_sample import optimal_weights, two_sample_test


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with two domains of arrays, and a third that equals the first in distribution."""
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2, shift=2.0)
    write_arrays(tmp_path / "again.npz", seed=3)
    return tmp_path


def test_two_domains_that_differ_and_two_that_do_not(command: Command):
    found = command("shift", "s.npz", "t.npz")
    assert found.code == 0
    assert "different at the 5 % level" in found.out
    assert "MMD² = " in found.out
    assert "(permutation test, 1,000 permutations)" in found.out
    assert "no difference found at the 5 % level" in command("shift", "s.npz", "again.npz").out


def test_the_numbers_and_the_plot_are_written_once(here: Path, command: Command, refused: Callable[..., str]):
    options = ("--method", "aggregated", "--permutations", 99, "--level", 0.1)
    printed = json.loads(command("shift", "s.npz", "t.npz", *options, "--out", "found", "--json").out)
    written = json.loads((here / "found" / "shift.json").read_text("utf-8"))
    assert written == printed
    (test,) = written["tests"]
    assert test["method"] == "aggregated"
    assert test["rejected"]
    assert {file.name for file in (here / "found").iterdir()} == {"shift.json", "null.svg", "null.png"}
    assert "MMD-FUSE" in (here / "found" / "null.svg").read_text("utf-8")
    assert "holds shift.json" in refused("shift", "s.npz", "t.npz", "--out", "found")


def test_a_run_s_model_is_asked_too(command: Command):
    training = ("--backbone", "none", "--steps", 20, "--no-report", "--no-baseline", "--batch-size", 8)
    command("train", *training, "--source", "s.npz", "--target", "t.npz", "--out", "run")
    found = command("shift", "s.npz", "again.npz", "--run", "run", "--json")
    of = [test["of"] for test in json.loads(found.out)["tests"]]
    assert of == ["examples as they are", "features × predictions of the jan model, jointly"]
    assert "these examples are not held out" in found.err


def test_options_that_no_test_can_be_made_with_are_refused(refused: Callable[..., str]):
    assert "19 or more" in refused("shift", "s.npz", "t.npz", "--permutations", 5)
    assert "level must lie between" in refused("shift", "s.npz", "t.npz", "--level", 2)
    assert "leave --backbone out" in refused("shift", "s.npz", "t.npz", "--backbone", "resnet50")


def states() -> tuple[object, ...]:
    """Return the states of torch's and NumPy's generators; from Python's the checker of types under pytest draws."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return torch.get_rng_state().tolist(), name, np.asarray(keys).tolist(), rest


def test_the_caller_s_random_generators_are_left_alone(here: Path, command: Command):
    draw_folder(here / "cams", 4)
    draw_folder(here / "webs", 4, seed=7)
    training = ("--backbone", "none", "--steps", 5, "--no-report", "--no-baseline", "--batch-size", 8)
    command("train", *training, "--source", "s.npz", "--target", "t.npz", "--out", "run")
    x, y = (torch.randn(20, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    images = {"backbone": "squeezenet1_1", "weights": "none", "permutations": 19, "workers": 0}
    before = states()
    first, second = (measure_shift("cams", "webs", **images) for _ in range(2))
    measure_shift("s.npz", "t.npz", "run")
    suggest_labels("run", 3)
    diagnose(x, torch.arange(20) % 2, y)
    optimal_weights(x, y)
    for method in ("permutation", "aggregated", "cross", "fourier", "linear"):
        two_sample_test(x, y, method=method)
    assert states() == before
    assert first.to_dict() == second.to_dict()  # the random weights repeat all the same
