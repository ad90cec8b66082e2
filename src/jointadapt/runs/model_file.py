"""The file of a trained model: safetensors, and in its header what they are; read, and made a network again."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor, nn

from jointadapt.config import Config, fitting, from_record
from jointadapt.data import Preprocessing
from jointadapt.errors import UserError
from jointadapt.inputs.pictures import Pictures
from jointadapt.inputs.pipeline import PREFIX, Inputs, restore_inputs
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.ensemble import join
from jointadapt.networks.network import Head, Network
from jointadapt.networks.weights import Undrawn, load_tensors
from jointadapt.selection.unknown_classes import UnknownClasses

FORMAT = 2
UNKNOWN_PREFIX = "unknown."
# The names of options in files of the first format, which says none.
RENAMED = {
    "hidden": "discriminator_width",
    "head": "second_classifier_width",
    "memory": "centroid_memory",
    "pseudo": "pseudo_label_weight",
    "threshold": "confidence_threshold",
    "temperature": "mcc_temperature",
    "sharpness": "sam_rho",
    "accumulate": "recompute_chunks",
    "rate_slope": "lr_alpha",
    "ramp": "trade_off_warm_up",
}


@dataclass(frozen=True)
class ModelFile:
    """What a model's file holds.

    Args:
        members: how many networks' probabilities it averages.
        digest: of the backbone, where the file holds the head alone and says it.
        preprocessing: of a backbone of one's own.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...]
    config: Config
    shape: tuple[int, ...] | None
    temperature: float
    frozen: bool
    members: int
    digest: str | None
    preprocessing: Preprocessing | None
    inputs: Inputs
    unknown: UnknownClasses | None

    @classmethod
    def read(cls, path: str | Path) -> "ModelFile":
        """Return what a model's file holds, given its path or that of its run folder."""
        file = Path(path) / "model.safetensors" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise UserError(f"{path} holds no trained model (model.safetensors); give the folder of a finished run.")
        try:
            with safe_open(file, framework="pt") as opened:
                header = opened.metadata()
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise _no_model(file, error) from error
        return cls._of(file, header, tensors)

    @classmethod
    def unpack(cls, content: bytes) -> "ModelFile":
        """Return what such a file holds, given its content."""
        name = Path("this pickle of a model")
        try:
            length = int.from_bytes(content[:8], "little")  # of the header, which is JSON
            header, tensors = json.loads(content[8 : 8 + length])["__metadata__"], load(content)
        except (SafetensorError, KeyError, ValueError) as error:
            raise _no_model(name, error) from error
        return cls._of(name, header, tensors)

    @classmethod
    def _of(cls, path: Path, header: Mapping[str, str] | None, tensors: dict[str, Tensor]) -> "ModelFile":
        """Return what header and tensors say, also those of the first format."""
        try:
            about = json.loads((header or {})["jointadapt"])
            if "format" not in about:
                tensors, about = _as_now(tensors, about)
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']}, this version reads {FORMAT} and older")
            classes, shape, config = tuple(about["classes"]), tuple(about["shape"] or ()) or None, about["config"]
            numbers = float(about["temperature"]), bool(about["frozen"]), int(about.get("members", 1))
            preprocessing = about["preprocessing"] and _preprocessing(about["preprocessing"])
            resized = {Pictures.name: {"shape": shape}} if shape and len(shape) == 3 else {}  # older files say nothing
            inputs = restore_inputs(about.get("inputs", resized), tensors)
            unknown = _unknown(about.get("unknown"), tensors)
            others = (PREFIX, UNKNOWN_PREFIX)
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(others)}
            found = path, tensors, classes, from_record(config), shape, *numbers, about["backbone"], preprocessing
            return cls(*found, inputs, unknown)
        except (KeyError, TypeError, ValueError) as error:
            raise _no_model(path, error) from error

    @property
    def whole(self) -> bool:
        """Whether it holds the backbone's weights, as far as it has any."""
        return any(name.startswith("backbone.") for name in self.tensors) or self.shape is not None

    def build_backbone(self, given: str | nn.Module | None, weights: str | None) -> Backbone:
        """Return the backbone that was given, else the configuration's; of a head alone with the weights it had.

        A name that a file gives is looked up, but nothing at an import path is run for a file's sake.
        """
        name = self.config.backbone
        if isinstance(given, str) and given != name and ":" not in name:
            raise UserError(f"{self.path} was trained with the backbone {name}; leave --backbone out.")
        if given is None and ":" in name:
            raise UserError(
                f"{self.path} was trained with a backbone of one's own, {name}; give it again with --backbone "
                "module:factory, or Model.load(path, backbone=…)."
            )
        body = name if given is None else given
        if self.whole or isinstance(body, nn.Module):
            backbone = build_backbone(body, None, self.shape)
            # The user's module, or a run's backbone, from which another method begins, stays as it is.
            backbone = copy.deepcopy(backbone) if backbone.own or isinstance(body, nn.Module) else backbone
        else:
            backbone = build_backbone(body, self._weights(weights), self.shape)
        if not self.whole and self.digest not in (None, backbone.digest()):
            raise UserError(
                f"{self.path} holds the head alone, and was trained with other weights of {name} than there are now "
                f"({weights or self.config.weights}); give those with --weights FILE, or Model.load(path, weights=…)."
            )
        backbone.preprocessing = self.preprocessing or backbone.preprocessing
        return backbone

    def build_network(self, backbone: Backbone) -> Network:
        """Return a network of this backbone, its other weights still to be loaded."""
        config, frozen = self.config, self.frozen

        def built(body: Backbone) -> Network:
            with Undrawn():
                head = Head(body.widths, len(self.classes), config.bottleneck_width, config.dropout)
            return Network(body, head, frozen)

        if self.members == 1:
            return built(backbone)
        return join([built(backbone if frozen else copy.deepcopy(backbone)) for _ in range(self.members)])

    def _weights(self, given: str | None) -> str:
        """Return where the weights of the backbone are; a `UserError` where they cannot be found again."""
        weights = given or self.config.weights
        if weights == "none":
            raise UserError(f"{self.path} holds the head alone, and nobody kept the random weights of its backbone.")
        if weights != "default" and not Path(weights).is_file():
            raise UserError(
                f"{self.path} holds the head alone, and the weights of its backbone, {weights}, are not there; give "
                "the file with --weights FILE, or Model.load(path, weights=…)."
            )
        return weights

    def load_into(self, network: Network, given: bool) -> None:
        """Give a network the file's weights."""
        part = network if self.whole else network.head
        tensors = {name if self.whole else name.removeprefix("head."): x for name, x in self.tensors.items()}
        try:
            load_tensors(part, tensors)
        except RuntimeError as error:
            if given:
                reason = " ".join(str(error).split())[:160]
                raise UserError(f"the backbone that was given is not the one of {self.path} ({reason}).") from error
            raise _no_model(self.path, error) from error


