"""One frozen dataclass ↔ TOML ↔ flags. Every option of a run stands here once, with its help."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from jointadapt.discrepancy.constants import FIVE_SCALES, SOFTMAX_BANDWIDTH
from jointadapt.errors import UserError, unknown_name

BASELINE = "source-only"  # the method that every other is compared with

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Bandwidth = Positive | Literal["mean", "median"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Config:
    """What a run does: `Field(description=…)` is the help of the flag."""

    source: str = Field("", description="Labelled domain: a folder, an image list (.txt), or .npz .npy .csv .parquet.")
    target: str = Field("", description="Unlabelled domain, likewise; labels found there only serve the evaluation.")
    benchmark: str = Field("", description="Instead of both: a named benchmark, or a TOML file that describes one.")
    root: str = Field("", description="Folder that holds the benchmark's domains.")
    task: str = Field("", description='Of the benchmark: "amazon → webcam", or a2w.')
    target_labels: str = Field(
        "",
        description="As `suggest-labels` writes it, CSV of item, label: the classes of some target rows, to train on.",
    )
    out: str = Field("", description="Run folder to make; by default runs/SOURCE-TARGET-METHOD.")
    method: str = Field("jan", description="How to adapt; `jointadapt ls` names them all; a sum: jan+mcc; auto.")
    baseline: bool = Field(True, description="Also train without adaptation, to tell whether adapting helped.")
    report: bool = Field(True, description="Write report.html into the run folder.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="Repeats a run exactly on the CPU.")

    backbone: str = Field("auto", description="torchvision or timm name; none, mlp or cnn for arrays.")
    weights: str = Field("default", description="default (downloads torchvision's or timm's), none, or a file.")
    frozen: bool = Field(True, description="Keep a pretrained backbone as it is: its features are extracted once.")
    bottleneck: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto",
        description="Width of the layer before the classifier; 0 for none; auto: 256, but 0 for AlexNet and VGG.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.5, description="Dropout in the bottleneck.")

    steps: Annotated[int, Field(ge=1)] = Field(600, description="Training steps.")
    batch_size: Annotated[int, Field(ge=2)] = Field(36, description="Rows of each domain in a step, over all devices.")
    learning_rate: Positive = Field(0.01, description="Initial rate of new layers; a pretrained backbone has a tenth.")
    rate_slope: Annotated[float, Field(ge=0)] = Field(10.0, description="α of the rate's decay η / (1 + α p)^0.75.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(5e-4, description="L2 penalty on every weight.")
    sharpness: NotNegative = Field(0.0, description="ρ: the risk is taken where it is worst within ρ (SDAT); 0: off.")
    trade_off: Literal["auto", "search"] | NotNegative | tuple[NotNegative, ...] = Field(
        "auto",
        description="Final λ, the weight of the transfer term; of a sum, one for each part; auto: the method's; "
        "search: chosen without target labels.",
    )
    select: Literal["last", "entropy", "information", "snd", "clustering", "dev", "transfer-cv"] = Field(
        "last", description="Which checkpoint to report: the last, or the best by a criterion without target labels."
    )
    ramp: bool = Field(True, description="Let λ rise from 0; without, it is the final λ from the first step.")

    estimator: Literal["unbiased", "biased", "linear", "fourier"] = Field(
        "unbiased", description="Of (J)MMD: DDC, DAN, JAN, JAN-A, RTN."
    )
    bandwidth: Bandwidth = Field("mean", description="γ of hidden layers: mean, median, or a number: (J)MMD, LMMD.")
    scales: tuple[Positive, ...] = Field(FIVE_SCALES, description="Multiples of γ that are summed: (J)MMD, LMMD.")
    kernel_weights: Literal["equal", "optimal"] = Field(
        "equal", description="Of the summed Gaussians; optimal: of highest test power (MK-MMD): DAN, JAN, JAN-A."
    )
    output_bandwidth: Bandwidth = Field(SOFTMAX_BANDWIDTH, description="γ of the softmax layer: JAN, JAN-A.")
    hidden: Annotated[int, Field(ge=1)] = Field(1024, description="Width of the discriminator: DANN, CDAN.")
    head: Annotated[int, Field(ge=1)] = Field(1024, description="Width of the second classifier: MCD, MDD.")
    margin: Positive = Field(4.0, description="γ, how sure the second classifier has to be on the source: MDD.")
    label_kernel: Literal["marginal", "conditional", "weighted", "gaussian"] = Field(
        "weighted", description="Of the labels: unified JMMD."
    )
    temperature: Positive = Field(2.5, description="T of the softmax whose confusion is measured: MCC.")
    norm_step: Positive = Field(1.0, description="Δr, what a step adds to the features' norms: AFN.")
    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.9, description="τ, how sure the teacher has to be: FixMatch."
    )
    pseudo: NotNegative = Field(0.3, description="β, the weight of labels from centroids: SHOT.")
    memory: Annotated[int, Field(ge=1)] = Field(1024, description="Rows that centroids are taken from: SHOT.")

    device: str = Field("auto", description="auto, cpu, cuda, mps.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = Field("32-true", description="Of arithmetic.")
    devices: Annotated[int, Field(ge=1)] = Field(1, description="Devices of this machine, a process each.")
    num_nodes: Annotated[int, Field(ge=1)] = Field(1, description="Machines, each with as many devices.")
    accumulate: Annotated[int, Field(ge=1)] = Field(
        1, description="Parts in which a step's rows pass the backbone, twice: the memory of one, the same numbers."
    )
    channels_last: bool = Field(False, description="Keep images channels last in memory; faster on many GPUs.")
    compile: bool = Field(False, description="Compile the backbone with torch.compile.")
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto", description="Processes of each device that decode images; auto: one a core, at most 8."
    )
    checkpoint_every: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="Steps between checkpoints; auto: ten a run."
    )
    cache: str = Field("", description="Where extracted features are kept; by default the user's cache folder.")

    @property
    def bottleneck_width(self) -> int | None:
        """The bottleneck as `Network` takes it."""
        return None if self.bottleneck == "auto" else self.bottleneck


FIELDS = {field.name: field for field in dataclasses.fields(Config)}  # pyright: ignore[reportArgumentType]


def make_config(options: Mapping[str, Any]) -> Config:
    """Return the configuration with these options; a wrong name or value is a `UserError` of one line."""
    for name in options:
        if name not in FIELDS:
            raise unknown_name("option", name, FIELDS)
    try:
        return Config(**options)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        reasons = dict.fromkeys(fault["msg"].lower() for fault in error.errors() if fault["loc"][0] == name)
        raise UserError(f"{name} = {options[name]!r}: {', or '.join(reasons)}.") from error


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the options a TOML file gives; relative paths in it are taken from the current folder, as flags are."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # also for bytes that are no text, numbers too long, nests too deep
        raise UserError(f"{path} is no valid TOML: {error}.") from error


def to_toml(config: Config) -> str:
    """Return the configuration as TOML, every option with its value.

    >>> make_config(tomllib.loads(to_toml(Config(method="dan")))) == Config(method="dan")
    True
    """
    return tomli_w.dumps(dataclasses.asdict(config))  # pyright: ignore[reportArgumentType]
