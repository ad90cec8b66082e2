"""Outcomes → a table: means and standard errors over seeds, published rows beside them; as text of several forms."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from jointadapt.comparison.plan import Comparison, Outcome
from jointadapt.config import decides_numbers, names_a_file
from jointadapt.data.benchmarks import Published, Task
from jointadapt.reporting.html import page_template
from jointadapt.runtime.files import write_atomically
from jointadapt.selection.registry import LAST
from jointadapt.version import __version__

MEASURES = {"accuracy": "accuracy", "mean_per_class_accuracy": "mean per class"}
ORACLE, PUBLISHED, SELECTED = "oracle", "published", "chosen"
NONE = "–"


@dataclass(frozen=True)
class Cell:
    """Mean of some values in percent, and its standard error where there are two or more."""

    mean: float
    error: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + (f" ± {self.error:.1f}" if self.error is not None else "")


@dataclass(frozen=True)
class Row:
    """A method, its checkpoints selected by `rule`: a cell a task, then the mean over tasks. None: not known."""

    method: str
    rule: str
    cells: tuple[Cell | None, ...]
    average: Cell | None
    source: str = ""

    @property
    def all_cells(self) -> tuple[Cell | None, ...]:
        """The tasks' cells and the average."""
        return (*self.cells, self.average)


