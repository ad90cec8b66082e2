"""A trained model → its model card: a README.md that people read, with metadata at its head that the hub reads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from scipy.stats import binomtest

from jointadapt.config import BASELINE, RUN_OPTIONS, Config, decides_numbers, names_a_file
from jointadapt.errors import UserError, reason
from jointadapt.evaluation.metrics import Evaluation
from jointadapt.experiment import Run
from jointadapt.methods.names import method_title
from jointadapt.methods.options import options_of
from jointadapt.methods.registry import AUTO, METHODS
from jointadapt.reporting.html import counted, percent, plain
from jointadapt.reporting.run_report_parts import selection_facts
from jointadapt.runs.model import Model
from jointadapt.runs.model_file import ModelFile
from jointadapt.runs.reading import FinishedRun, read_run
from jointadapt.runs.summary import Summary
from jointadapt.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

PLACEHOLDER = "your-name/your-model"
MOST_CLASSES = 40  # that are listed by name
TOLD_ELSEWHERE = ("method", "backbone", "weights", "steps", "seed", "target_labels", "select", "unknown", "standardize")
FITTING = {"images": "image-classification", "features": "tabular-classification", "table": "tabular-classification"}
WORDS = {"images": "pictures", "pixels": "pictures", "signals": "signals", "features": "rows", "table": "table rows"}
NO_HUB = "a model card needs huggingface_hub; install it with: pip install 'jointadapt[hub]'"

Given = str | Path | FinishedRun | Run | Model


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from: what the model is, and what its training found.

    Args:
        kind: what a row is: "images" (files), "pixels", "signals", "features" or "table".
        training_rows: how many rows that it was trained on stand in the model itself.
        summary: None of a model that comes without its run.
    """

    config: Config
    classes: tuple[str, ...]
    shape: tuple[int, ...] | None
    kind: str
    columns: tuple[str, ...]
    temperature: float
    members: int
    training_rows: int
    summary: Summary | None

    @classmethod
    def of(cls, run: Given) -> "CardFacts":
        """Return the facts of a run, of its folder, or of a model alone. No network is built for them."""
        if isinstance(run, str | Path):
            run = read_run(run)
        if isinstance(run, FinishedRun):
            return cls._of(ModelFile.read(run.folder), run.config, run.summary)
        if isinstance(run, Run):
            return cls._of(run.model, run.model.config, run.summary)
        return cls._of(run, run.config, None)

    @classmethod
    def _of(cls, model: Model | ModelFile, config: Config, summary: Summary | None) -> "CardFacts":
        learnt = model.inputs.values()
        table = learnt.get("table", {})
        columns = (*table.get("numbers", ()), *table.get("categories", ()))
        examples = 0 if model.unknown is None else len(model.unknown.examples)
        kind = _kind(model.shape, learnt)
        return cls(
            config, model.classes, model.shape, kind, columns, model.temperature, model.members, examples, summary
        )

    @property
    def task(self) -> str:
        """The task, "amazon → webcam"; nothing where it is not known."""
        return "" if self.summary is None else self.summary.task

    @property
    def domains(self) -> tuple[str, str]:
        """The names of source and target."""
        parts = self.task.split(" → ")
        return (parts[0], parts[1]) if len(parts) == 2 else ("the source", "the target")

    @property
    def method(self) -> str:
        """The method as sentences have it."""
        return method_title(self.summary.method if self.summary else self.config.method)

    @property
    def adapted(self) -> bool:
        """Whether what is shared is adapted: `auto` may have chosen the model that is not."""
        return BASELINE not in (self.config.method, self.summary and self.summary.chosen)

    @property
    def explained(self) -> bool:
        """Whether `jointadapt ls` says what the method does."""
        return _is_known(self.config.method)

    @property
    def own_backbone(self) -> bool:
        """Whether its backbone is a module that whoever uses it has to bring."""
        return ":" in self.config.backbone

    @property
    def options(self) -> dict[str, str]:
        """The options that decided numbers and were given, or are not at their defaults; a file by its name alone."""
        own = {name: option.default for name, option in _own_options(self.config).items()}
        defaults = {**{name: option.default for name, option in RUN_OPTIONS.items()}, **own}
        found = {}
        for name, value in self.config.flat().items():
            if not decides_numbers(name) or name in TOLD_ELSEWHERE or value in (None, ""):
                continue
            default = defaults.get(name)
            if name in self.config.given or (value != default and default != "auto"):
                found[name] = Path(str(value)).name if names_a_file(name) else _shown(value)
        return {name: value for name, value in found.items() if value != _shown(defaults.get(name))}

    @property
    def weights(self) -> str:
        """Where the backbone's weights came from: a name, or that of a file without its path."""
        weights = self.config.weights
        return weights if weights in ("default", "none") else Path(weights).name

    @property
    def notes(self) -> list[str]:
        """What the run warned of, but for what may hold a path of the machine it ran on."""
        return [note for note in self.summary.warnings if not re.search(r"[/\\]", note)] if self.summary else []

    @property
    def measured(self) -> list[tuple[str, Evaluation]]:
        """What the target's labels say of this model, and of the source-only model beside it, where there is one."""
        if self.summary is None or self.summary.evaluation is None:
            return []
        plain_model = self.summary.baseline and self.summary.baseline.evaluation
        beside = [("the same without adaptation (source-only)", plain_model)] if plain_model else []
        return [("this model", self.summary.evaluation), *beside]

    @property
    def weakest(self) -> tuple[str, float, int] | None:
        """The class with the fewest right target examples: its name, percent right, and how many there are."""
        if self.summary is None or self.summary.evaluation is None:
            return None
        rows = enumerate(self.summary.evaluation.confusion)
        rates = [(100 * row[number] / sum(row), number, sum(row)) for number, row in rows if sum(row)]
        rate, number, examples = min(rates)
        return self.classes[number], rate, examples


