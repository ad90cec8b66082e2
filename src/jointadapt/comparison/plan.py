"""What is to be run: tasks × methods × seeds, and what each run's numbers are remembered under."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jointadapt.config import Config, make_config
from jointadapt.data.benchmarks import Benchmark, Task, fingerprint_of, load_benchmark
from jointadapt.errors import UserError
from jointadapt.experiment.recipes import recipe_options
from jointadapt.methods.registry import options_of
from jointadapt.runtime.files import default_cache
from jointadapt.version import __version__

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
        return hashlib.sha256(json.dumps([options, data, __version__]).encode()).hexdigest()[:12]

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
    if options.get("num_nodes", 1) > 1:
        raise UserError("a table's runs stay on one machine each; leave --num-nodes out, or use --launcher ray.")
    unique = tuple(dict.fromkeys(possible)), tuple(dict.fromkeys(methods))
    return Comparison(described, root, *unique, seeds, recipe, options, Path(out) if out else None), absent
