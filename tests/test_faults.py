"""What may befall a run: processes killed, disks full, files damaged, numbers that are not finite, hostile input."""

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, write_arrays
from fault_campaign import Campaign, Pictures, campaign
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from jointadapt.config import Config
from jointadapt.data.arrays import from_arrays
from jointadapt.data.batches import Batch, Batches
from jointadapt.data.reading import read_domain
from jointadapt.data.worker_restart import load
from jointadapt.errors import UserError
from jointadapt.evaluation.predict import network_outputs
from jointadapt.experiment import train
from jointadapt.methods.build import build_method
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.network import Head, Network
from jointadapt.training.monitor import FIRST_STEP, CollapseMonitor
from jointadapt.training.sgd import momentum_step
from jointadapt.training.trainer import Condition, Trainer

ROUNDING = 1e-12  # of a share that is 0 in exact arithmetic

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs processes that can be forked and killed")


# The campaign


@pytest.mark.slow
def test_nothing_is_lost_in_the_whole_campaign(tmp_path: Path) -> None:
    rows = list(campaign(tmp_path, 10))
    assert rows[0].injected == 50
    assert sum(row.injected for row in rows) >= 150
    assert [row.fault for row in rows if row.lost] == []


def test_nothing_is_lost_in_a_short_campaign(tmp_path: Path) -> None:
    arrays = Campaign(tmp_path, seed=1, steps=32)
    rows = [arrays.kills(2), arrays.kills_while_writing(2), arrays.requests(2), arrays.damages(2)]
    rows += [arrays.second_processes(1), arrays.full_disks(1), arrays.clocks(1)]
    assert all(row.injected for row in rows)
    assert [row.fault for row in rows if row.lost] == []


def test_no_features_are_lost_to_a_full_disk_or_a_second_process(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path)
    rows = [pictures.full_disks(2), pictures.shared_caches(2)]
    assert [row.injected for row in rows] == [2, 2]
    assert [row.fault for row in rows if row.lost] == []


# Workers


class _Numbers(torch.utils.data.Dataset):
    """Squares; one of them kills whoever makes it, until a file is there (never, where there is no file to be)."""

    def __init__(self, deadly: int, once: Path | None) -> None:
        self.deadly, self.once = deadly, once

    def __getitem__(self, index: int) -> int:
        if index == self.deadly and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return index**2


def _loader(numbers: _Numbers) -> Callable[[int], DataLoader]:
    return lambda first: DataLoader(
        numbers, batch_size=None, sampler=range(first, 12), num_workers=1, generator=torch.Generator()
    )


def test_another_worker_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="was killed; a new one goes on"):
        assert list(load(_loader(_Numbers(7, tmp_path / "killed")), 0, 12)) == [index**2 for index in range(12)]


def test_mistake_within_a_worker_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, index: int) -> int:
        raise RuntimeError(f"no {index}")

    monkeypatch.setattr(_Numbers, "__getitem__", fail)
    with pytest.raises(RuntimeError, match="no 0"):
        list(load(_loader(_Numbers(7, None)), 0, 12))


@pytest.mark.slow
def test_workers_that_die_again_and_again_are_an_error() -> None:
    batches = load(_loader(_Numbers(0, None)), 0, 12)
    with pytest.warns(UserWarning, match="goes on"), pytest.raises(UserError, match=r"killed 4 times.*fewer --workers"):
        list(batches)


# Numbers


def _trainer(steps: int = 10, precision: str = "32-true", **options: float) -> Trainer:
    torch.manual_seed(0)
    network = Network(build_backbone("none", "default", (4,)), Head((4,), 2))
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # pyright: ignore[reportArgumentType]
    return Trainer(fabric, network, build_method("dan", network.widths, vars(Config())), steps=steps, **options)


def _batches(bad: int | None, value: float = math.nan) -> list[Batch]:
    batches = [Batch(torch.randn(8, 4), torch.arange(8) % 2, torch.randn(8, 4)) for _ in range(6)]
    if bad is not None:
        batches[bad].x_t[3, 1] = value
    return batches


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("bad", [0, 3])
def test_first_step_that_is_not_finite_is_found_even_when_asked_for_later(bad: int, value: float) -> None:
    trainer = _trainer()
    assert len(list(trainer.train(_batches(bad, value)))) == 6
    fault = trainer.fault()
    assert fault is not None
    assert fault.step == bad + 1
    assert not math.isfinite(fault.transfer)


def test_gradient_that_is_not_finite_is_found_where_the_loss_is() -> None:
    trainer = _trainer()
    weight = trainer.objective.network.head.classifier.weight
    weight.register_hook(lambda gradient: gradient * math.nan)
    list(trainer.train(_batches(None)[:1]))
    fault = trainer.fault()
    assert fault is not None
    assert fault.step == 1
    assert math.isfinite(fault.risk + fault.transfer)
    assert math.isnan(fault.norm)


@pytest.mark.parametrize("steps", [2, 5])
def test_gradient_that_is_not_finite_is_named_though_only_the_next_loss_shows_it(steps: int) -> None:
    trainer = _trainer()
    weight = trainer.objective.network.head.classifier.weight
    weight.register_hook(lambda gradient: gradient * (math.nan if trainer.step == 1 else 1))
    losses = [record.risk for record in trainer.train(_batches(None)[:steps])]
    fault = trainer.fault(look=steps == 2)
    assert fault is not None
    assert fault.step == 2
    assert math.isfinite(losses[1])


