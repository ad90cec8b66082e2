"""What is to be run: tasks × methods × seeds, and what each run's numbers are remembered under."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jointadapt.config import Config, check_names, fitting, make_config
from jointadapt.data.benchmarks import Benchmark, Task, domains_of, fingerprint_of, load_benchmark
from jointadapt.errors import UserError, some
from jointadapt.experiment.recipes import recipe_options
from jointadapt.runtime.files import default_cache
from jointadapt.selection.registry import DEFAULT, LAST, is_judged_unasked, rule_of
from jointadapt.version import __version__


@dataclass(frozen=True)
class Comparison:
    """What is to be run.

    Args:
        options: of the runs, over those of the recipe; a method's own are for the methods that have them.
        criterion: what chooses the checkpoint of the table's middle row without target labels.
        out: where the runs are kept; None keeps their numbers only, in the cache.
    """

    benchmark: Benchmark
    root: Path
    tasks: tuple[Task, ...]
    methods: tuple[str, ...]
    seeds: int
    recipe: str
    options: dict[str, Any]
    criterion: str = DEFAULT
    out: Path | None = None

    @cached_property
    def configs(self) -> list[Config]:
        """The configuration of every run, seed by seed, so that an interrupted table is a table of fewer seeds."""
        runs = itertools.product(range(self.seeds), self.tasks, self.methods)
        return [self._config(task, method, seed) for seed, task, method in runs]

    def _config(self, task: Task, method: str, seed: int) -> Config:
        where = {"benchmark": self.benchmark.name, "root": str(self.root), "task": " → ".join(task)}
        this = {**where, "method": method, "seed": seed, "baseline": False, "report": False}
        config = make_config({**recipe_options(self.recipe, method), **fitting(self.options, method), **this})
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
        """Return what a run's numbers are remembered under: what decides them, its data, our version."""
        data = [(name, self._fingerprints[name]) for name in domains_of(self.benchmark.task(config.task))]
        return hashlib.sha256(json.dumps([config.identity(), data, __version__]).encode()).hexdigest()[:12]

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        found = self.benchmark.find(self.root)
        return {name: fingerprint_of(found[name], self.root) for task in self.tasks for name in domains_of(task)}


@dataclass(frozen=True)
class Outcome:
    """The numbers of one run.

    Args:
        choices: criterion, "last" (always) or "oracle" → step and accuracies of the checkpoint that it selects.
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
    """Return the comparison, and the domains that are absent and left out with their tasks.

    The option `select` names the table's criterion; runs are only trained for it where it needs held-out examples,
    or where λ is searched by it.
    """
    described, root = load_benchmark(benchmark), Path(root)
    there = described.find(root)
    absent = [name for name in described.domains if name not in there]
    every = list(tasks) == ["all"]
    chosen = described.all_tasks() if every else [described.task(text) for text in tasks]
    possible = [task for task in chosen if not {*domains_of(task)} & {*absent}]
    if not possible or (not every and len(possible) < len(chosen)):
        lacking = next(name for task in chosen for name in domains_of(task) if name in absent)
        raise UserError(f"{described.lacks(lacking, root)}; see: jointadapt data check {benchmark} --root {root}")
    if not methods:
        raise UserError("no method is given; name some with --methods.")
    if options.get("num_nodes", 1) > 1:
        raise UserError("a table's runs stay on one machine each; leave --num-nodes out, or use --launcher ray.")
    check_names(options, methods)
    targets = {target for _, target in possible}
    if options.get("target_labels") and len(targets) > 1:
        raise UserError(
            f"--target-labels are of one target, and these tasks have {len(targets)} ({some(sorted(targets))}); give "
            "tasks of one target with --tasks."
        )
    criterion, options = _criterion(options)
    unique = tuple(dict.fromkeys(possible)), tuple(dict.fromkeys(methods))
    return Comparison(described, root, *unique, seeds, recipe, options, criterion, Path(out) if out else None), absent


def _criterion(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the criterion of the middle row, and the options of the runs, trained for it only where that matters."""
    options = dict(options)
    chosen = rule_of(options.pop("select", LAST))
    if chosen == LAST:
        return DEFAULT, options
    matters = not is_judged_unasked(chosen) or options.get("trade_off") == "search"
    return chosen, {**options, "select": chosen} if matters else options
