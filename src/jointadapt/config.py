"""The options of a run, each with its help and kind; ↔ TOML. A method's own options are declared by the method.

An option's kind says what follows from it: a *place* says where things lie, a *machine* option how numbers are
computed, a *number* option which numbers. Numbers alone make two runs different, have to agree when a run is resumed,
and are kept with a model.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field

from jointadapt.errors import UserError, unknown_name
from jointadapt.inputs.options import InputOptions
from jointadapt.methods.options import all_options, options_of
from jointadapt.methods.registry import METHODS
from jointadapt.runtime.files import content_digest
from jointadapt.runtime.options import Count, Kind, NotNegative, Positive, options_of_fields
from jointadapt.selection.registry import CRITERIA, LAST, rule_of

BASELINE = "source-only"  # the method that every other is compared with
PLACE, MACHINE = Kind.PLACE, Kind.MACHINE


class _ByContent:
    """Marks an option whose text may be the path of a file: what the file holds counts, not where it lies."""


BY_CONTENT = _ByContent()


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Data and places"""

    source: Annotated[
        str | tuple[str, ...],
        "Labelled domain: a folder, an image list (.txt), or .npz .mat .csv .parquet …; repeated: several sources.",
        PLACE,
    ] = ""
    target: Annotated[str, "Unlabelled domain, likewise; labels found there serve evaluation only.", PLACE] = ""
    benchmark: Annotated[str, "Instead of both: a named benchmark, or a TOML file that describes one.", PLACE] = ""
    root: Annotated[str, "Folder that holds the benchmark's domains.", PLACE] = ""
    task: Annotated[str, 'Of the benchmark: "amazon → webcam", or a2w.', PLACE] = ""
    target_labels: Annotated[
        str,
        "CSV of item, label, as `suggest-labels` writes it: classes of some target examples, to train on too, and "
        "for auto to choose by.",
        BY_CONTENT,
    ] = ""
    out: Annotated[str, "Run folder to make; by default runs/SOURCE-TARGET-METHOD.", PLACE] = ""
    method: Annotated[str, "Adaptation method: one that `jointadapt ls` lists, a sum (jan+mcc), or auto."] = "jan"
    baseline: Annotated[bool, "Also train without adaptation, to tell whether adapting helped.", MACHINE] = True
    estimate: Annotated[
        bool, "Also estimate the target accuracy, by a second training without a fifth of the source.", MACHINE
    ] = False
    report: Annotated[bool, "Write report.html into the run folder.", MACHINE] = True
    seed: Annotated[int, Field(ge=0, lt=2**31), "Seed of all random numbers; repeats a run exactly on the CPU."] = 0


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Network"""

    backbone: Annotated[
        str,
        "torchvision or timm name; none, mlp, cnn for arrays; cnn1d, resnet1d, inception1d for signals; your own: "
        "module:factory.",
    ] = "auto"
    weights: Annotated[str, "default (downloads torchvision's or timm's), none, or a file.", BY_CONTENT] = "default"
    frozen: Annotated[
        bool | Literal["auto"],
        "Keep the backbone's weights fixed and extract its features once; auto: if it has a name, for image files.",
    ] = "auto"
    bottleneck: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=0)],
        "Width of the layer before the classifier; 0: none; auto: 256, but 0 for AlexNet and VGG.",
    ] = "auto"
    dropout: Annotated[float, Field(ge=0, lt=1), "Dropout in the bottleneck."] = 0.5


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Training"""

    steps: Annotated[Count, "Training steps."] = 600
    batch_size: Annotated[int, Field(ge=2), "Examples of each domain in a step, over all devices."] = 36
    class_balance: Annotated[
        Literal["no", "batches"], "batches: each class of the source equally often in a batch, rare ones repeated."
    ] = "no"
    align: Annotated[
        Literal["no", "columns", "covariance"],
        "Move the source's features onto the target's before the training: the mean and deviation of each column, or "
        "mean and covariance (CORAL).",
    ] = "no"
    source_weights: Annotated[
        Literal["auto", "equal", "pooled"],
        "Several sources: weighed by how near they are, one that hurts dropped; all equal; or pooled as if they were "
        "one.",
    ] = "auto"
    label_shift: Annotated[
        Literal["no", "estimate", "missing", "auto"],
        "estimate: weigh source classes by their estimated target shares (source-only: move its prior); missing: only "
        "take weight off classes that the target seems to lack; auto: estimate if label shift alone explains the "
        "difference.",
    ] = "no"
    unknown: Annotated[
        bool, "Also tell target rows of classes that the source lacks: they are called `unknown`, by a score."
    ] = False
    learning_rate: Annotated[Positive, "Initial learning rate of new layers; a pretrained backbone has a tenth."] = 0.01
    lr_alpha: Annotated[NotNegative, "α of the learning rate's decay η / (1 + α p)^0.75."] = 10.0
    weight_decay: Annotated[NotNegative, "L2 penalty on every weight."] = 5e-4
    sam_rho: Annotated[NotNegative, "Radius ρ of the SAM perturbation of the risk (SDAT); 0: no SAM."] = 0.0
    trade_off: Annotated[
        Literal["auto", "search"] | NotNegative | Annotated[tuple[NotNegative, ...], Field(min_length=1)],
        "Final λ, the weight of the transfer term; for a sum, one for each part; auto: the method's; "
        "search: chosen without target labels.",
    ] = "auto"
    trade_off_warm_up: Annotated[bool, "Let λ rise from 0 to its final value; else it is constant."] = True
    select: Annotated[
        str,
        "Which checkpoint to report: last, or the best by a criterion without target labels: "
        f"{', '.join(CRITERIA.rows)}, or your own function, module:name.",
    ] = LAST
    precision: Annotated[
        Literal["32-true", "bf16-mixed", "16-mixed", "64-true"], "Floating-point precision of the training."
    ] = "32-true"


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Machine"""

    device: Annotated[str, "auto, cpu, cuda or mps.", MACHINE] = "auto"
    devices: Annotated[Count, "Devices to use on this machine, one process each.", MACHINE] = 1
    num_nodes: Annotated[Count, "Machines (nodes), each with as many devices.", MACHINE] = 1
    recompute_chunks: Annotated[
        Count,
        "Activation checkpointing: chunks of a batch, recomputed in the backward pass; the memory of one chunk, the "
        "same results.",
        MACHINE,
    ] = 1
    channels_last: Annotated[bool, "Keep images channels last in memory; faster on many GPUs.", MACHINE] = False
    compile: Annotated[bool, "Compile the backbone with torch.compile.", MACHINE] = False
    workers: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=0)],
        "Processes per device that decode images; auto: one per core, at most 8.",
        MACHINE,
    ] = "auto"
    checkpoint_every: Annotated[Literal["auto"] | Count, "Steps between checkpoints; auto: ten per run.", MACHINE] = (
        "auto"
    )
    cache: Annotated[str, "Where extracted features are kept; by default the user's cache folder.", PLACE] = ""


@dataclass(frozen=True, kw_only=True)
class Config(MachineOptions, TrainingOptions, NetworkOptions, InputOptions, RunOptions):
    """What a run does.

    Args:
        method_options: the options that the method has, each with its value.
        given: what the user said, by name; all else is a default, or was found out by the run (`replace`).
    """

    method_options: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def bottleneck_width(self) -> int | None:
        """The bottleneck as `Network` takes it."""
        return None if self.bottleneck == "auto" else self.bottleneck

    def flat(self) -> dict[str, Any]:
        """Return every option by name, the run's and the method's."""
        return {**{name: getattr(self, name) for name in RUN_OPTIONS}, **self.method_options}

    def numbers(self) -> dict[str, Any]:
        """Return the options that decide which numbers come out, as plain values."""
        given = {name: value for name, value in self.flat().items() if value is not None}
        return {name: _plain(value) for name, value in given.items() if decides_numbers(name)}

    def identity(self) -> dict[str, Any]:
        """Return the same, a file as a digest of what it holds: equal for runs of equal numbers."""
        return {name: content_of(name, value) for name, value in self.numbers().items()}

    def but(self, **changes: Any) -> "Config":
        """Return the configuration with other options, as if they had been given so.

        What was found out since stays; options that only the former method has are left out.
        """
        config = make_config(fitting({**self.flat(), **changes}, changes.get("method", self.method)))
        given = {name: value for name, value in config.flat().items() if name in self.given or name in changes}
        return replace(config, given=given)


RUN_OPTIONS = {option.name: option for option in options_of_fields(Config)}


def make_config(options: Mapping[str, Any]) -> Config:
    """Return the configuration with these options; a wrong name or value is a `UserError` of one line.

    `method` may be a class, `select` a function; then they go by their names.
    """
    method = METHODS.name_of(options.get("method", Config.method))
    select = rule_of(options.get("select", LAST))
    own = options_of(method)
    check_names(options, [method])
    known = {**own, **RUN_OPTIONS}
    given = {name: known[name].check(value) for name, value in {**options, "method": method, "select": select}.items()}
    run = {name: _one_alone(value) for name, value in given.items() if name in RUN_OPTIONS}
    config = Config(
        **_of_one_table(run),
        method_options={name: given.get(name, option.default) for name, option in own.items()},
        given={name: run.get(name, given[name]) for name in options},
    )
    _check_pairs(config)
    return config


def _check_pairs(config: Config) -> None:
    """Raise a `UserError` for batches whose rows an estimator that pairs them cannot pair; before any training."""
    if config.method_options.get("estimator") == "linear" and config.batch_size % 2:
        raise UserError(
            f"estimator = 'linear' pairs the rows of a batch: batch_size has to be even; got {config.batch_size}. Give "
            f"{config.batch_size + 1}, or another estimator."
        )


def _one_alone(value: Any) -> Any:
    """Return the text of an option that may be repeated, and is there once."""
    texts = isinstance(value, tuple) and all(isinstance(text, str) for text in value)
    return ("" if not value else value[0]) if texts and len(value) < 2 else value


def _of_one_table(run: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run; where one table holds both domains, its path is that of both."""
    paths = {role: run.get(role) or "" for role in ("source", "target")}
    splits = run.get("domain_column") and (run.get("source_domain") or run.get("target_domain"))
    given = [path for path in paths.values() if path]
    return (
        {**run, **dict.fromkeys(paths, given[0])} if splits and len(given) == 1 and isinstance(given[0], str) else run
    )