def test_a_step_of_the_kernel_alone_is_the_optimizers() -> None:
    weights = [torch.nn.Parameter(torch.randn(5, 3)), torch.nn.Parameter(torch.randn(5))]
    copies = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "fused": True}
    plain, ours = torch.optim.SGD(weights, **options), torch.optim.SGD(copies, **options)
    for _ in range(3):
        for weight, copy in zip(weights, copies, strict=True):
            weight.grad = torch.randn_like(weight)
            copy.grad = weight.grad.clone()
        plain.step()
        momentum_step(ours)
    assert all(torch.equal(weight, copy) for weight, copy in zip(weights, copies, strict=True))
    assert all(map(torch.equal, *([s["momentum_buffer"] for s in o.state.values()] for o in (plain, ours))))


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_healthy_training_has_no_fault(precision: str) -> None:
    trainer = _trainer(precision=precision)
    kind = torch.float64 if precision == "64-true" else torch.float32
    list(trainer.train([Batch(b.x_s.to(kind), b.y_s, b.x_t.to(kind)) for b in _batches(None)]))
    assert trainer.fault() is None


def test_divergence_names_step_and_rows_and_leaves_no_poisoned_checkpoint(tmp_path: Path, command: Command) -> None:
    write_arrays(tmp_path / "t.npz", seed=2)
    _spoil(write_arrays(tmp_path / "s.npz", seed=1))
    step = _first_step_with("row 7", tmp_path)
    outcome = command(
        *("train", "--source", tmp_path / "s.npz", "--target", tmp_path / "t.npz", "--out", tmp_path / "run"),
        *("--backbone", "none", "--method", "dan", "--batch-size", 3, "--no-report", "--no-baseline"),
        *("--steps", 400, "--checkpoint-every", 1),  # records are of every second step only
    )
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert f"training diverged at step {step} (" in line
    assert "row 7" in line
    assert "Try a smaller --learning-rate or --trade-off" in line
    kept = sorted((tmp_path / "run" / "checkpoints").glob("*.pt"))
    if step > 1:
        assert f"the checkpoint before it is kept, {kept[-1]}" in line
        assert kept[-1].name == f"step-{step - 1:08d}.pt"
        state = torch.load(kept[-1], weights_only=True)
        assert all(tensor.isfinite().all() for tensor in state["objective"].values())  # BatchNorm's statistics, too
    assert not (tmp_path / "run" / "summary.json").exists()


def _spoil(path: Path) -> None:
    """Make row 7 finite, but not its square."""
    with np.load(path) as arrays:
        x, y = arrays["x"], arrays["y"]
    x[7] = 3e38
    np.savez(path, x=x, y=y)


class Cube(nn.Module):
    def forward(self, x):
        return x**3


def test_row_that_no_network_bears_is_named() -> None:
    domain = from_arrays(torch.tensor([[1.0], [math.sqrt(3e38)], [2.0]]), name="t")
    with pytest.raises(UserError, match="t: the network's output is not finite for 1 of 3 rows, the first is row 1;"):
        network_outputs(Network(Backbone(Cube(), (1,)), Head((1,), 2, bottleneck=0)), domain)


def _first_step_with(item: str, folder: Path) -> int:
    source, target = read_domain(folder / "s.npz"), read_domain(folder / "t.npz")
    batches = Batches(source, target, 3, 0)
    return next(step + 1 for step in range(400) if item in batches.items(step)[0])


def test_items_of_a_step_are_its_rows() -> None:
    source, target = from_arrays(torch.randn(7, 2), [0, 1] * 3 + [0]), from_arrays(torch.randn(5, 2))
    batches = Batches(source, target, 3, 4)
    for step in (0, 3):
        items_s, items_t = batches.items(step)
        x_s, y_s, x_t, *_ = batches[step]
        assert torch.equal(source.rows([source.items.index(item) for item in items_s]), x_s)
        assert torch.equal(source.labels[[source.items.index(item) for item in items_s]], y_s)
        assert torch.equal(target.rows([target.items.index(item) for item in items_t]), x_t)


def test_collapse_is_told_once_after_two_looks_in_a_row() -> None:
    checkup = CollapseMonitor(steps=2000)
    assert not checkup.due(FIRST_STEP - 1)
    assert [step for step in range(1, 501) if checkup.due(step)] == [100, 200, 300, 400, 500]
    bad, good = Condition(1, 1e-5), Condition(2, 0.5)
    told = [checkup.look(100 * n, condition) for n, condition in enumerate((bad, good, bad, bad, bad), 1)]
    assert [len(notes) for notes in told] == [0, 0, 0, 2, 0]
    assert all("since step 300 all examples of a domain" in note for note in told[3])
    assert "Try a smaller --trade-off" in told[3][0]


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_condition_sees_collapsed_features_through_dropout_and_changes_nothing(precision: str) -> None:
    trainer, other = _trainer(precision=precision), _trainer(precision=precision)
    for each in (trainer, other):
        torch.manual_seed(1)
        list(each.train(_batches(None)))
    condition = trainer.condition()
    assert condition.classes == 2
    assert 0.01 < condition.spread <= 1
    states = trainer.objective.state_dict(), other.objective.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert trainer.objective.training
    with torch.no_grad():
        trainer.objective.network.head.bottleneck[0].weight.zero_()
    condition = trainer.condition()
    assert condition.classes == 1
    assert condition.spread < ROUNDING


def test_training_that_collapses_is_told_while_it_does(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    options = {"weight_decay": 30.0, "dropout": 0.0, "steps": 200, "baseline": False, "report": False}
    with pytest.warns(UserWarning, match=r"jan, step 110: the predictions have collapsed: since step 100 all examples"):
        train((x, x[:, 0] > 0), x + 1, out=tmp_path / "run", **options)
