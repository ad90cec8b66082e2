"""A run that was stopped, however rudely, ends in the same numbers as one that was not."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import Command, draw_folder, write_arrays
from safetensors.torch import load_file

from jointadapt.config import make_config
from jointadapt.experiment import execute
from jointadapt.runs import folder as runs
from jointadapt.runs.folder import LOCK, RunFolder
from jointadapt.training.checkpoints import read_checkpoint, write_checkpoint

PATIENCE = 60  # seconds until a run has to have made progress
SAME = ("predictions.csv", "model.safetensors", "metrics.jsonl")
ARRAYS = ("--source", "s.npz", "--target", "t.npz", "--backbone", "mlp", "--steps", 400, "--checkpoint-every", 70)
SHORT = {"backbone": "mlp", "steps": 5, "baseline": False, "report": False}
PICTURES = (
    *("--source", "cams", "--target", "webs", "--backbone", "squeezenet1_1", "--weights", "none", "--no-frozen"),
    *("--steps", 24, "--batch-size", 2, "--checkpoint-every", 5, "--no-baseline"),
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with two domains of arrays, and two of pictures."""
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2, shift=0.5)
    draw_folder(tmp_path / "cams", 3)
    draw_folder(tmp_path / "webs", 3, seed=7)
    return tmp_path


def _train(out: str, *options: object) -> list[str]:
    return ["train", "--out", out, "--no-report", *map(str, options)]


