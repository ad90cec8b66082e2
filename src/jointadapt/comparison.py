"""A table of runs: every task × method × seed of a benchmark, each run's numbers kept as it finishes."""

import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import jointadapt
from jointadapt.backbones import Backbone, build_backbone, features_of, recorded
from jointadapt.building import options_of
from jointadapt.config import Config, make_config
from jointadapt.data import Domain
from jointadapt.data.benchmarks import Benchmark, Task, fingerprint_of, load_benchmark, read
from jointadapt.data.files import default_cache
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment import device_of, execute_prepared
from jointadapt.interruption import handled
from jointadapt.preparation import choose_backbone, prepare, prepare_features, workers
from jointadapt.progress import Track, silent
from jointadapt.recipes import recipe_options

IGNORED = ("out", "cache", "workers", "device", "checkpoint_every", "root")  # what moves no number


@dataclass(frozen=True)
class Comparison:
    """What is to be run.

    Args:
        options: fields of `Config`, over those of the recipe.
        out: where the runs are kept; None keeps their numbers only, in the cache.
    """

    benchmark: Benchmark
    root: Path
    tasks: tuple[Task, ...]
    methods: tuple[str, ...]
    seeds: int
    recipe: str
    options: dict[str, Any]
    out: Path | None = None

    @cached_property
    def configs(self) -> list[Config]:
        """The configuration of every run, seed by seed, so that an interrupted table is a table of fewer seeds."""
        runs = itertools.product(range(self.seeds), self.tasks, self.methods)
        return [self._config(task, method, seed) for seed, task, method in runs]

    def _config(self, task: Task, method: str, seed: int) -> Config:
        where = {"benchmark": self.benchmark.name, "root": str(self.root), "task": " → ".join(task)}
        this = {**where, "method": method, "seed": seed, "baseline": False, "report": False}
        config = make_config({**recipe_options(self.recipe, method), **self.options, **this})
        return replace(config, out=str(self.folder / "runs" / f"{'-'.join(task)}-{method}-{seed}-{self.key(config)}"))

    @property
    def folder(self) -> Path:
        """Where the numbers are kept."""
        return self.out or self.cache / "compare"

    @property
    def cache(self) -> Path:
        """Where features are kept."""
        return Path(self.options["cache"]) if self.options.get("cache") else default_cache()

    def key(self, config: Config) -> str:
        """Return what a run's numbers are remembered under: its options, its data, its weights, our version."""
        options = {name: value for name, value in asdict(config).items() if name not in IGNORED}  # pyright: ignore[reportArgumentType]
        if (weights := Path(config.weights)).is_file():
            options["weights"] = fingerprint_of((weights,))  # however its path is written
        data = [self._fingerprints[name] for name in self.benchmark.task(config.task)]
        return hashlib.sha256(json.dumps([options, data, jointadapt.__version__]).encode()).hexdigest()[:12]

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        found = self.benchmark.find(self.root)
        return {name: fingerprint_of(found[name]) for task in self.tasks for name in task}


@dataclass(frozen=True)
class Outcome:
    """The numbers of one run.

    Args:
        choices: rule → step, accuracy and mean per-class accuracy of the checkpoint it chooses; "last" is always there.
    """

    task: Task
    method: str
    seed: int
    backbone: str
    choices: dict[str, dict[str, Any]]
    seconds: float


def plan(
    benchmark: str,
    root: str | Path,
    tasks: Sequence[str] = ("all",),
    methods: Sequence[str] = ("source-only", "jan"),
    seeds: int = 5,
    recipe: str = "modern",
    out: str | Path | None = None,
    **options: Any,
) -> tuple[Comparison, list[str]]:
    """Return the comparison, and the domains that are absent and left out with their tasks."""
    described, root = load_benchmark(benchmark), Path(root)
    there = described.find(root)
    absent = [name for name in described.domains if name not in there]
    every = list(tasks) == ["all"]
    chosen = described.all_tasks() if every else [described.task(text) for text in tasks]
    possible = [task for task in chosen if not {*task} & {*absent}]
    if not possible or (not every and len(possible) < len(chosen)):
        lacking = next(name for task in chosen for name in task if name in absent)
        raise UserError(f"{described.lacks(lacking, root)}; see: jointadapt data check {benchmark} --root {root}")
    for method in methods:
        options_of(method)
    if not methods:
        raise UserError("no method is given; name some with --methods.")
    unique = tuple(dict.fromkeys(possible)), tuple(dict.fromkeys(methods))
    return Comparison(described, root, *unique, seeds, recipe, options, Path(out) if out else None), absent


