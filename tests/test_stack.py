"""Runs that train as one come out as they do alone: weights, statistics, losses, checkpoints, files."""

import copy
import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from jointadapt.config import Config, make_config
from jointadapt.data import Batches, from_arrays
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment import Run, execute_together
from jointadapt.experiment.fit import Training
from jointadapt.experiment.prepare import prepare
from jointadapt.methods import METHODS
from jointadapt.methods.build import build_method
from jointadapt.methods.names import takes_runs
from jointadapt.networks.features import PrecomputedFeatures
from jointadapt.networks.network import Head, Network
from jointadapt.runs.reading import read_summary
from jointadapt.runtime.progress import silent
from jointadapt.training.stack import Stack, stacking_key
from jointadapt.training.trainer import Record, Trainer

STEPS = 6
STACKED = ["source-only", "ddc", "dan", "jan", "coral", "mcc", "bnm", "im", "entropy", "afn", "nwd"]
ALONE = sorted({*METHODS} - {*STACKED})
FABRIC = Fabric(accelerator="cpu", devices=1)
FLOAT64, FLOAT32 = 1e-10, 2e-5
"""Relative errors of weights after `STEPS` steps; float32's is that of sums whose order differs, amplified a little."""


def batches(seed: int, dtype: torch.dtype, width: int = 7) -> Batches:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, width, generator=generator, dtype=dtype)
    source = from_arrays(x.float(), torch.arange(60) % 3, "source")
    target = from_arrays((x[:40] + 1).float(), None, "target")
    return Batches(source, target, batch_size=12, seed=seed)


def trainer(
    method: str, seed: int, dtype: torch.dtype, widths: Sequence[int] = (7,), bottleneck: int = 5, **options
) -> Trainer:
    torch.manual_seed(seed)
    network = Network(
        PrecomputedFeatures(widths), Head(widths, 3, bottleneck, options.pop("dropout", 0.5)), frozen=True
    )
    built = build_method(method, network.widths, options)
    return Trainer(FABRIC, network.to(dtype), built, steps=STEPS, ceiling=built.trade_off)


def as_given(own: Batches, step: int, dtype: torch.dtype):
    batch = own[step]
    return batch._replace(x_s=batch.x_s.to(dtype), x_t=batch.x_t.to(dtype))


def alone(
    runs: Sequence[tuple[Trainer, Batches]], dtype: torch.dtype, steps: range = range(STEPS)
) -> list[list[Record]]:
    return [list(one.train(as_given(own, step, dtype) for step in steps)) for one, own in runs]


def together(
    runs: Sequence[tuple[Trainer, Batches]], dtype: torch.dtype, steps: range = range(STEPS)
) -> list[list[Record]]:
    stack = Stack([one for one, _ in runs])
    given = ([as_given(own, step, dtype) for _, own in runs] for step in steps)
    records = [*zip(*stack.train(given), strict=True)]
    stack.release()
    return records


def run(dtype: torch.dtype, **order) -> tuple[Trainer, Batches]:
    return trainer(dtype=dtype, **order), batches(order["seed"], dtype, sum(order.get("widths", (7,))))


def apart(dtype: torch.dtype, orders: Sequence[dict]) -> list[tuple[Trainer, Batches]]:
    runs = []
    for order in orders:
        runs.append(run(dtype, **order))
        runs[-1][0].draw_apart()
    return runs


def compared(orders: Sequence[dict], dtype: torch.dtype, close: float) -> None:
    expected = []
    for order in orders:
        one = run(dtype, **order)
        expected.append((alone([one], dtype)[0], one[0].state()))
    runs = apart(dtype, orders)
    assert len({stacking_key(one) for one, _ in runs}) == 1
    assert stacking_key(runs[0][0]) is not None
    records = together(runs, dtype)
    for (one, _), own, (theirs, wanted) in zip(runs, records, expected, strict=True):
        for a, b in zip(own, theirs, strict=True):
            assert a.numbers() == pytest.approx(b.numbers(), rel=close, abs=close)
        state = one.state()
        for part in ("objective", "optimizer"):
            torch.testing.assert_close(state[part], wanted[part], rtol=close, atol=close)
        assert state["step"] == wanted["step"]
        assert torch.equal(state["rng_state"]["torch"], wanted["rng_state"]["torch"])


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, FLOAT64), (torch.float32, FLOAT32)])
@pytest.mark.parametrize("method", STACKED)
def test_a_run_in_a_stack_is_the_run_alone(method, dtype, close):
    compared([{"method": method, "seed": seed} for seed in (3, 1, 2)], dtype, close)