@contextmanager
def _running(arguments: list[str], metrics: Path, lines: int) -> Iterator[subprocess.Popen[str]]:
    """Start a run and give it when it has written as many lines."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jointadapt", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end, "no progress"
            time.sleep(0.005)
        yield process
    finally:
        process.kill()
        process.communicate()


def _stop(arguments: list[str], metrics: Path, lines: int, number: signal.Signals) -> tuple[int, str]:
    """Start a run, send it the signal when it has written as many lines; return its exit code and what it said."""
    with _running(arguments, metrics, lines) as process:
        os.killpg(process.pid, number)  # as a terminal does: its workers hear it too
        said = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, said


def _same(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in SAME)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "phase"),
    [
        (signal.SIGINT, 130, ""),
        (signal.SIGTERM, 143, "source-only"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_stopped_run_resumes_to_the_same_numbers(
    command: Command, here: Path, number: signal.Signals, code: int, phase: str
) -> None:
    assert command(*_train("whole", *ARRAYS)).code == 0
    returned, said = _stop(_train("run", *ARRAYS), here / "run" / phase / "metrics.jsonl", 40, number)
    assert returned == code
    assert not (here / "run" / "summary.json").exists()
    if number != signal.SIGKILL:
        assert said == "jointadapt: stopped, with a checkpoint; go on with: jointadapt train --resume run\n"
    assert command("train", "--resume", "run").code == 0
    assert _same(here / "run", here / "whole")
    assert _same(here / "run" / "source-only", here / "whole" / "source-only")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 2), (signal.SIGKILL, 0)])
def test_stopped_fine_tuning_resumes_to_the_same_numbers(
    command: Command, here: Path, number: signal.Signals, workers: int
) -> None:
    assert command(*_train("whole", *PICTURES, "--workers", 2 - workers)).code == 0
    _stop(_train("run", *PICTURES, "--workers", workers), here / "run" / "metrics.jsonl", 7, number)
    assert not (here / "run" / "summary.json").exists()
    assert command("train", "--resume", "run").code == 0
    assert _same(here / "run", here / "whole")


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_second_process_is_kept_out_and_a_killed_one_leaves_no_lock(refused: Callable[..., str], here: Path) -> None:
    arguments = _train("run", *PICTURES, "--steps", 100_000, "--checkpoint-every", 1, "--workers", 1)
    with _running(arguments, here / "run" / "metrics.jsonl", 0) as process:
        os.kill(process.pid, signal.SIGSTOP)
        before = _content(here / "run")
        for options in (["train", "--resume", "run"], [*arguments, "--steps", "3"]):
            assert "run" in refused(*options)
        assert "another process is at work in run; wait until it ends, or choose another" in refused(
            "train", "--resume", "run"
        )
        assert _content(here / "run") == before
        os.kill(process.pid, signal.SIGKILL)  # not its worker, which lives a little longer
        process.wait()
        with RunFolder(here / "run").held():
            pass
    assert not (here / "run" / LOCK).exists()


def test_storage_without_locks_is_told_and_used(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(runs.FileLock, "acquire", fail)
    with pytest.warns(UserWarning, match="no file can be locked in run: let no second process work there"):
        execute(make_config({"source": "s.npz", "target": "t.npz", "out": "run", **SHORT}))
    assert RunFolder(here / "run").finished


def test_folder_that_nothing_came_of_is_removed(here: Path) -> None:
    with pytest.raises(RuntimeError), RunFolder(here / "a" / "b").held(empty=True):
        raise RuntimeError
    assert not (here / "a").exists()


def _cut(run: Path, whole: Path, step: int) -> None:
    """Make a run folder as one looks that was killed some steps after the checkpoint of this step."""
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    checkpoint = f"checkpoints/step-{step:08d}.pt"
    (run / checkpoint).write_bytes((whole / checkpoint).read_bytes())
    (run / "config.toml").write_bytes((whole / "config.toml").read_bytes())
    lines = (whole / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])


@pytest.mark.parametrize("method", ["jan-a", "dann", "fixmatch", "shot"])
def test_state_of_a_method_is_in_the_checkpoint(command: Command, here: Path, method: str) -> None:
    options = (*ARRAYS, "--no-baseline", "--method", method, "--steps", 12, "--checkpoint-every", 9)
    assert command(*_train("whole", *options)).code == 0
    _cut(here / "run", here / "whole", 9)
    assert command("train", "--resume", "run").code == 0
    assert _same(here / "run", here / "whole")


def test_run_killed_before_its_first_checkpoint_begins_again(command: Command, here: Path) -> None:
    options = (*ARRAYS, "--no-baseline", "--steps", 12)
    assert command(*_train("whole", *options)).code == 0
    (here / "run").mkdir()
    (here / "run" / "config.toml").write_bytes((here / "whole" / "config.toml").read_bytes())
    (here / "run" / "metrics.jsonl").write_text('{"step": 1}\n{"ste')
    assert command("train", "--resume", "run").code == 0
    assert _same(here / "run", here / "whole")


def test_run_killed_between_its_baseline_and_its_method_goes_on_with_the_method(command: Command, here: Path) -> None:
    assert command(*_train("whole", *ARRAYS, "--steps", 12)).code == 0
    (here / "run").mkdir()
    shutil.copy(here / "whole" / "config.toml", here / "run")
    shutil.copytree(here / "whole" / "source-only", here / "run" / "source-only")
    assert command("train", "--resume", "run").code == 0
    assert _same(here / "run", here / "whole")


def test_finished_run_resumes_to_itself(command: Command, here: Path) -> None:
    outcome = command(*_train("run", *ARRAYS, "--steps", 12, "--json"))
    before = _content(here / "run")
    again = command("train", "--resume", "run", "--json")
    assert json.loads(again.out) == json.loads(outcome.out)
    assert _content(here / "run") == before


def test_resuming_with_options_begins_a_run_and_goes_on_with_it(
    command: Command, refused: Callable[..., str], here: Path
) -> None:
    options = (*ARRAYS, "--no-baseline", "--no-report", "--steps", 12, "--checkpoint-every", 9)
    assert command(*_train("whole", *options)).code == 0
    assert command("train", "--resume", "run", *options).code == 0
    assert _same(here / "run", here / "whole")
    (here / "run" / "summary.json").unlink()
    assert "run was begun with steps = 12, and now it is 13" in refused(
        "train", "--resume", "run", *options, "--steps", 13
    )
    assert command("train", "--resume", "run", *options, "--workers", 0).code == 0
    assert _same(here / "run", here / "whole")


def _damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    match kind:
        case "truncated":
            content = content[: len(content) // 2]
        case "empty":
            content = bytearray()
        case "flipped":
            content[len(content) // 3] ^= 4
        case "flipped digest":
            content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["truncated", "empty", "flipped", "flipped digest"])
@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoint_is_told_and_the_one_before_is_taken(
    command: Command, here: Path, kind: str, damaged: int
) -> None:
    options = (*ARRAYS, "--no-baseline", "--steps", 13, "--checkpoint-every", 9)
    command(*_train("whole", *options))
    _cut(here / "run", here / "whole", 9)
    _cut(here / "run", here / "whole", 13)
    for step in (13, 9)[:damaged]:
        _damage(here / "run" / "checkpoints" / f"step-{step:08d}.pt", kind)
    outcome = command("train", "--resume", "run")
    assert outcome.code == 0
    said = outcome.err.splitlines()
    assert len(said) == damaged
    assert "step-00000013.pt is damaged" in said[0]
    assert "training goes on from the one before, step-00000009.pt" in said[0]
    if damaged == 2:
        assert "training goes on from the beginning, as none is before it" in said[1]
    assert _same(here / "run", here / "whole")
    assert len([*(here / "run" / "checkpoints").glob("*.damaged")]) == damaged


class _Trap:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (os.mkdir, ("trapped",))


def test_code_in_a_checkpoint_does_not_run(command: Command, here: Path) -> None:
    options = (*ARRAYS, "--no-baseline", "--steps", 12, "--checkpoint-every", 9)
    command(*_train("whole", *options))
    _cut(here / "run", here / "whole", 9)
    write_checkpoint(here / "run" / "checkpoints" / "step-00000010.pt", {"step": _Trap()})  # its digest is right
    outcome = command("train", "--resume", "run")
    assert "step-00000010.pt is no checkpoint" in outcome.err
    assert not (here / "trapped").exists()
    assert _same(here / "run", here / "whole")


def test_torch_reads_a_checkpoint_and_finds_everything_in_it(command: Command, here: Path) -> None:
    assert command(*_train("run", *ARRAYS, "--no-baseline", "--method", "jan-a", "--steps", 3)).code == 0
    state = torch.load(here / "run" / "checkpoints" / "step-00000003.pt", weights_only=True)
    assert {*state} == {"objective", "optimizer", "precision", "step", "rng_state", "config", "rows", "selection"}
    assert {*state["rng_state"]} == {"torch", "cuda", "numpy", "python"}
    assert {name.partition(".")[0] for name in state["objective"]} == {"network", "method"}
    assert len(state["optimizer"]["state"]) == len(state["optimizer"]["param_groups"][0]["params"]) + sum(
        len(group["params"]) for group in state["optimizer"]["param_groups"][1:]
    )
    assert state["config"]["method"] == "jan-a"
    assert state["rows"] == {"source": 40, "target": 40}


def test_run_whose_options_or_data_have_changed_is_not_resumed(refused: Callable[..., str], here: Path) -> None:
    execute(make_config({"source": "s.npz", "target": "t.npz", "out": "run", **SHORT}))
    (here / "run" / "summary.json").unlink()
    config = here / "run" / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("[given]", "[given]\ntrade_off = 0.25"))
    assert "run was begun with trade_off = 'auto', and now it is 0.25; set it back" in refused(
        "train", "--resume", "run"
    )
    config.write_text(text)
    write_arrays(here / "s.npz", rows=41, seed=1)
    assert "run was begun with rows of the source = 40, and now it is 41" in refused("train", "--resume", "run")


@pytest.mark.parametrize("room", [0, 5_000, 60_000])
def test_full_disk_costs_nothing_that_was_written(tmp_path: Path, room: int) -> None:
    path = tmp_path / "checkpoints" / "a.pt"
    write_checkpoint(path, {"x": torch.zeros(30_000)})
    with _file_size_limit(room), pytest.raises(OSError, match=r"a\.pt"):
        write_checkpoint(path, {"x": torch.ones(30_000)})
    assert read_checkpoint(path)["x"].sum() == 0
    assert [*path.parent.iterdir()] == [path]


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_workers_do_not_change_a_run(command: Command, here: Path) -> None:
    for workers in (0, 2):
        assert command(*_train(f"run-{workers}", *PICTURES, "--steps", 3, "--workers", workers)).code == 0
    assert _same(here / "run-0", here / "run-2")
    assert load_file(here / "run-0" / "model.safetensors")


REAL = Path(os.environ.get("JOINTADAPT_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the folder of real data, $JOINTADAPT_TEST_DATA")
def test_webcam_to_dslr_is_learnt(command: Command) -> None:
    domains = REAL / "office_caltech"
    outcome = command(
        *("train", "--source", domains / "webcam", "--target", domains / "dslr", "--out", "run", "--json"),
        *("--backbone", "squeezenet1_0", "--weights", REAL / "weights" / "squeezenet1_0.safetensors"),
        *("--steps", 100, "--workers", 0, "--no-report", "--no-baseline"),
    )
    assert outcome.code == 0
    assert json.loads(outcome.out)["evaluation"]["accuracy"] > 85