def compare(
    comparison: Comparison, launch: "Launcher | None" = None, track: Track = silent
) -> tuple[list[Outcome], list[str]]:
    """Return the outcomes of all runs in the order of the table, and what failed; those known already cost nothing.

    Where they run, `launch` says: in this process by default. Their numbers do not depend on it.
    """
    memory = Memory(comparison.folder / "results.jsonl")
    known = memory.read()
    keys = {Path(config.out).name.rpartition("-")[2]: config for config in comparison.configs}
    waiting = {key: config for key, config in keys.items() if key not in known}
    failures: list[str] = []
    if waiting:
        memory.prepare()
        with handled(_stop, signal.SIGTERM), _ready(comparison, list(waiting.values()), track) as data:
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


@dataclass(frozen=True)
class Memory:
    """The file of outcomes, a line each: appended to as runs finish; a line cut off by a crash is passed over."""

    path: Path

    def read(self) -> dict[str, Outcome]:
        """Return the outcomes by key."""
        if not self.path.is_file():
            return {}
        known = {}
        for line in self.path.read_text("utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                key = record.pop("key")
                known[key] = Outcome(**{**record, "task": tuple(record["task"])})
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        return known

    def prepare(self) -> None:
        """Make the file where it is not there and end a line that was cut off; where that fails, it does at once."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); choose another --out.") from error

    def add(self, key: str, outcome: Outcome) -> None:
        """Append an outcome."""
        with self.path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(json.dumps({"key": key, **asdict(outcome)}, ensure_ascii=False) + "\n")


# The data, read and passed through a frozen backbone once


@dataclass(frozen=True)
class Ready:
    """Domains by name: their rows in a file that every process maps, all else in memory.

    Args:
        name: of the backbone.
        features_of: the frozen one whose features the rows are; None where they are what the domains hold.
    """

    domains: dict[str, Domain]
    tensors: Path
    name: str
    features_of: Backbone | None

    def domain(self, name: str) -> Domain:
        """Return a domain with its rows."""
        domain = self.domains[name]
        if domain.holds_images:
            return domain
        return replace(domain, content=torch.load(self.tensors, mmap=True, weights_only=True)[name])


@contextmanager
def _ready(comparison: Comparison, configs: Sequence[Config], track: Track) -> Iterator[Ready]:
    """Give the data that some runs need; the file is gone afterwards."""
    names = dict.fromkeys(name for config in configs for name in comparison.benchmark.task(config.task))
    domains = {n: read(comparison.benchmark, n, comparison.root, comparison.cache, track) for n in names}
    for note in dict.fromkeys(note for domain in domains.values() for note in domain.notes):
        warnings.warn(note, stacklevel=4)
    first, config = next(iter(domains.values())), configs[0]
    name, shell = choose_backbone(config.backbone, first), None
    if first.holds_images and config.frozen:
        torch.manual_seed(config.seed)
        backbone = build_backbone(name, config.weights)
        place = device_of(config), comparison.cache, workers(config), track
        domains = {n: features_of(domain, backbone, name, *place) for n, domain in domains.items()}
        shell = recorded(backbone)
    with tempfile.TemporaryDirectory(prefix="jointadapt-") as folder:
        file = Path(folder) / "rows.pt"
        torch.save({n: d.rows(range(len(d))) for n, d in domains.items() if not d.holds_images}, file)
        slim = {n: d if d.holds_images else replace(d, content=torch.empty(0)) for n, d in domains.items()}
        yield Ready(slim, file, name, shell)


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
                raise UserError("a process was killed, perhaps for memory; try fewer --jobs.") from error
            raise


_shared: Ready | None = None


def _start(data: Ready) -> None:
    """Make a worker process ready: one thread, the data, and an end when its parent ends."""
    global _shared
    _shared = data
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the parent has said them
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def run_one(config: Config, data: Ready | None = None) -> Outcome | str:
    """Return the outcome of a run, or why there is none."""
    data = data or _shared
    assert data is not None
    source, target = (data.domain(name) for name in config.task.split(" → "))
    config = replace(config, backbone=data.name)
    try:
        if data.features_of is not None:
            prepared = prepare_features(config, source, target, data.features_of)
        else:
            prepared = prepare(config, source, target, device_of(config), Path(config.cache or default_cache()), silent)
        summary = execute_prepared(config, prepared).summary
    except UserError as error:
        return str(error)
    return Outcome(
        task=(source.name, target.name),
        method=config.method,
        seed=config.seed,
        backbone=config.backbone,
        choices=summary["selection"]["choices"],
        seconds=summary["seconds"],
    )


def _stop(number: int, frame: Any) -> None:  # noqa: ARG001
    """Let SIGTERM end the table as Ctrl-C does."""
    raise Interrupted(number)