@dataclass(frozen=True)
class Table:
    """Rows for each measure, that of the benchmark first.

    Args:
        criterion: what chose the checkpoint of the middle row.
    """

    title: str
    tasks: tuple[Task, ...]
    headings: tuple[str, ...]
    criterion: str
    rows: dict[str, list[Row]]
    notes: tuple[str, ...]

    def best(self, measure: str) -> list[float]:
        """Return the highest mean of each column among the last checkpoints."""
        columns = zip(*(row.all_cells for row in self.rows[measure] if row.rule == LAST), strict=True)
        return [max((round(cell.mean, 1) for cell in column if cell), default=101.0) for column in columns]

    def texts(self, measure: str, bold: str = "{}") -> Iterable[tuple[str, str, list[str]]]:
        """Yield method, rule and cells of each row as text, the best last checkpoints as `bold` says."""
        best = self.best(measure)
        for row in self.rows[measure]:
            cells = [str(cell) if cell else NONE for cell in row.all_cells]
            marked = [
                row.rule == LAST and c is not None and round(c.mean, 1) == b
                for c, b in zip(row.all_cells, best, strict=True)
            ]
            yield (
                row.method,
                self.rule_name(row),
                [bold.format(c) if m else c for c, m in zip(cells, marked, strict=True)],
            )

    def rule_name(self, row: Row) -> str:
        """Return what a row's checkpoint is called."""
        return self.criterion if row.rule == SELECTED else row.rule

    def to_dict(self) -> dict[str, Any]:
        """Return the table as one object: measure → method → rule → tasks and mean."""
        measures: dict[str, Any] = {}
        for measure, rows in self.rows.items():
            for row in rows:
                cells = {" → ".join(task): _plain(cell) for task, cell in zip(self.tasks, row.cells, strict=True)}
                entry = {"tasks": cells, "mean": _plain(row.average), **({"source": row.source} if row.source else {})}
                measures.setdefault(measure, {}).setdefault(row.method, {})[row.rule] = entry
        return {
            "title": self.title,
            "tasks": [" → ".join(task) for task in self.tasks],
            "criterion": self.criterion,
            **measures,
            "notes": list(self.notes),
        }

    def markdown(self) -> str:
        """Return the table in Markdown."""
        parts = [f"**{self.title}**"]
        for measure in self.rows:
            head = f"| {MEASURES[measure]}, % | checkpoint | {' | '.join(self.headings)} |"
            line = "|:---|:---|" + "---:|" * len(self.headings)
            rows = (f"| {m} | {rule} | {' | '.join(cells)} |" for m, rule, cells in self.texts(measure, "**{}**"))
            parts.append("\n".join((head, line, *rows)))
        return "\n\n".join((*parts, "\n".join(f"- {note}" for note in self.notes))) + "\n"

    def latex(self) -> str:
        """Return the table in LaTeX, for the package booktabs."""
        parts = []
        for measure in self.rows:
            head = " & ".join((f"{MEASURES[measure]}, \\%", "checkpoint", *map(_tex, self.headings)))
            lines = ["\\begin{tabular}{ll" + "r" * len(self.headings) + "}", "\\toprule", head + " \\\\", "\\midrule"]
            for method, rule, cells in self.texts(measure, "\\textbf{{{}}}"):
                shown = [cell.replace(" ± ", "\\,$\\pm$\\,").replace(NONE, "--") for cell in cells]
                lines.append(" & ".join((_tex(method), _tex(rule), *shown)) + " \\\\")
            parts.append("\n".join((*lines, "\\bottomrule", "\\end{tabular}")))
        notes = "\n".join(f"% {note}" for note in (self.title, *self.notes))
        return notes + "\n" + "\n\n".join(parts) + "\n"

    def csv(self) -> str:
        """Return a line for each number: measure, method, rule, task, mean, standard error, source."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["measure", "method", "checkpoint", "task", "mean", "standard_error", "source"])
        names = [*(" → ".join(task) for task in self.tasks), "mean"]
        for measure, rows in self.rows.items():
            for row in rows:
                for name, cell in zip(names, row.all_cells, strict=True):
                    if cell is not None:
                        error = "" if cell.error is None else f"{cell.error:.4f}"
                        writer.writerow(
                            [measure, row.method, self.rule_name(row), name, f"{cell.mean:.4f}", error, row.source]
                        )
        return text.getvalue()

    def html(self) -> str:
        """Return one page that needs nothing else."""
        return page_template("compare.html.j2").render(table=self, measures=MEASURES, version=__version__)

    def write(self, folder: Path) -> None:
        """Write the table in every form: table.md, .tex, .csv, .html."""
        forms = {"md": self.markdown(), "tex": self.latex(), "csv": self.csv(), "html": self.html()}
        for suffix, text in forms.items():
            write_atomically(
                folder / f"table.{suffix}", lambda file, text=text: file.write(text.encode(errors="replace"))
            )


def tabulate(
    comparison: Comparison,
    outcomes: Sequence[Outcome],
    absent: Sequence[str] = (),
    failures: Sequence[str] = (),
) -> Table:
    """Return the table of some outcomes."""
    chosen = comparison.criterion
    benchmark, tasks = comparison.benchmark, comparison.tasks
    backbone = outcomes[0].backbone if outcomes else ""
    published = [row for row in benchmark.published if row.backbone == backbone]
    rows: dict[str, list[Row]] = {}
    for measure in sorted(MEASURES, key=lambda name: name != benchmark.measure):
        rows[measure] = []
        for method in comparison.methods:
            own = [outcome for outcome in outcomes if outcome.method == method]
            for rule, name in ((LAST, LAST), (SELECTED, chosen), (ORACLE, ORACLE)):
                rows[measure].append(_row(method, rule, name, measure, own, tasks))
            if measure == benchmark.measure:
                rows[measure] += [_published(comparison, row) for row in published if row.method == method]
    return Table(
        title=f"{benchmark.title or benchmark.name}, {backbone}" + _frozen(comparison),
        tasks=tasks,
        headings=(*map(benchmark.short, tasks), "mean"),
        criterion=chosen,
        rows=rows,
        notes=tuple(_notes(comparison, chosen, absent, failures, [row.source for row in published])),
    )


def _row(method: str, rule: str, name: str, measure: str, outcomes: Sequence[Outcome], tasks: Sequence[Task]) -> Row:
    values = {
        (outcome.task, outcome.seed): outcome.choices[name][measure]
        for outcome in outcomes
        if outcome.choices.get(name, {}).get(measure) is not None
    }
    seeds = sorted({seed for _, seed in values})
    complete = [seed for seed in seeds if all((task, seed) in values for task in tasks)]
    cells = tuple(_cell([value for (of, _), value in values.items() if of == task]) for task in tasks)
    return Row(method, rule, cells, _cell([mean(values[task, seed] for task in tasks) for seed in complete]))


def _cell(values: Sequence[float]) -> Cell | None:
    if not values:
        return None
    return Cell(mean(values), stdev(values) / len(values) ** 0.5 if len(values) > 1 else None)


def _published(comparison: Comparison, row: Published) -> Row:
    """Return a published row; its mean only where the table has its tasks."""
    numbers = {comparison.benchmark.task(text): value for text, value in row.tasks.items()}
    cells = tuple(Cell(numbers[task]) if task in numbers else None for task in comparison.tasks)
    whole = {*comparison.tasks} == {*(numbers or comparison.benchmark.all_tasks())}
    return Row(row.method, PUBLISHED, cells, Cell(row.average) if whole else None, row.source)


def _frozen(comparison: Comparison) -> str:
    return ", fine-tuned" if comparison.options.get("frozen") is False else ""


def _notes(
    comparison: Comparison, criterion: str, absent: Sequence[str], failures: Sequence[str], sources: Sequence[str]
) -> Iterable[str]:
    seeds, options = comparison.seeds, comparison.options
    spread = f"mean ± standard error over {seeds} seeds" if seeds > 1 else "one seed"
    given = ", ".join(f"{n} = {v}" for n, v in options.items() if decides_numbers(n) and not names_a_file(n))
    yield f"Target accuracy in percent, {spread}; recipe {comparison.recipe}" + (f", {given}." if given else ".")
    chosen = f"{criterion}: the one that this criterion selects without target labels"
    yield f"last: the last checkpoint; {chosen}; oracle: the best by target labels, which nobody has in practice."
    if absent:
        yield f"Absent and left out, with their tasks: {', '.join(absent)}."
    if sources:
        yield f"published: {'; '.join(dict.fromkeys(sources))}."
    for failure in failures:
        yield f"Failed: {failure}"


def _plain(cell: Cell | None) -> dict[str, float | None] | None:
    return None if cell is None else {"mean": cell.mean, "standard_error": cell.error}


def _tex(text: str) -> str:
    special = {"→": "$\\to$", "_": "\\_", "&": "\\&", "%": "\\%", "#": "\\#", "$": "\\$", "{": "\\{", "}": "\\}"}
    return "".join(special.get(character, character) for character in text)
