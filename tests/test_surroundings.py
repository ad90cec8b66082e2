"""What the program around a computation has set, or lacks, changes no number, and is told where it is a mistake."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from jointadapt.data import from_arrays
from jointadapt.estimator import AdaptedClassifier
from jointadapt.experiment import train
from jointadapt.runs.model import Model
from jointadapt.runtime.torch_defaults import torch_defaults
from jointadapt.two_sample import two_sample_test


@contextmanager
def default_dtype(dtype: torch.dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "meta": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def tabular() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 90)
    x = generator.normal(size=(90, 6))
    x[np.arange(90), y] += 4
    return x, y


def fitted(method: str = "jan", seed: int = 0) -> np.ndarray:
    x, y = tabular()
    return AdaptedClassifier(method, steps=8, random_state=seed).fit(x, y, x + 0.5).predict_proba(x + 0.5)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "jan") for name in SURROUNDINGS),
        *(("float64", method) for method in ("dann", "cdan", "jan-a", "shot", "fixmatch", "mdd")),
    ],
)
def test_a_fit_is_the_same_whatever_torch_was_set_to(name: str, method: str):
    with SURROUNDINGS[name]():
        around = fitted(method)
    np.testing.assert_array_equal(around, fitted(method))


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_model_loads_and_predicts_whatever_torch_was_set_to(name: str, tmp_path: Path):
    x, y = tabular()
    train((x, y), x + 0.5, tmp_path / "run", steps=5, report=False)
    expected = Model.load(tmp_path / "run").predict_proba(from_arrays(x))
    with SURROUNDINGS[name]():
        found = Model.load(tmp_path / "run").predict_proba(from_arrays(x))
    assert torch.equal(found.cpu(), expected)


def test_a_module_of_ones_own_may_be_float64():
    x, y = tabular()
    with default_dtype(torch.float64):
        module = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        run = train((x, y), x, backbone=module, steps=3)
    assert next(run.model.network.parameters()).dtype == torch.float32
    assert next(module.parameters()).dtype == torch.float64


def test_a_two_sample_test_is_the_same_on_another_default_device():
    x, _ = tabular()
    with torch.device("meta"):
        around = two_sample_test(x, x + 1, permutations=19)
    assert around.p_value == two_sample_test(x, x + 1, permutations=19).p_value


def test_torch_is_left_as_the_caller_had_set_it():
    with default_dtype(torch.float64), torch.no_grad():
        with pytest.raises(ZeroDivisionError), torch_defaults():
            raise ZeroDivisionError
        assert torch.get_default_dtype() == torch.float64
        assert not torch.is_grad_enabled()


def test_fits_in_threads_are_repeatable():
    alone = [fitted(seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: fitted(seed=seed), range(4)))
    np.testing.assert_array_equal(together, alone)


PROGRAM = """
import multiprocessing, sys
from jointadapt import train
multiprocessing.set_start_method(sys.argv[1], force=True)
train("s", "t", backbone="resnet18", weights="none", frozen=False, steps=2, batch_size=2, workers=1, baseline=False,
      report=False)
print("done")
"""


def run_program(folder: Path, method: str, program: str) -> subprocess.CompletedProcess[str]:
    for domain in ("s", "t"):
        for index in range(4):
            file = folder / domain / "ab"[index % 2] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 50 * index, np.uint8)).save(file)
    (folder / "program.py").write_text(program)
    command = [sys.executable, "-W", "ignore", "program.py", method]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_program_without_a_guard_is_told_so_at_once(method: str, tmp_path: Path):
    done = run_program(tmp_path, method, PROGRAM)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("jointadapt.errors.UserError")
    assert "program.py, line 5" in last
    assert 'if __name__ == "__main__":' in last
    assert "memory" not in done.stderr


@pytest.mark.slow
def test_a_program_with_a_guard_runs_where_processes_are_spawned(tmp_path: Path):
    head, body = PROGRAM.split("multiprocessing.set", 1)
    body = "\n".join(f"    {line}" for line in ("multiprocessing.set" + body).splitlines())
    done = run_program(tmp_path, "spawn", f'{head}if __name__ == "__main__":\n{body}\n')
    assert done.stdout == "done\n", done.stderr
