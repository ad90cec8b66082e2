"""One process or many, the same numbers: gathered rows, pooled statistics, shares of a batch, runs on two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import Command, draw_folder, write_arrays
from lightning_fabric import Fabric
from torch import nn

from jointadapt import cli
from jointadapt.data import Batches, Preprocessing, read_domain
from jointadapt.data.batches import Batch
from jointadapt.errors import UserError
from jointadapt.methods.build import build_method
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.network import Head, Network
from jointadapt.training.distributed import PooledBatchNorm, Ranks, pool_batch_norm, reporting_lost_ranks
from jointadapt.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import rank_equality

FLOAT32, FLOAT64 = 1e-6, 1e-10
"""Differences of the first step's terms, and of its gradients relative to the largest, from one process."""
ROUNDED = {"afn": 2, "shot": 2, "jan-a": 2, "jan-a+mcc --sam-rho 0.05": 2}
"""Times FLOAT32 that the gradients of these may differ: with other instructions of the CPU, AFN's and JAN-A's do
by 1.3e-6."""
TRAINED = 100
"""Times that after three steps of training: each step starts from the differences of the one before."""
PATIENCE = 120  # seconds
ENDS_WITHIN = 30  # seconds, after another rank was lost
SAME_ROWS = 1e-5
"""Differences of probabilities after a short training in float32."""


@pytest.fixture(scope="module")
def alone():
    return rank_equality.train_all(1)


@pytest.fixture(scope="module", params=[2, 4])
def together(request):
    return rank_equality.on_ranks(request.param)


@pytest.mark.parametrize("method", rank_equality.CASES)
@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", FLOAT32), ("64-true", FLOAT64)])
def test_terms_gradients_and_weights_are_those_of_one_process(together, alone, method, precision, tolerance) -> None:
    expected = alone[precision, method]
    rounded = ROUNDED.get(method, 1) if precision == "32-true" else 1
    assert expected["gradients"].abs().max() > 0
    for numbers in together:
        worst = rank_equality.difference(numbers[precision, method], expected)
        assert worst["terms"] < tolerance
        assert worst["gradients"] < rounded * tolerance
        assert worst["trained"] < TRAINED * tolerance


def test_sums_of_fourier_features_need_no_gathering(together, alone) -> None:
    for numbers in together:
        worst = rank_equality.difference(
            numbers["64-true", rank_equality.REDUCED], alone["64-true", rank_equality.REDUCED]
        )
        assert worst["terms"] < FLOAT64
        assert worst["gradients"] < FLOAT64


def test_one_rank_communicates_nothing() -> None:
    x, ranks = torch.randn(3, 2), Ranks()
    assert ranks.gather(x, ranks.numbers(1, 2, device=x.device)) is x
    state = torch.get_rng_state()
    with ranks.own_rng(0, x.device):
        torch.rand(1)
    assert not torch.equal(torch.get_rng_state(), state)


def test_only_plain_batch_norm_is_pooled() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))
    pool_batch_norm(module)
    assert isinstance(module[1][0], PooledBatchNorm)

    class Other(nn.BatchNorm1d):
        pass

    with pytest.raises(UserError, match="Other layer cannot take its statistics"):
        pool_batch_norm(nn.Sequential(Other(2)))


def test_pooled_batch_norm_is_batch_norm_in_evaluation() -> None:
    plain = nn.BatchNorm2d(3)
    plain(torch.randn(4, 3, 2, 2))
    module = nn.Sequential(plain)
    pool_batch_norm(module)
    x = torch.randn(2, 3, 2, 2)
    assert torch.equal(module.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_of_a_batch_are_the_batch(tmp_path: Path, parts: int) -> None:
    domain = read_domain(draw_folder(tmp_path / "a", 4))
    transform = Preprocessing(32, 32).training()
    whole = Batches(domain, domain, 5, 1, transform)[3]
    shares = [Batches(domain, domain, 5, 1, transform, (part, parts))[3] for part in range(parts)]
    for own, of_all in zip(zip(*(share[:3] for share in shares), strict=True), whole[:3], strict=True):
        assert torch.equal(torch.cat(own), of_all)


def _pretrained(recompute_chunks: int, channels_last: bool = False, compiled: bool = False) -> Trainer:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    network = Network(Backbone(body, (16,), pretrained=True), Head((16,), 3, bottleneck=8))
    return Trainer(
        Fabric(accelerator="cpu", devices=1, precision="64-true"),
        network,
        build_method("jan", network.widths, {}),
        steps=4,
        recompute_chunks=recompute_chunks,
        channels_last=channels_last,
        compiled=compiled,
    )


def _trained(trainer: Trainer) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20, 3, 8, 8, generator=generator, dtype=torch.float64)
    trainer.step = 1
    for _ in trainer.train([Batch(x[:10], torch.arange(10) % 3, x[10:] + 1)] * 2):
        pass
    return torch.cat([p.detach().flatten() for p in trainer.objective.parameters()])


