"""What a run found: one typed record, written last, with the version of its format."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from jointadapt.evaluation.metrics import Evaluation
from jointadapt.evaluation.open_set import OpenSetEvaluation
from jointadapt.runtime.json_text import Number
from jointadapt.selection.sources import SourceWeight

FORMAT = 2  # format 1 said no version; it is read as it is
OPTIONAL = ("standardized", "sources", "class_shares", "few_labels", "unknown", "accuracy_estimate")
OF_AUTO = ("chosen", "candidates", "diagnosis", "calibration")


@dataclass(frozen=True)
class DomainSummary:
    """A domain as it was read: `skipped` are files that could not be."""

    path: str
    rows: int
    labelled: bool
    skipped: int


@dataclass(frozen=True)
class CheckpointScores:
    """A checkpoint that might have been reported; accuracies in percent where the target has labels."""

    step: int
    eligible: bool
    scores: dict[str, Number]
    accuracy: float | None
    mean_per_class_accuracy: float | None


@dataclass(frozen=True)
class CheckpointChoice:
    """The checkpoint that one criterion selects, with its accuracies."""

    step: int
    accuracy: float | None
    mean_per_class_accuracy: float | None


@dataclass(frozen=True)
class Trial:
    """One training of the search for λ: its score by the search's criterion, and whether the guard lets it pass."""

    trade_off: Number
    fold: int
    score: Number
    eligible: bool


