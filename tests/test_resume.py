"""A run that was stopped, however rudely, ends in the same numbers as one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Command, draw_folder, write_arrays
from safetensors.torch import load_file

PATIENCE = 60  # seconds until a run has to have made progress
SAME = ("predictions.csv", "model.safetensors", "metrics.jsonl")
ARRAYS = ("--source", "s.npz", "--target", "t.npz", "--backbone", "mlp", "--steps", 400, "--checkpoint-every", 70)
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


def _stop(arguments: list[str], metrics: Path, lines: int, number: signal.Signals) -> tuple[int, str]:
    """Start a run, send it the signal when it has written as many lines; return its exit code and what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jointadapt", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        end = time.monotonic() + PATIENCE
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end, "no progress"
            time.sleep(0.005)
        process.send_signal(number)
        said = process.communicate(timeout=PATIENCE)[1]
    finally:
        process.kill()
        process.wait()
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


def _cut(run: Path, whole: Path, step: int) -> None:
    """Make a run folder as one looks that was killed some steps after the checkpoint of this step."""
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = f"checkpoints/step-{step:08d}.pt"
    (run / checkpoint).write_bytes((whole / checkpoint).read_bytes())
    (run / "config.toml").write_bytes((whole / "config.toml").read_bytes())
    lines = (whole / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])


@pytest.mark.parametrize("method", ["jan-a", "dann"])
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


def test_finished_run_resumes_to_itself(command: Command, here: Path) -> None:
    outcome = command(*_train("run", *ARRAYS, "--steps", 12, "--json"))
    before = {path: path.read_bytes() for path in here.rglob("run/**/*") if path.is_file()}
    again = command("train", "--resume", "run", "--json")
    assert json.loads(again.out) == json.loads(outcome.out)
    assert {path: path.read_bytes() for path in here.rglob("run/**/*") if path.is_file()} == before


def test_damaged_checkpoint_is_told(command: Command, here: Path) -> None:
    options = (*ARRAYS, "--no-baseline", "--steps", 12, "--checkpoint-every", 9)
    command(*_train("whole", *options))
    _cut(here / "run", here / "whole", 9)
    (checkpoint,) = (here / "run" / "checkpoints").iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    outcome = command("train", "--resume", "run")
    assert outcome.code == 2
    assert "step-00000009.pt is no checkpoint of this run" in outcome.err
    assert len(outcome.err.splitlines()) == 1


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
