"""The runs of a table on a Ray cluster, started here: the numbers of local processes, and none trained twice."""

import importlib.util
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import write_arrays

from jointadapt.comparison.results import ResultStore

TWO = "[domains.a]\npath = 'a.npz'\n[domains.b]\npath = 'b.npz'\n"
TABLE = ("compare", "--benchmark", "two.toml", "--root", ".", "--methods", "source-only,jan", "--seeds", 1, "--json")
ON_RAY = ("--launcher", "ray", "--ray-address")
PATIENCE = 180  # seconds
HEAD = """
import ray, sys
context = ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, logging_level="error")
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
OURS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Nobody but these tests gets into their cluster."""
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'jointadapt[ray]'"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with a benchmark of two domains."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text(TWO)
    write_arrays(tmp_path / "a.npz", seed=1)
    write_arrays(tmp_path / "b.npz", seed=2, shift=0.5)
    return tmp_path


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Give the address of a cluster of two cores, which ends with the tests."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HEAD], env={**os.environ, **OURS}, **pipes) as head:
        assert head.stdout is not None
        assert head.stdin is not None
        try:
            yield head.stdout.readline().strip()
        finally:
            head.stdin.close()
            head.wait(PATIENCE)


def _start(*options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jointadapt", *map(str, (*TABLE, *options))]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **OURS}
    )


def _table(*options: object) -> dict:
    process = _start(*options)
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return {**json.loads(out), "out": None}


@pytest.mark.slow
@needs_ray
def test_a_killed_table_on_a_cluster_goes_on_and_has_the_numbers_of_local_processes(cluster: str, here: Path) -> None:
    steps = ("--steps", 400)
    killed = _start(*ON_RAY, cluster, *steps, "--out", "far")
    results, end = here / "far" / "results.jsonl", time.monotonic() + PATIENCE
    while not (results.is_file() and results.read_text().count("\n")):
        assert killed.poll() is None, killed.communicate()[1]
        assert time.monotonic() < end, "no progress"
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    before = results.read_text().splitlines()
    assert 0 < len(before) < 4
    assert len(ResultStore(results).read()) == len(before)
    far = _table(*ON_RAY, cluster, *steps, "--out", "far")
    after = results.read_text().splitlines()
    assert after[: len(before)] == before  # what was finished stands as it was: trained once
    assert len(after) == len(ResultStore(results).read()) == 4
    assert far == _table("--jobs", 1, *steps, "--out", "near")
    assert len([*here.glob("far/runs/*/summary.json")]) == 4


@pytest.mark.slow
@needs_ray
def test_without_out_a_node_keeps_nothing(cluster: str, here: Path, cache: Path) -> None:
    assert _table(*ON_RAY, cluster, "--steps", 2)["accuracy"]["jan"]["last"]["mean"]["mean"] is not None
    assert [*(cache / "compare").glob("runs/*")] == []
    assert {path.name for path in here.iterdir()} == {"a.npz", "b.npz", "two.toml"}


@needs_ray
def test_a_cluster_that_is_not_there_is_told(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def init(address: str, **_: object) -> None:
        raise ConnectionError(f"Could not find any running Ray instance at {address}")

    monkeypatch.setattr("ray.init", init)
    assert "no Ray cluster answers at 127.0.0.1:1" in refused(*TABLE, *ON_RAY, "127.0.0.1:1", "--steps", 2)


def test_ray_is_asked_for_by_its_extra(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'jointadapt[ray]'" in refused(*TABLE, "--launcher", "ray")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--launcher", "ray", "--jobs", 2), "--jobs counts local processes"),
        (("--ray-address", "127.0.0.1:1"), "--ray-address needs --launcher ray"),
    ],
)
def test_options_of_the_other_launcher_are_refused(refused: Callable[..., str], options: tuple, told: str) -> None:
    assert told in refused(*TABLE, *options)