def _no_model(file: Path, error: Exception) -> UserError:
    return UserError(f"{file} is no model of jointadapt ({' '.join(str(error).split())[:160]}).")


def _unknown(values: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> UnknownClasses | None:
    """Return what tells unknown classes, where a file holds it."""
    if values is None:
        return None
    own = {name.removeprefix(UNKNOWN_PREFIX): x for name, x in tensors.items() if name.startswith(UNKNOWN_PREFIX)}
    return UnknownClasses.restore(values, own)


def _preprocessing(about: Mapping[str, Any]) -> Preprocessing:
    about = {**about, "mean": tuple(about["mean"]), "std": tuple(about["std"])}  # JSON has made lists of them
    return Preprocessing(**about)


def _as_now(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and description of a file of the first format as they are called now."""
    of_head = ("bottleneck.", "classifier.")
    tensors = {f"head.{name}" if name.startswith(of_head) else name: x for name, x in tensors.items()}
    renamed = {str(RENAMED.get(name, name)): value for name, value in about["config"].items()}
    config = fitting(renamed, renamed["method"])
    frozen = config["frozen"] and about["shape"] is None
    since = {"format": FORMAT, "config": config, "frozen": frozen, "backbone": None, "preprocessing": None}
    return tensors, {"temperature": 1.0, **about, **since}
