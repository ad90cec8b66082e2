"""What a benchmark is: domains below a root, their classes and counts, its tasks, and what was published."""

import itertools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import field
from importlib import resources
from pathlib import Path
from statistics import mean
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from jointadapt.data.kinds import Kind
from jointadapt.data.labels import simplified
from jointadapt.errors import UserError, as_user_error, some, unknown_name

HERE = "jointadapt.data.benchmarks"
FORM = ConfigDict(extra="forbid")
Count = Annotated[int, Field(ge=0)]
Task = tuple[str, str]
"""A source and a target by name; several sources are one name, "amazon+dslr" (`sources_of`)."""
PLUS = "+"


@dataclass(frozen=True, config=FORM)
class Place:
    """One domain of a benchmark.

    Args:
        path: where it lies below the root; of several the first that is there is taken. "a + b" is both together.
        letter: its short name in tables and tasks ("A").
        rows: how many it has.
        counts: how many of each class, in the order of the benchmark's classes.
    """

    path: str | tuple[str, ...]
    letter: str = ""
    rows: Count | None = None
    counts: tuple[Count, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The places to look at, in order."""
        return (self.path,) if isinstance(self.path, str) else self.path

    def below(self, root: Path) -> tuple[Path, ...]:
        """Return the files or folders that hold it; none where it is absent."""
        for path in self.paths:
            parts = tuple(root / part for part in path.split(" + "))
            if all(os.path.exists(part) for part in parts):  # noqa: PTH110  # Path's raises for a name too long
                return parts
        return ()


@dataclass(frozen=True, config=FORM)
class Published:
    """A row of a published table: percent for each task ("A→W"), or the mean alone."""

    method: str
    backbone: str
    source: str
    tasks: Mapping[str, float] = field(default_factory=dict)
    mean: float | None = None

    @property
    def average(self) -> float:
        """The mean over the tasks, as it was published or as they give it."""
        return mean(self.tasks.values()) if self.mean is None else self.mean


@dataclass(frozen=True, config=FORM)
class Benchmark:
    """Domains that share their classes.

    Args:
        name: the name it is called by, or the path of a user's file.
        title: what its tables are headed by; a user's file may call it `name`.
        home: where it is officially had.
        classes: in the order that integer labels mean; empty: as they are found.
        aliases: other names of a class → its name. Letter case, spaces, dashes and underscores never matter.
        tasks: "source → target" each; empty: all ordered pairs.
        measure: the accuracy that the benchmark's tables give.
        pixels: image files are read into arrays as they are, all of one size.
        kind: what arrays are, where their shape does not say it: "signal" for (n, time) and (n, channels, time).
    """

    name: str
    domains: Mapping[str, Place]
    title: str = ""
    home: str = ""
    classes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    measure: Literal["accuracy", "mean_per_class_accuracy"] = "accuracy"
    pixels: bool = False
    kind: Kind = "auto"
    published: tuple[Published, ...] = ()

    def short(self, task: Task) -> str:
        """Return a task as tables head it: "A→W"."""
        letters = ([self.domains[name].letter or name for name in role.split(PLUS)] for role in task)
        return "→".join(map(PLUS.join, letters))

    def all_tasks(self) -> list[Task]:
        """Return every task of the benchmark."""
        return [self.task(text) for text in self.tasks] or list(itertools.permutations(self.domains, 2))

    def task(self, text: str) -> Task:
        """Return the task that is meant by "amazon → webcam", "amazon->webcam", "A→W" or "a2w"; also by "a+d → w".

        >>> load_benchmark("office31").task("a2w")
        ('amazon', 'webcam')
        """
        called = {
            simplified(word): name for name, place in self.domains.items() for word in (name, place.letter) if word
        }
        arrow = text.replace("->", "→")
        cuts = [i for i, c in enumerate(arrow) if c == "→"] or [i for i, c in enumerate(arrow) if c == "2"]
        for cut in cuts:
            sources = [called.get(simplified(word)) for word in arrow[:cut].split(PLUS)]
            target, known = called.get(simplified(arrow[cut + 1 :])), [name for name in sources if name]
            if target and len(known) == len(sources) == len({*known} - {target}):
                return PLUS.join(known), target
        names = ", ".join(f"{name} ({place.letter})" if place.letter else name for name, place in self.domains.items())
        raise UserError(f"no task {text!r} in {self.name}; give SOURCE → TARGET or s2t, of the domains {names}.")

    def find(self, root: Path) -> dict[str, tuple[Path, ...]]:
        """Return where each domain is; those that are not there are left out."""
        if not root.is_dir():
            raise UserError(f"the root {root} is no folder; give --root the one that holds {', '.join(self.domains)}.")
        found = {name: place.below(root) for name, place in self.domains.items()}
        return {name: paths for name, paths in found.items() if paths}

    def lacks(self, name: str, root: Path) -> str:
        """Return where a domain that is absent was looked for, and what is there instead."""
        there = some(sorted(entry.name for entry in root.iterdir())) or "nothing"
        return f"{name} is not in {root}, which holds {there}; looked for {some(self.domains[name].paths)}"


def domains_of(task: Task) -> tuple[str, ...]:
    """Return the domains of a task by name, its sources first.

    >>> domains_of(("amazon+dslr", "webcam"))
    ('amazon', 'dslr', 'webcam')
    """
    return tuple(name for role in task for name in role.split(PLUS))


def benchmark_names() -> list[str]:
    """Return the names of the benchmarks that come with the package."""
    files = resources.files(HERE).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_benchmark(name: str) -> Benchmark:
    """Return the benchmark of that name, or the one that a TOML file describes."""
    if name.endswith(".toml"):
        with as_user_error(Path(name)):
            return parse_benchmark(name, Path(name).read_text("utf-8"))
    if name not in benchmark_names():
        raise unknown_name("benchmark", name, benchmark_names())
    return parse_benchmark(name, resources.files(HERE).joinpath(f"{name}.toml").read_text("utf-8"))


def parse_benchmark(name: str, text: str) -> Benchmark:
    """Return the benchmark that a text in TOML describes; a mistake in it is a `UserError` of one line.

    >>> fields = parse_benchmark("seasons.toml", '''
    ... [domains.summer]
    ... path = "photos/summer"
    ... [domains.winter]
    ... path = "photos/winter"
    ... ''')
    >>> fields.all_tasks()
    [('summer', 'winter'), ('winter', 'summer')]
    """
    form = "; docs/guides/benchmarks.md shows the form."
    try:
        described = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for numbers too long, nests too deep
        raise UserError(f"{name} is no valid TOML: {error}.") from error
    called = described.pop("name", "")  # a file's own name for itself is what its tables are headed by
    if not isinstance(called, str):
        raise UserError(f"{name}: name: input should be a text{form}")
    try:
        benchmark = Benchmark(name=name, **{"title": called, **described})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(part for part in first["loc"] if isinstance(part, str)) or "it"
        raise UserError(f"{name}: {where}: {first['msg'].lower()}{form}") from error
    except TypeError as error:
        raise UserError(f"{name}: {error}{form}") from error
    if joined := [domain for domain in benchmark.domains if PLUS in domain]:
        raise UserError(f"{name}: domains.{joined[0]}: a name without {PLUS!r} is needed, which joins several{form}")
    if len(benchmark.domains) < 2:
        raise UserError(f"{name} describes {len(benchmark.domains)} domain; a benchmark needs two{form}")
    for domain, place in benchmark.domains.items():
        if place.counts and len(place.counts) != len(benchmark.classes):
            numbers, classes = len(place.counts), len(benchmark.classes)
            raise UserError(f"{name}: domains.{domain}.counts has {numbers} numbers for {classes} classes{form}")
    for task in (*benchmark.tasks, *(task for row in benchmark.published for task in row.tasks)):
        benchmark.task(task)
    return benchmark