MIXED = [
    {"method": "jan", "seed": 0},
    {"method": "jan+mcc", "seed": 1, "trade_off": [0.3, 2.0]},
    {"method": "mcc", "seed": 0, "mcc_temperature": 1.5},
    {"method": "mcc", "seed": 2, "trade_off": 0.1},
    {"method": "jan", "seed": 3, "estimator": "biased", "bandwidth": 2.0},
    {"method": "nwd+entropy", "seed": 4},
]


@pytest.mark.parametrize("options", [{}, {"dropout": 0.0}, {"widths": (4, 3), "bottleneck": 0}], ids=str)
def test_runs_of_several_methods_options_and_trade_offs_stack(options):
    compared([{**order, **options} for order in MIXED], torch.float64, FLOAT64)


@pytest.mark.parametrize("method", ALONE)
def test_a_method_that_takes_no_runs_trains_alone(method):
    assert stacking_key(trainer(method, 0, torch.float32)) is None
    assert not takes_runs(method)


@pytest.mark.parametrize(
    "options", [{"estimator": "linear"}, {"kernel_weights": "optimal"}, {"target_weights": "certainty"}], ids=str
)
def test_an_option_without_a_form_for_several_runs_trains_alone(options):
    assert stacking_key(trainer("jan", 0, torch.float32, **options)) is None


def test_what_a_subclass_does_with_several_runs_is_not_known():
    class Mine(METHODS["mcc"]):
        pass

    assert METHODS["mcc"]((5, 3)).stacking_key() is not None
    assert Mine((5, 3)).stacking_key() is None


def test_a_stack_that_was_stopped_goes_on_to_the_last_bit():
    orders = [{"method": "jan", "seed": seed} for seed in (0, 1)]
    whole = apart(torch.float32, orders)
    together(whole, torch.float32)
    half = apart(torch.float32, orders)
    stack = Stack([one for one, _ in half])
    for _ in stack.train([as_given(own, step, torch.float32) for _, own in half] for step in range(3)):
        pass
    states = [copy.deepcopy(one.state()) for one, _ in half]
    again = apart(torch.float32, orders)
    for (one, _), state in zip(again, states, strict=True):
        assert all(x.untyped_storage().nbytes() == x.nbytes for x in state["objective"].values())
        one.restore(state)
        one.draw_apart()
    together(again, torch.float32, range(3, STEPS))
    for (one, _), (other, _) in zip(again, whole, strict=True):
        a, b = one.state(), other.state()
        torch.testing.assert_close(a["objective"], b["objective"], rtol=0, atol=0)
        torch.testing.assert_close(a["optimizer"], b["optimizer"], rtol=0, atol=0)


def test_a_run_leaves_a_stack_and_goes_on_alone():
    (one, own), other = apart(torch.float64, [{"method": "jan", "seed": seed} for seed in (0, 1)])
    together([(one, own), other], torch.float64, range(2))
    one.draw_as_ever()
    alone([(one, own)], torch.float64, range(2, STEPS))
    expected = run(torch.float64, method="jan", seed=0)
    alone([expected], torch.float64)
    found, wanted = one.state()["objective"], expected[0].state()["objective"]
    torch.testing.assert_close(found, wanted, rtol=FLOAT64, atol=FLOAT64)


# Whole runs


def configs(folder: Path, *methods: str, **options) -> list[Config]:
    given = {"steps": 24, "batch_size": 12, "backbone": "none", "baseline": False, "report": False, **options}
    return [
        make_config({**given, "method": method, "seed": seed, "out": str(folder / f"{method}-{seed}")})
        for method in methods
        for seed in (0, 1)
    ]


def data(config: Config, scale: float = 1.0):
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(60) % 3
    x = torch.randn(60, 6, generator=generator) + torch.nn.functional.one_hot(y, 6) * 2
    source = from_arrays((x * scale).numpy(), y.numpy(), "source")
    target = from_arrays(((x[:40] + 0.5) * scale).numpy(), y[:40].numpy(), "target")
    return prepare(config, source, target, torch.device("cpu"), Path(config.out), silent)


