"""A table of runs: every task × method × seed of a benchmark, each run's numbers kept as it finishes."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from jointadapt.comparison.plan import Comparison, Outcome
from jointadapt.comparison.results import ResultStore
from jointadapt.comparison.shared_data import Ready, shared_data
from jointadapt.config import Config
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment import device_of, execute_prepared
from jointadapt.experiment.prepare import prepare, prepare_features
from jointadapt.runs.folder import RunFolder
from jointadapt.runs.reading import read_summary
from jointadapt.runs.summary import Summary
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.main_guard import MEND, check_not_imported_again, unguarded_call
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.signals import ASKING, handled


def compare(
    comparison: Comparison, launch: "Launcher | None" = None, track: Track = silent
) -> tuple[list[Outcome], list[str]]:
    """Return the outcomes of all runs in the order of the table, and what failed; those known already cost nothing.

    Where they run, `launch` says: in this process by default. Their numbers do not depend on it.
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


# The data, read and passed through a frozen backbone once


# The runs, side by side

Launcher = Callable[[Mapping[str, Config], Ready], Iterator[tuple[str, Outcome | str]]]
"""Runs by key, and their data → the key of each with its outcome, or why it failed, as they finish."""


def in_processes(jobs: int) -> Launcher:
    """Return what runs side by side in so many processes of one thread each."""
    return lambda configs, data: _run_all(configs, data, jobs)


def _run_all(configs: Mapping[str, Config], data: Ready, jobs: int) -> Iterator[tuple[str, Outcome | str]]:
    if jobs == 1 or len(configs) == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for key, config in configs.items():
                yield key, run_one(config, data)
        finally:
            torch.set_num_threads(threads)
        return
    spawn = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
    with ProcessPoolExecutor(min(jobs, len(configs)), spawn, _start, (data,)) as pool:
        futures = {pool.submit(run_one, config): key for key, config in configs.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
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


def run_one(config: Config, data: Ready | None = None) -> Outcome | str:
    """Return the outcome of a run, or why there is none."""
    data = data or _shared
    assert data is not None
    config = replace(config, backbone=data.name)
    try:
        summary = _on_several_devices(config) if config.devices > 1 else _here(config, data)
    except UserError as error:
        return str(error)
    source, target = config.task.split(" → ")
    return Outcome(
        task=(source, target),
        method=config.method,
        seed=config.seed,
        backbone=config.backbone,
        choices={rule: asdict(choice) for rule, choice in summary.selection.choices.items()},
        seconds=summary.seconds,
    )


def _here(config: Config, data: Ready) -> Summary:
    """Return the summary of a run in this process, on data that was read once for all runs."""
    source, target = (data.domain(name) for name in config.task.split(" → "))
    if data.backbone is not None:
        prepared = prepare_features(config, source, target, data.backbone)
    else:
        prepared = prepare(config, source, target, device_of(config), Path(config.cache or default_cache()), silent)
    return execute_prepared(config, prepared).summary


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
