"""A trained classifier: in memory, and as one file that needs nothing else."""

import copy
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from jointadapt.config import Config, fitting, from_record
from jointadapt.data import Domain, Preprocessing
from jointadapt.data.labels import UNKNOWN
from jointadapt.errors import UserError
from jointadapt.evaluation.calibration import tempered
from jointadapt.evaluation.predict import ModelOutputs, network_outputs
from jointadapt.inputs.pictures import Pictures
from jointadapt.inputs.pipeline import PREFIX, Inputs, restore_inputs
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.ensemble import JoinedHead, join
from jointadapt.networks.features import FeatureExtractor, PrecomputedFeatures
from jointadapt.networks.network import Head, Network
from jointadapt.runtime.files import default_cache, write_atomically
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.random_state import preserved_rng_state
from jointadapt.runtime.torch_defaults import torch_defaults
from jointadapt.selection.unknown_classes import UnknownClasses

FORMAT = 2
UNKNOWN_PREFIX = "unknown."
ROWS_AT_ONCE = 1024
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
class Model:
    """A network with what it takes to use it: its classes, its configuration, what is done to rows before it.

    `shape` is that of a row of arrays when that is done. `temperature` is what `predict_proba` divides the logits by.
    `unknown` says which rows are of none of the classes, where that was asked for.
    """

    network: Network
    classes: tuple[str, ...]
    config: Config
    shape: tuple[int, ...] | None = None
    temperature: float = 1.0
    inputs: Inputs = field(default_factory=Inputs)
    unknown: UnknownClasses | None = None

    @property
    def members(self) -> int:
        """How many trained networks' probabilities it averages; 1 of a single one."""
        head = self.network.head
        return head.members if isinstance(head, JoinedHead) else 1

    @torch_defaults()
    def outputs(
        self,
        domain: Domain,
        track: Track = silent,
        *,
        cache: Path | None = None,
        pictured: Collection[int] | None = None,
    ) -> ModelOutputs:
        """Return features (n, d) and probabilities (n, classes) of a domain.

        Args:
            domain: as it was read, and then taken for a target; or made ready by `inputs`; or what the backbone has
                made of it (`extractor`).
            cache: with one, a frozen backbone's features are taken from there, and kept there.
            pictured: of these rows only features are kept; None: of all.
        """
        domain = self.inputs.target(domain)
        self.check(domain)
        if cache is not None:
            domain = self.extractor(cache, track=track).prepared(domain)
        if domain.precomputed:
            head = Network(PrecomputedFeatures(self.network.backbone.widths), self.network.head)
            return network_outputs(head, domain, track=track, pictured=pictured)
        batch_size = 32 if domain.holds_images else 1024
        return network_outputs(self.network, domain, batch_size, track, pictured)

    def check(self, domain: Domain) -> None:
        """Raise a `UserError` for a domain, ready, that the model does not read."""
        width = (sum(self.network.backbone.widths),)
        if (width if domain.precomputed else self.shape) != domain.shape:
            kinds = [f"arrays with rows of shape {s}" if s else "image files" for s in (self.shape, domain.shape)]
            raise UserError(f"this model reads {kinds[0]}, and {domain.name!r} holds {kinds[1]}.")

    def extractor(self, cache: Path, workers: int = 0, track: Track = silent) -> FeatureExtractor:
        """Return what makes features of domains by the model's backbone."""
        name, network = self.config.backbone, self.network
        return FeatureExtractor(network.backbone, name, network.frozen, cache, workers=workers, track=track)

    def predict_proba(self, domain: Domain, track: Track = silent) -> Tensor:
        """Return class probabilities (n, classes)."""
        return tempered(self.outputs(domain, track, pictured=()).probabilities, self.temperature)

    def predict(self, domain: Domain, track: Track = silent) -> list[str]:
        """Return the name of the most probable class of each row; "unknown" where the model tells unknown classes."""
        names = [self.classes[index] for index in self.predict_proba(domain, track).argmax(1).tolist()]
        if self.unknown is None:
            return names
        called = (self.unknown_scores(domain, track) > self.unknown.threshold).tolist()
        return [UNKNOWN if unknown else name for name, unknown in zip(names, called, strict=True)]

    @torch_defaults()
    def unknown_scores(self, domain: Domain, track: Track = silent) -> Tensor:
        """Return the score (n,) of "none of the classes" of each row, from 0 to 1, whatever class is predicted."""
        if self.unknown is None:
            raise UserError("this model was not asked to tell unknown classes; train it with --unknown.")
        domain = self.comparable(self.inputs.target(domain), track)
        starts = range(0, len(domain), ROWS_AT_ONCE)
        rows = (domain.rows(range(start, min(start + ROWS_AT_ONCE, len(domain)))) for start in starts)
        return torch.cat([self.unknown.scores(x.flatten(1)) for x in track(rows, len(starts), "unknown classes")])

    def comparable(self, domain: Domain, track: Track = silent) -> Domain:
        """Return a domain, ready, as rows whose distances mean something; of images, and of what a frozen backbone
        sees, that is its features.
        """
        self.check(domain)
        extractor = self.extractor(default_cache(), track=track)
        return extractor.prepared(domain) if self.network.frozen else extractor.as_rows(domain)

    def save(self, path: Path) -> None:
        """Write weights, classes and what decided the numbers as one safetensors file.

        Trained on precomputed features it holds the head alone, and of the backbone what its weights are known by.
        """
        # One entry, as safetensors writes several in a random order; and nothing of where it was trained.
        backbone = self.network.backbone
        about = {
            "format": FORMAT,
            "classes": self.classes,
            "config": self.config.numbers(),
            "shape": self.shape,
            "temperature": self.temperature,
            "inputs": self.inputs.values(),
            "frozen": self.network.frozen,
            "members": self.members,
            "backbone": backbone.digest() if isinstance(backbone, PrecomputedFeatures) else None,
            "preprocessing": vars(backbone.preprocessing) if backbone.own and backbone.preprocessing else None,
        }
        about |= {"unknown": self.unknown.values()} if self.unknown else {}
        # Clones, as safetensors refuses tensors that share their memory.
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in self.network.state_dict().items()
        }
        tensors |= self.inputs.tensors()
        if self.unknown:
            tensors |= {UNKNOWN_PREFIX + name: tensor for name, tensor in self.unknown.tensors().items()}
        write_atomically(path, lambda file: file.write(save(tensors, {"jointadapt": json.dumps(about)})))

    @classmethod
    @torch_defaults()
    @preserved_rng_state()
    def load(
        cls, path: str | Path, *, backbone: str | nn.Module | None = None, weights: str | Path | None = None
    ) -> "Model":
        """Return the model of a run folder, or of its `model.safetensors`.

        Args:
            backbone: the one it was trained with, where that is a module of one's own; it is copied.
            weights: the file of a named backbone's weights, where it has moved and the model holds the head alone.
        """
        path = Path(path)
        file = _ModelFile.read(path / "model.safetensors" if path.is_dir() else path, path)
        body = file.build_backbone(backbone, None if weights is None else str(weights))
        network = file.build_network(body)
        file.load_into(network, given=backbone is not None)
        return cls(network.eval(), file.classes, file.config, file.shape, file.temperature, file.inputs, file.unknown)


@dataclass(frozen=True)
class _ModelFile:
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
    def read(cls, file: Path, given: Path) -> "_ModelFile":
        """Return what a file holds, also one of the first format."""
        if not file.is_file():
            raise UserError(f"{given} holds no trained model (model.safetensors); give the folder of a finished run.")
        try:
            with safe_open(file, framework="pt") as opened:
                about = json.loads((opened.metadata() or {})["jointadapt"])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
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
            found = file, tensors, classes, from_record(config), shape, *numbers, about["backbone"], preprocessing
            return cls(*found, inputs, unknown)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise _no_model(file, error) from error

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
            backbone = copy.deepcopy(build_backbone(body, None, self.shape))
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
            return Network(body, Head(body.widths, len(self.classes), config.bottleneck_width, config.dropout), frozen)

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
            part.load_state_dict(tensors)
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