def model_card(run: Given, *, repo: str = "", license: str = "", date: str = "") -> str:  # noqa: A002
    """Return the model card of a run as Markdown, its metadata in a YAML block at the head.

    It says what the model was trained on, how it was chosen, what is known of its accuracy and what is not, its limits,
    and how it is used. Paths of the machine it was trained on are not in it.

    Args:
        run: a run folder, a `FinishedRun`, a `Run` of `jointadapt.train`, or a `Model` (of which less is known).
        repo: its name on the hub, "your-name/your-model"; the card's example has it.
        license: of the model, by the hub's identifier, "mit"; "" leaves it to the reader to ask.
        date: of the card, "2026-12-01"; by default today's.

    Written and checked by `huggingface_hub`'s `ModelCard`, offline; a `UserError` where that is not installed.
    """
    return render(CardFacts.of(run), repo=repo, license=license, date=date)


def render(facts: CardFacts, *, repo: str = "", license: str = "", date: str = "") -> str:  # noqa: A002
    """Return the card of these facts; its arguments are those of `model_card`."""
    try:
        from huggingface_hub import ModelCard
    except ImportError as error:
        raise UserError(NO_HUB) from error
    _check_names(repo, license)
    summary = facts.summary
    body = _template("card.md.j2").render(
        facts=facts,
        summary=summary,
        source=facts.domains[0],
        target=facts.domains[1],
        things=WORDS[facts.kind],
        repo=repo or PLACEHOLDER,
        license=license,
        date=date or datetime.now(UTC).date().isoformat(),
        version=summary.jointadapt if summary else __version__,
        listed=facts.classes[:MOST_CLASSES],
        selection=selection_facts(summary.selection)[:1] if summary else [],
        search=summary.selection.trade_off if summary else None,
    )
    metadata = _metadata(facts, repo, license)
    body = re.sub(r"\n{3,}", "\n\n", body)  # parts that were left out
    return ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}").content


