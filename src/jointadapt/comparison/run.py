"""A table of runs: every task × method × seed of a benchmark, each run's numbers kept as it finishes."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from jointadapt.comparison.plan import Comparison, Outcome
from jointadapt.comparison.results import ResultStore
from jointadapt.comparison.shared_data import Ready, shared_data
from jointadapt.config import BASELINE, Config
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment import device_of, execute_together
from jointadapt.experiment.prepare import Prepared, PreparedOnce, prepare, prepare_features
from jointadapt.methods.names import takes_runs
from jointadapt.runs.folder import RunFolder
from jointadapt.runs.reading import read_summary
from jointadapt.runs.summary import Summary
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.main_guard import MEND, check_not_imported_again, unguarded_call
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.signals import ASKING, handled
from jointadapt.training.stack import MOST_TOGETHER


def compare(
    comparison: Comparison, launch: "Launcher | None" = None, track: Track = silent
) -> tuple[list[Outcome], list[str]]:
    """Return the outcomes of all runs in the order of the table, and what failed; those known already cost nothing.

    Where they run, `launch` says: in this process by default. Their numbers do not depend on it, but for rounding.
    """
    check_not_imported_again()
    memory = ResultStore(comparison.folder / "results.jsonl")
    known = memory.read()
    keys = {Path(config.out).name.rpartition("-")[2]: config for config in comparison.configs}
    waiting = {key: config for key, config in keys.items() if key not in known}
    failures: list[str] = []
    if waiting:
        memory.prepare()
        with handled(_stop, *ASKING[1:]), shared_data(comparison, list(waiting.values()), track) as data:
            results = (launch or in_processes(1))(waiting, data)
            done = len(keys) - len(waiting)
            try:
                for key, outcome in track(results, len(keys), "runs", done):
                    if isinstance(outcome, str):
                        config = waiting[key]
                        failures.append(f"{config.task}, {config.method}, seed {config.seed}: {outcome}")
                        continue
                    known[key] = outcome
                    memory.add(key, outcome)
                    if comparison.out is None:
                        shutil.rmtree(waiting[key].out, ignore_errors=True)
            except (Interrupted, KeyboardInterrupt) as stop:
                finished = sum(key in known for key in keys)
                number = stop.number if isinstance(stop, Interrupted) else signal.SIGINT
                message = f"stopped after {finished} of {len(keys)} runs; the same command goes on from there"
                raise Interrupted(number, message=message) from None
    return [known[key] for key in keys if key in known], failures


Launcher = Callable[[Mapping[str, Config], Ready], Iterator[tuple[str, Outcome | str]]]
"""Runs by key, and their data → the key of each with its outcome, or why it failed, as they finish."""


def in_processes(jobs: int) -> Launcher:
    """Return what runs side by side in so many processes of one thread each."""
    return lambda configs, data: _run_all(configs, data, jobs)


def _run_all(configs: Mapping[str, Config], data: Ready, jobs: int) -> Iterator[tuple[str, Outcome | str]]:
    groups = grouped(configs, jobs)
    if jobs == 1 or len(groups) == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for group in groups:
                yield from run_group(group, data).items()
        finally:
            torch.set_num_threads(threads)
        return
    spawn = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
    with ProcessPoolExecutor(min(jobs, len(groups)), spawn, _start, (data,)) as pool:
        futures = [pool.submit(run_group, group) for group in groups]
        try:
            for future in as_completed(futures):
                yield from future.result().items()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                if (place := unguarded_call("spawn")) is not None:
                    raise UserError(
                        f"the --jobs could not start: each runs this program again from the top, up to {place}; "
                        f"{MEND}, or give jobs=1."
                    ) from error
                raise UserError("a process was killed, perhaps for memory; try fewer --jobs.") from error
            raise


_shared: Ready | None = None


def _start(data: Ready) -> None:
    """Make a worker process ready: one thread, the data, and an end when its parent ends."""
    global _shared
    _shared = data
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the parent has said them
    signal.signal(signal.SIGTERM, _stop)  # so that a command that it has started ends with it
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def grouped(configs: Mapping[str, Config], jobs: int) -> list[dict[str, Config]]:
    """Return the runs in groups, each for one process: those of a task that may train as one, and every other alone.

    There are as many groups as jobs, where there are as many runs.
    """
    alike: dict[Hashable, list[str]] = {}
    for key, config in configs.items():
        stacks = takes_runs(config.method) and config.devices == 1
        alike.setdefault((config.task, config.method == BASELINE) if stacks else key, []).append(key)
    most = max(1, min(MOST_TOGETHER, len(configs) // jobs))
    groups = []
    for keys in alike.values():
        keys.sort(key=lambda key: configs[key].method)  # what is the same of all seeds is computed at once
        groups += [{key: configs[key] for key in keys[first : first + most]} for first in range(0, len(keys), most)]
    return groups


def run_group(configs: Mapping[str, Config], data: Ready | None = None) -> dict[str, Outcome | str]:
    """Return the outcome of each run, or why there is none."""
    data = data or _shared
    assert data is not None
    configs = {key: replace(config, backbone=data.name) for key, config in configs.items()}
    found: dict[str, Summary | UserError] = {}
    here: dict[str, Prepared] = {}
    prepared = PreparedOnce()
    for key, config in configs.items():
        try:
            if config.devices > 1:
                found[key] = _on_several_devices(config)
            else:
                here[key] = prepared.of(config, partial(_prepare, config, data))
        except UserError as error:
            found[key] = error
    runs = execute_together([configs[key] for key in here], [*here.values()])
    found |= {key: run if isinstance(run, UserError) else run.summary for key, run in zip(here, runs, strict=True)}
    return {key: _outcome(config, found[key]) for key, config in configs.items()}


def _outcome(config: Config, found: Summary | UserError) -> Outcome | str:
    if isinstance(found, UserError):
        return str(found)
    source, target = config.task.split(" → ")
    return Outcome(
        task=(source, target),
        method=config.method,
        seed=config.seed,
        backbone=config.backbone,
        choices={rule: asdict(choice) for rule, choice in found.selection.choices.items()},
        seconds=found.seconds,
    )


def _prepare(config: Config, data: Ready) -> Prepared:
    """Return the data of a run, which was read once for all runs."""
    source, target = (data.domain(name) for name in config.task.split(" → "))
    if data.backbone is not None:
        return prepare_features(config, source, target, data.backbone)
    return prepare(config, source, target, device_of(config), Path(config.cache or default_cache()), silent)


def _on_several_devices(config: Config) -> Summary:
    """Return the summary of a run on several devices: a command of its own, which starts a process on each of them."""
    folder = RunFolder(Path(config.out))
    if not folder.begun:
        folder.write_config(config)
    command = [sys.executable, "-m", "jointadapt", "train", "--resume", config.out, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise UserError(
            done.stderr.strip().rpartition("\n")[2].removeprefix("jointadapt: ") or "it ended without a word"
        )
    return read_summary(folder.path)


def _stop(number: int, frame: Any) -> None:  # noqa: ARG001
    """Let SIGTERM end the table as Ctrl-C does."""
    raise Interrupted(number)