@dataclass(frozen=True)
class TradeOffSearch:
    """How λ was chosen: the criterion, the trials, and the λ chosen once there is one; "auto" if none was eligible."""

    rule: str
    chosen: float | Literal["auto"] | None = None
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Which checkpoint is reported, by which criterion (`rule`), and what the others would have selected."""

    rule: str
    step: int
    candidates: tuple[CheckpointScores, ...]
    choices: dict[str, CheckpointChoice]
    trade_off: TradeOffSearch | None = None


@dataclass(frozen=True)
class BaselineSummary:
    """The source-only model of the same data and its accuracies."""

    evaluation: Evaluation | None
    source_accuracy: float | None
    confidence: Number


@dataclass(frozen=True)
class ModelScores:
    """A model that `auto` chose from: its scores and its accuracies."""

    evaluation: Evaluation | None
    neighbours: Number
    geometry: Number
    beyond_chance: Number | None = None


@dataclass(frozen=True)
class DiagnosisSummary:
    """What `auto` took for the difference of the domains: the fields of a `Diagnosis`, its kind, and its words."""

    rows: int
    classes: int
    p_value: Number
    p_value_reweighted: Number
    proportions: tuple[Number, ...]
    moved: Number
    missing: int
    kind: str
    words: str


@dataclass(frozen=True)
class AccuracyEstimate:
    """The target accuracy that is expected of a model without target labels, in percent.

    `value` lies in the 90 % interval `low` to `high`; all three are None where it cannot be told (`told`), and `words`
    say why. `parts` are the estimates that it is made of; `assumed` is what probabilities are softened to: the value,
    or, where it cannot be told, the number that would have been it.
    """

    told: bool
    value: float | None
    low: float | None
    high: float | None
    assumed: Number
    parts: dict[str, Number]
    words: str


@dataclass(frozen=True)
class Calibration:
    """The temperature of an `auto` run's probabilities; accuracy and calibration errors in percent.

    `believed_accuracy` is the number that the confidence is brought down to: what the accuracy estimate assumes.
    """

    temperature: Number
    believed_accuracy: Number
    error_before: float | None
    error: float | None


@dataclass(frozen=True)
class ClassSharesSummary:
    """Each class's share in percent, of the source, and of the target as it was estimated (`mode`), with an interval.

    The interval covers it with 90 % as far as the choice of the target's examples goes.
    """

    mode: str
    source: tuple[Number, ...]
    target: tuple[Number, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]


@dataclass(frozen=True)
class FewLabels:
    """What a few labels said of the models that `auto` chose from: the fields of a `Judgement`.

    `posterior` is each model's probability of being the best; `disputed` the fraction of the target's rows to which the
    chosen model and the next to it, its `rival`, give different classes; `further` the number of labels of such rows
    that would tell the two apart, None where that cannot be said.
    """

    labels: int
    posterior: dict[str, Number]
    rival: str
    disputed: Number
    further: int | None


@dataclass(frozen=True)
class UnknownSummary:
    """What `--unknown` found in the target.

    Args:
        threshold: the score above which a row is called unknown.
        rows: how many rows are.
        share: of the target, in percent.
        histograms: counts of scores in equal bins from 0 to 1: of held-out source rows ("source"); and of the target,
            all ("target"), or those of known, of unknown, and of no label ("known", "unknown", "target").
        evaluation: by the target's labels; None where it has none.
    """

    threshold: Number
    rows: int
    share: Number
    histograms: dict[str, tuple[int, ...]]
    evaluation: OpenSetEvaluation | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run found. Accuracies are percentages; None where the target has no labels.

    `jointadapt` is the version that wrote it; `target_labels` the number of target rows whose labels were trained on;
    `sources` what each of several sources counts for, and which was dropped;
    `agreement` the percentage of target rows that get source-only's class; `standardized` says by whose columns
    features became z-scores; `unknown` is what was found of unknown classes, `accuracy_estimate` the accuracy that is
    expected, where these were asked for. Of `auto` only: the method that was `chosen`, the `candidates`, the
    `diagnosis`, the `calibration`, and, where target labels were given, what they said (`few_labels`). `class_shares`
    only where they were estimated.
    """

    jointadapt: str
    task: str
    method: str
    backbone: str
    steps: int
    seed: int
    frozen: bool
    classes: tuple[str, ...]
    source: DomainSummary
    target: DomainSummary
    target_labels: int
    warnings: tuple[str, ...]
    selection: Selection
    source_accuracy: float | None
    confidence: Number
    evaluation: Evaluation | None
    baseline: BaselineSummary | None
    agreement: float | None
    verdict: str
    seconds: Number
    versions: dict[str, str]
    chosen: str = ""
    candidates: dict[str, ModelScores] = field(default_factory=dict)
    diagnosis: DiagnosisSummary | None = None
    calibration: Calibration | None = None
    standardized: Literal["no", "source", "domain"] = "no"
    sources: tuple[SourceWeight, ...] = ()
    class_shares: ClassSharesSummary | None = None
    few_labels: FewLabels | None = None
    unknown: UnknownSummary | None = None
    accuracy_estimate: AccuracyEstimate | None = None

    @property
    def accuracy(self) -> float | None:
        """The target accuracy in percent, where it is known."""
        return self.evaluation and self.evaluation.accuracy

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON has it, with the version of its format."""
        found = {"format": FORMAT, **asdict(self)}
        for scores in found["candidates"].values():
            if scores["beyond_chance"] is None:  # it was not scored when this was written
                del scores["beyond_chance"]
        left_out = [name for name in OPTIONAL if getattr(self, name) in (None, "no", ())]
        left_out += () if self.chosen else OF_AUTO
        return {name: value for name, value in found.items() if name not in left_out}

    @classmethod
    def from_json(cls, found: Any) -> "Summary":
        """Return the record that `to_json` gave, of this format or the one before; a `ValueError` of one line if it is
        none.
        """
        if isinstance(found, dict) and found.get("format", 1) not in (1, FORMAT):
            raise ValueError(f"its format is {found['format']!r}, and this version reads formats up to {FORMAT}")
        return _checked(cls, found)


def search_from_json(found: Any) -> TradeOffSearch:
    """Return a search for λ as it was written; a `ValueError` of one line if it is none."""
    return _checked(TradeOffSearch, found)


def _checked(kind: Any, found: Any) -> Any:
    """Return a record of a kind, made from JSON; what is wrong with the first field that does not fit is told."""
    try:
        return TypeAdapter(kind).validate_python(found)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{place + ': ' if place else ''}{fault['msg'].lower()}") from error
