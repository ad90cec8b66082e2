"""A trained classifier: in memory, and as one file that needs nothing else."""

import copy
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from jointadapt.config import Config
from jointadapt.data import Domain
from jointadapt.data.labels import UNKNOWN
from jointadapt.errors import UserError
from jointadapt.evaluation.calibration import tempered
from jointadapt.evaluation.predict import ModelOutputs, network_outputs
from jointadapt.inputs.pipeline import Inputs
from jointadapt.networks.ensemble import JoinedHead
from jointadapt.networks.features import FeatureExtractor, PrecomputedFeatures
from jointadapt.networks.network import Network
from jointadapt.runs.model_file import FORMAT, UNKNOWN_PREFIX, ModelFile
from jointadapt.runtime.files import default_cache, write_atomically
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.random_state import preserved_rng_state
from jointadapt.runtime.torch_defaults import torch_defaults
from jointadapt.selection.unknown_classes import UnknownClasses

ROWS_AT_ONCE = 1024


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
        """Write weights, classes and what decided the numbers as one safetensors file (`packed`)."""
        content = self.packed()
        write_atomically(path, lambda file: file.write(content))

    def packed(self) -> bytes:
        """Return weights, classes and what decided the numbers as the content of one safetensors file.

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
        return save(tensors, {"jointadapt": json.dumps(about)})

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
        return cls(**_parts(ModelFile.read(path), backbone, None if weights is None else str(weights)))

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle, joblib, skops and `copy` keep: the content of the file that `save` writes.

        A backbone of one's own goes as torch pickles it, moved to the CPU: it cannot be built by its name. So does what
        stands for a backbone that is elsewhere.
        """
        backbone = self.network.backbone
        if backbone.own or isinstance(backbone, PrecomputedFeatures):
            return {**vars(self), "network": copy.deepcopy(self.network).cpu()}
        return {"packed": self.packed()}

    @torch_defaults()
    @preserved_rng_state()
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the model that `__getstate__` was asked of; also one that was pickled with its parts as they are."""
        vars(self).update(_parts(ModelFile.unpack(state["packed"])) if "packed" in state else state)


def _parts(file: ModelFile, backbone: str | nn.Module | None = None, weights: str | None = None) -> dict[str, Any]:
    """Return the parts of the model that a file holds."""
    network = file.build_network(file.build_backbone(backbone, weights))
    file.load_into(network, given=backbone is not None)
    kept = ("classes", "config", "shape", "temperature", "inputs", "unknown")
    return {"network": network.eval(), **{name: getattr(file, name) for name in kept}}
