"""What is done to a domain's rows before the network: fitted once, applied to both domains, carried by the model."""

import csv
import io

import numpy as np
import pytest
import torch

from jointadapt import Model, train
from jointadapt.data import from_arrays
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pictures import Pictures
from jointadapt.inputs.pipeline import STEPS, fit_inputs, restore_inputs


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return two files of small pictures: 12 × 12 in colour and 8 × 8 in grey, a bright half says the class."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, shape in (("source", (12, 12, 3)), ("target", (8, 8))):
        y = np.arange(40) % 2
        x = rng.integers(0, 60, (40, *shape)).astype(np.uint8)
        for row, label in enumerate(y):
            x[row, label * shape[0] // 2 : (label + 1) * shape[0] // 2] += 150
        np.savez(folder / f"{name}.npz", x=x, y=y)
    return folder


@pytest.fixture(scope="module")
def run(pictures):
    domains = pictures / "source.npz", pictures / "target.npz"
    with pytest.warns(UserWarning, match="8 × 8 pixels are brought to 12 × 12"):
        return train(*domains, pictures / "run", steps=10, baseline=False)


def test_each_verb_takes_the_very_target_of_another_size(command, pictures, run):
    def asked(*args: object) -> str:
        outcome = command(*args)
        assert outcome.code == 0, outcome.err
        return outcome.out

    with (run.folder / "predictions.csv").open() as file:
        written = {row["item"]: row["class"] for row in csv.DictReader(file)}
    printed = csv.DictReader(io.StringIO(asked("predict", run.folder, pictures / "target.npz")))
    assert {row["item"]: row["class"] for row in printed} == written
    accuracy = run.summary.evaluation.accuracy
    assert f"{accuracy:.2f} %" in asked("evaluate", run.folder, pictures / "target.npz")
    assert asked("suggest-labels", run.folder, "--budget", 3).count("\n") == 4
    assert "different" in asked("shift", pictures / "source.npz", pictures / "target.npz", "--run", run.folder)
    assert asked("analyze", run.folder, "--out", pictures / "figures")


def test_domains_of_two_sizes_are_tested_without_a_run(command, pictures):
    outcome = command("shift", pictures / "source.npz", pictures / "target.npz", "--permutations", 99)
    assert "different" in outcome.out, outcome.err


def test_what_was_done_is_told_and_kept(run):
    assert any("8 × 8 pixels are brought to 12 × 12" in note for note in run.summary.warnings)
    assert Model.load(run.folder).inputs == run.model.inputs
    assert run.model.inputs.steps[-1] == Pictures((3, 12, 12))


def test_a_ready_domain_passes_as_it_is(run):
    x = torch.rand(4, 20, 20)
    ready = run.model.inputs.target(from_arrays(x))
    assert ready.shape == (3, 12, 12)
    assert run.model.inputs.target(ready) is ready


def test_pictures_that_no_step_can_mend_are_refused(run):
    with pytest.raises(Exception, match=r"this model reads arrays with rows of shape \(3, 12, 12\)"):
        run.model.predict(from_arrays(torch.rand(4, 12, 12, 2)))


def test_steps_are_restored_from_plain_values():
    source, target = from_arrays(torch.rand(5, 6, 6)), from_arrays(torch.rand(5, 4, 4, 3))
    inputs, *ready = fit_inputs(InputOptions(), source, target)
    assert [domain.shape for domain in ready] == [(3, 6, 6)] * 2
    assert restore_inputs(inputs.values(), inputs.tensors()) == inputs
    assert len({step.name for step in STEPS}) == len(STEPS)