@pytest.mark.parametrize(
    "options", [{"recompute_chunks": 3}, {"recompute_chunks": 20}, {"recompute_chunks": 1, "channels_last": True}]
)
def test_accumulation_and_layout_change_no_number(options) -> None:
    torch.testing.assert_close(_trained(_pretrained(**options)), _trained(_pretrained(1)), rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiling_changes_no_number() -> None:
    torch.testing.assert_close(
        _trained(_pretrained(1, compiled=True)), _trained(_pretrained(1)), rtol=FLOAT64, atol=FLOAT64
    )


def test_accumulation_remembers_less_for_the_way_back() -> None:
    kept = {}
    for recompute_chunks in (1, 5):
        sizes: list[int] = []
        trainer, x = _pretrained(recompute_chunks), torch.randn(20, 3, 8, 8, dtype=torch.float64)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            trainer.objective(x[:10], torch.arange(10) % 3, x[10:])
        kept[recompute_chunks] = sum(sizes)
    assert kept[5] < kept[1] / 2


def test_accumulation_is_refused_where_parts_would_be_normalised_apart(command: Command, tmp_path: Path) -> None:
    arrays = write_arrays(tmp_path / "a.npz")
    outcome = command(
        *("train", "--source", arrays, "--target", arrays, "--out", tmp_path / "run", "--backbone", "mlp"),
        *("--recompute-chunks", 2, "--no-baseline"),
    )
    assert outcome.code == 2
    assert "--recompute-chunks 2 would give each chunk batch statistics of its own" in outcome.err


def _run(folder: Path, launcher: list[str], *options: object) -> tuple[dict, str]:
    """Train in processes of their own; return the summary printed, and the probabilities as written."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = ["-m", "jointadapt", "train", "--source", "s.npz", "--target", "t.npz", "--no-report", "--json"]
    command = [sys.executable, *launcher, *arguments, "--backbone", "mlp", "--steps", "20", *map(str, options)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line), (Path(folder) / json.loads(line)["run"] / "predictions.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        ([], ["--devices", 2]),
        ([], ["--devices", 2, "--method", "auto"]),
        ([], ["--devices", 2, "--label-shift", "estimate"]),
        (["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], ["--method", "jan-a"]),
    ],
    ids=["--devices 2", "auto", "label shift", "torchrun"],
)
def test_a_run_on_two_processes_is_the_run_on_one(tmp_path: Path, launcher: list[str], options: list) -> None:
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", rows=37, seed=2, shift=0.5)
    common = [option for option in options if option not in ("--devices", 2)]
    expected, one = _run(tmp_path, [], "--out", "one", "--device", "cpu", *common)
    found, two = _run(tmp_path, launcher, "--out", "two", "--device", "cpu", *options)
    same = ("task", "method", "source", "target", "source_accuracy", "evaluation", "agreement", "verdict")
    assert {key: found[key] for key in same} == {key: expected[key] for key in same}
    for first, second in zip(one.splitlines()[1:], two.splitlines()[1:], strict=True):
        (*item, p, label), (*item_, q, label_) = first.rsplit(",", 2), second.rsplit(",", 2)
        assert (item, label) == (item_, label_)
        assert float(p) == pytest.approx(float(q), abs=SAME_ROWS)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on(tmp_path: Path) -> None:
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", rows=37, seed=2, shift=0.5)
    options = ("--device", "cpu", "--devices", 2, "--no-baseline", "--steps", 400, "--checkpoint-every", 70)
    _, expected = _run(tmp_path, [], "--out", "whole", *options)
    arguments = ["--source", "s.npz", "--target", "t.npz", "--backbone", "mlp", "--no-report", "--out", "run"]
    command = [sys.executable, "-m", "jointadapt", "train", *arguments, *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    metrics, end = tmp_path / "run" / "metrics.jsonl", time.monotonic() + PATIENCE
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 40:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "no progress"
        time.sleep(0.01)
    process.terminate()
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert said == "jointadapt: stopped, with a checkpoint; go on with: jointadapt train --resume run\n"
    command = [sys.executable, "-m", "jointadapt", "train", "--resume", "run"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=PATIENCE)
    assert (tmp_path / "run" / "predictions.csv").read_text() == expected


@pytest.mark.slow
def test_two_processes_in_bfloat16(tmp_path: Path) -> None:
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", rows=37, seed=2, shift=0.5)
    options = ("--out", "two", "--device", "cpu", "--devices", 2, "--precision", "bf16-mixed", "--no-baseline")
    assert _run(tmp_path, [], *options)[0]["confidence"] > 1 / 2


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_are_one(tmp_path: Path) -> None:
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", rows=37, seed=2, shift=0.5)
    one = _run(tmp_path, [], "--out", "one", "--device", "cuda", "--precision", "64-true", "--no-baseline")[0]
    two = _run(
        tmp_path, [], "--out", "two", "--device", "cuda", "--precision", "64-true", "--no-baseline", "--devices", 2
    )[0]
    assert two["evaluation"] == one["evaluation"]
    assert two["confidence"] == pytest.approx(one["confidence"], abs=SAME_ROWS)


def test_more_ranks_than_rows_are_refused() -> None:
    Ranks(0, 4).require(4)
    with pytest.raises(UserError, match="4 devices need as many rows in a batch and in each domain, and one has 3"):
        Ranks(0, 4).require(3)


@pytest.mark.slow
def test_ranks_choose_what_the_first_does_and_a_silent_one_is_told(tmp_path: Path) -> None:
    script = tmp_path / "judge.py"
    script.write_text(JUDGE)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert {**second, "said": first["said"]} == first
    assert first["scores"] == [0, 1, 2]
    assert first["weight"] == 2  # the last is the best for the first rank; the second's own favourite is the first
    assert "another process of this run was lost, or did not answer" in first["said"]


JUDGE = """
import datetime
import json
import os
import pathlib
import time
import torch
from jointadapt.selection import checkpoints as module
from jointadapt.networks.backbone import Backbone
from jointadapt.selection.checkpoints import CheckpointSelection
from jointadapt.data import from_arrays
from jointadapt.errors import UserError
from jointadapt.networks.network import Head, Network
from jointadapt.training.distributed import Ranks, reporting_lost_ranks

torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=10))
rank = torch.distributed.get_rank()
domain = from_arrays(torch.randn(6, 2), torch.arange(6) % 2, "a")
network = Network(Backbone(torch.nn.Identity(), (2,)), Head((2,), 2, bottleneck=0))
selection = CheckpointSelection("entropy", domain, domain, torch.full((2,), 0.5), ranks=Ranks(rank, 2))
module.eligible = lambda *_: True
for step in range(3):
    with torch.no_grad():
        network.head.classifier.weight.fill_(step)
    module.scores = lambda *_: {"entropy": (1 - 2 * rank) * step}
    selection.add(step, network)