def check_names(names: Iterable[str], methods: Iterable[str]) -> None:
    """Raise a `UserError` for a name that is no option of a run, nor of one of the methods."""
    methods = [*methods]
    known = dict(RUN_OPTIONS)
    for method in methods:
        own = options_of(method)
        if taken := [name for name in own if name in RUN_OPTIONS]:
            raise UserError(f"the method {method} has an option {taken[0]!r}, as every run has; name it otherwise.")
        known |= own
    for name in names:
        if name in known:
            continue
        if (option := all_options().get(name)) is not None:
            owners = ", ".join(option.owners)
            lacking = f"{methods[0]} has no" if len(methods) == 1 else f"none of {', '.join(methods)} has an"
            raise UserError(f"{lacking} option {name!r}: it is one of {owners}; leave it out.")
        raise unknown_name("option", name, known)


def fitting(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return those of the options that every run has, or that this method has."""
    own = options_of(METHODS.name_of(method))
    return {name: value for name, value in options.items() if name in RUN_OPTIONS or name in own}


def decides_numbers(name: str) -> bool:
    """Return whether an option decides which numbers come out: a run's by its kind, a method's always."""
    return name not in RUN_OPTIONS or RUN_OPTIONS[name].kind == Kind.NUMBER


def names_a_file(name: str) -> bool:
    """Return whether an option's text may be the path of a file whose content decides numbers."""
    return name in RUN_OPTIONS and BY_CONTENT in RUN_OPTIONS[name].hint.__metadata__


def content_of(name: str, value: Any) -> Any:
    """Return an option's value; the digest of what the file holds where it may be, and is, the path of one."""
    if not names_a_file(name) or not (path := Path(value)).is_file():
        return value
    return content_digest(path)


def _plain(value: Any) -> Any:
    """Return a value as TOML and JSON have it: an object that only Python can give by its `repr`."""
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the options a TOML file gives; relative paths in it are taken from the current folder, as flags are.

    Of a run's own `config.toml` these are the given ones.
    """
    tables = read_toml(path)
    return tables["given"] if {*tables} == {"given", "resolved"} else tables


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return what a TOML file holds."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # also for bytes that are no text, numbers too long, nests too deep
        raise UserError(f"{path} is no valid TOML: {error}.") from error


def to_toml(config: Config) -> str:
    """Return the configuration as TOML: what was given, and what every option was resolved to.

    >>> print(to_toml(make_config({"method": "mcc", "steps": 10})).split("[resolved]")[0])
    [given]
    method = "mcc"
    steps = 10
    <BLANKLINE>
    <BLANKLINE>
    """
    tables = {"given": config.given, "resolved": config.flat()}
    return tomli_w.dumps(
        {
            table: {name: _plain(value) for name, value in options.items() if value is not None}
            for table, options in tables.items()
        }
    )


def from_record(resolved: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Config:
    """Return a configuration that was kept; its method is not looked up, as it may not be installed here."""
    run = {name: RUN_OPTIONS[name].check(value) for name, value in resolved.items() if name in RUN_OPTIONS}
    own = {name: value for name, value in resolved.items() if name not in RUN_OPTIONS}
    return Config(**run, method_options=own, given=dict(given or {}))