def _check_names(repo: str, license: str) -> None:  # noqa: A002
    """Raise a `UserError` for names that the hub would refuse, before anything is written."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        if repo:
            validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"{repo!r} is no name for the hub, as your-name/your-model is: {reason(error)}") from error
    if license and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise UserError(f"{license!r} is no license as the hub names them: mit, apache-2.0, cc-by-4.0, other, …")


def _metadata(facts: CardFacts, repo: str, license: str) -> "ModelCardData":  # noqa: A002
    """Return what the hub reads; an accuracy stands in it only where it was measured."""
    from huggingface_hub import EvalResult, ModelCardData

    name = re.sub(r"[^a-z0-9]+", "-", facts.method.lower()).strip("-")
    evaluation = facts.summary and facts.summary.evaluation
    results = None
    if evaluation is not None:
        target = plain(facts.domains[1])
        results = [
            EvalResult(
                task_type=FITTING.get(facts.kind, "other"),
                dataset_type=re.sub(r"[^\w.-]+", "-", target).strip("-") or "target",
                dataset_name=f"{target} (target; labels for evaluation only)",
                metric_type="accuracy",
                metric_name="Accuracy",
                metric_value=round(evaluation.accuracy / 100, 4),
            )
        ]
    return ModelCardData(
        library_name="jointadapt",
        license=license or None,
        pipeline_tag=FITTING.get(facts.kind),
        tags=["domain-adaptation", "unsupervised-domain-adaptation", *([name] if name else [])],
        metrics=["accuracy"] if results else None,
        eval_results=results,
        model_name=(repo or plain(facts.task) or "jointadapt model") if results else None,
    )


def _kind(shape: tuple[int, ...] | None, learnt: Mapping[str, Any]) -> str:
    if shape is None:
        return "images"
    if "table" in learnt or "signals" in learnt:
        return "table" if "table" in learnt else "signals"
    return "pixels" if len(shape) == 3 else "features"


def _own_options(config: Config) -> Mapping[str, Any]:
    """Return the options of the run's method; none of one that is not installed here, as no file's code is run."""
    return options_of(config.method) if config.method == AUTO or _is_known(config.method) else {}


def _is_known(method: str) -> bool:
    """Return whether this is a method, or a sum of methods, that this installation knows by name."""
    return all(part in METHODS for part in method.split("+"))


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(_shown, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _template(name: str) -> jinja2.Template:
    """Return a template of a Markdown page; whatever is put into it has to pass `text` or `code`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jointadapt.exporting"),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, counted=counted, text=text, code=code, interval=interval)
    return environment.get_template(name)


def interval(found: Evaluation) -> str:
    """Return Wilson's 95 % interval of an accuracy, in percent: what as many examples can tell.

    >>> interval(Evaluation(100.0, 100.0, [[16, 0], [0, 16]], 32))
    '89.3 to 100.0'
    """
    right = sum(row[number] for number, row in enumerate(found.confusion))
    limits = binomtest(right, found.rows).proportion_ci(0.95, "wilson")
    return f"{100 * limits.low:.1f} to {100 * limits.high:.1f}"


def text(value: object) -> str:
    """Return a text so that Markdown shows it as it is, on one line.

    >>> print(text("back_pack *new* <b>"))
    back\\_pack \\*new\\* \\<b\\>
    """
    return re.sub(r"([\\`*_\[\]<>#|~$&])", r"\\\1", str(plain(str(value))))


def code(value: object) -> str:
    """Return a text as code of Markdown, also one that holds backticks; the | that would end a cell is escaped.

    >>> print(code("back_pack"), code("a`b"))
    `back_pack` ``a`b``
    """
    shown = str(plain(str(value))).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if shown[:1] in ("`", " ", "") or shown[-1:] in ("`", " ") else ""
    return f"{fence}{space}{shown}{space}{fence}"