selection.settle(network)
found = {
    "scores": [candidate.scores["entropy"] for candidate in selection.candidates],
    "weight": network.head.classifier.weight[0, 0].item(),
}
if rank == 0:
    try:
        with reporting_lost_ranks(pathlib.Path("run")):
            selection.ranks.numbers(1, device=torch.device("cpu"))
    except UserError as error:
        found["said"] = str(error)
pathlib.Path(f"{rank}.json").write_text(json.dumps(found))
while not pathlib.Path("0.json").exists():
    time.sleep(0.1)
os._exit(0)  # a thread may still wait for the silent rank: an interpreter that is torn down under it aborts
"""


def test_a_command_that_lost_a_rank_leaves_at_once(monkeypatch, capsys) -> None:
    def lose(**_: object) -> None:
        with reporting_lost_ranks(Path("run")):
            raise RuntimeError("[gloo] Timed out waiting 10000ms for recv operation to complete")

    class Left(BaseException):
        pass

    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(cli, "cli", lose)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(Left, match=r"^2$"):
        cli.main()
    assert "go on with: jointadapt train --resume run" in capsys.readouterr().err


ELASTIC = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
LONG = ("--device", "cpu", "--steps", "300", "--checkpoint-every", "20", "--no-baseline", "--no-report")


def _start(folder: Path, launcher: list[str], *options: object) -> subprocess.Popen[str]:
    write_arrays(folder / "s.npz", seed=1)
    write_arrays(folder / "t.npz", rows=37, seed=2, shift=0.5)
    arguments = ["train", "--source", "s.npz", "--target", "t.npz", "--backbone", "mlp", *LONG, *map(str, options)]
    command = [sys.executable, *launcher, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)  # fmt: skip


def _second_rank(parent: int) -> int:
    """Return the process of rank 1, started by this one."""
    for child in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if b"LOCAL_RANK=1" in variables:
            return child
    raise AssertionError("no second rank")


def _kill_second_rank(process: subprocess.Popen[str], run: Path) -> None:
    """Kill rank 1 in the middle of its steps, after a checkpoint."""
    end = time.monotonic() + PATIENCE
    while len([*run.glob("checkpoints/*.pt")]) < 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "no progress"
        time.sleep(0.005)
    os.kill(_second_rank(process.pid), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the second rank in /proc")
def test_a_killed_rank_ends_the_others_and_the_checkpoint_stays(tmp_path: Path) -> None:
    process = _start(tmp_path, ["-m", "jointadapt"], "--devices", 2, "--out", "run")
    _kill_second_rank(process, tmp_path / "run")
    _, said = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode == 2
    assert "jointadapt: another process of this run was lost, or did not answer" in said
    assert "go on with: jointadapt train --resume run" in said
    assert "Traceback" not in said
    assert [*(tmp_path / "run" / "checkpoints").glob("*.pt")]
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the second rank in /proc")
def test_torchrun_restarts_after_a_killed_rank_to_the_same_numbers(tmp_path: Path) -> None:
    whole = _start(tmp_path, [*ELASTIC, "-m", "jointadapt"], "--out", "whole")
    process = _start(tmp_path, [*ELASTIC, "-m", "jointadapt"], "--resume", "run")
    _kill_second_rank(process, tmp_path / "run")
    said, said_whole = (each.communicate(timeout=PATIENCE)[1] for each in (process, whole))
    assert (process.returncode, whole.returncode) == (0, 0), said + said_whole
    assert "exitcode: -9" in said
    for name in ("predictions.csv", "model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