def executed(given: Sequence[Config], scales: Sequence[float] = ()) -> list[Run | UserError]:
    scales = scales or [1.0] * len(given)
    return execute_together(given, [data(config, scale) for config, scale in zip(given, scales, strict=True)])


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many runs each stack has."""
    sizes: list[int] = []

    def count(trainers: Sequence[Trainer]) -> Stack:
        sizes.append(len(trainers))
        return Stack(trainers)

    monkeypatch.setattr("jointadapt.experiment.together.Stack", count)
    return sizes


def numbers(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_files_of_a_run_that_was_trained_with_others_are_its_own(tmp_path, stacks):
    methods = ("jan", "mcc", "dann", "source-only")
    runs = executed(configs(tmp_path / "together", *methods))
    assert sorted(stacks) == [2, 4]
    assert all(isinstance(one, Run) for one in runs)
    for config in configs(tmp_path / "alone", *methods):
        (own,) = executed([config])
        folder = tmp_path / "together" / Path(config.out).name
        assert {path.name for path in Path(config.out).iterdir()} == {path.name for path in folder.iterdir()}
        for ours, theirs in zip(numbers(folder), numbers(Path(config.out)), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
        ours, theirs = (read_summary(path).to_json() for path in (folder, Path(config.out)))
        for part in ("evaluation", "method", "seed", "steps", "source", "target", "warnings"):
            assert ours[part] == theirs[part]
        chosen = [summary["selection"]["choices"] for summary in (ours, theirs)]
        assert {rule: choice["step"] for rule, choice in chosen[0].items()} == {
            rule: choice["step"] for rule, choice in chosen[1].items()
        }
        assert own.summary.confidence == pytest.approx(read_summary(folder).confidence, rel=1e-4)
        sizes = [sum(file.stat().st_size for file in path.rglob("*.pt")) for path in (folder, Path(config.out))]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.02)  # no checkpoint holds another run's weights


def test_an_interrupted_stack_resumes(tmp_path, monkeypatch):
    whole = executed(configs(tmp_path / "whole", "jan", "mcc"))
    requests = iter([[]] * 9 + [[15]] * 99)
    asked = []

    @contextmanager
    def stop_requests():
        yield asked

    real = Training.follow

    def follow(self, record, stop):
        asked[:] = next(requests)
        real(self, record, stop)

    with monkeypatch.context() as patch:
        patch.setattr("jointadapt.experiment.together.stop_requests", stop_requests)
        patch.setattr(Training, "follow", follow)
        with pytest.raises(Interrupted):
            executed(configs(tmp_path / "run", "jan", "mcc"))
    kept = sorted(path.name for path in (tmp_path / "run").rglob("*.pt"))
    assert len({*kept}) < len(kept)
    again = executed(configs(tmp_path / "run", "jan", "mcc"))
    for one, other in zip(whole, again, strict=True):
        assert isinstance(one, Run)
        assert isinstance(other, Run)
        first, second = ((run.folder / "predictions.csv").read_bytes() for run in (one, other) if run.folder)
        assert first == second
        torch.testing.assert_close(one.model.network.state_dict(), other.model.network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("method", ["mcc", "bnm"])
def test_a_run_that_diverges_costs_no_other(tmp_path, stacks, method):
    given = [*configs(tmp_path / "run", method, "entropy"), *configs(tmp_path / "wild", method)]
    found = executed(given, [1.0, 1.0, 1.0, 1.0, 1.0, 1e30])
    assert isinstance(found[-1], UserError)
    assert "training diverged at step" in str(found[-1])
    assert not (Path(given[-1].out) / "summary.json").exists()
    assert stacks == [6, 5]
    for config, own in zip(given[:-1], found, strict=False):
        (alone_,) = executed([replace(config, out=str(tmp_path / "alone" / config.out.replace("/", "-")))])
        assert isinstance(own, Run)
        assert isinstance(alone_, Run)
        assert own.summary.confidence == pytest.approx(alone_.summary.confidence, rel=1e-4)
        assert own.summary.evaluation == alone_.summary.evaluation


def test_an_error_that_is_nobodys_fault_is_not_hidden(tmp_path, monkeypatch):
    def broken(*activations):  # noqa: ARG001
        raise RuntimeError("no memory")

    monkeypatch.setattr(METHODS["mcc"], "forward", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        executed(configs(tmp_path, "mcc"))
