"""A trained classifier: in memory, and as one file that needs nothing else."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from jointadapt.config import Config, from_record
from jointadapt.data import Domain
from jointadapt.errors import UserError
from jointadapt.evaluation.calibration import tempered
from jointadapt.evaluation.predict import activations
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import recorded
from jointadapt.networks.network import Network
from jointadapt.runtime.files import write_atomically
from jointadapt.runtime.progress import Track, silent


@dataclass(frozen=True)
class Model:
    """A network with what it takes to use it: its classes, its configuration, the shape of a row of arrays.

    `temperature` is what `predict_proba` divides the logits by.
    """

    network: Network
    classes: tuple[str, ...]
    config: Config
    shape: tuple[int, ...] | None = None
    temperature: float = 1.0

    def activations(
        self, domain: Domain, track: Track = silent, pictured: Collection[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return features (n, d) and probabilities (n, classes) of a domain of images, or of arrays as trained on.

        Of `pictured` rows only, features are kept; None: of all.
        """
        if domain.shape != self.shape:
            kinds = [f"arrays with rows of shape {s}" if s else "image files" for s in (self.shape, domain.shape)]
            raise UserError(f"this model reads {kinds[0]}, and {domain.name!r} holds {kinds[1]}.")
        preprocessing = self.network.backbone.preprocessing
        transform = preprocessing.evaluation() if preprocessing else None
        batch_size = 32 if domain.holds_images else 1024
        return activations(self.network, domain, transform, batch_size, track, pictured=pictured)

    def activations_of_features(self, features: Domain, track: Track = silent) -> tuple[Tensor, Tensor]:
        """Return the same of a domain whose rows are what the model's backbone made of its images (`features_of`)."""
        backbone = self.network.backbone
        self.network.backbone = recorded(backbone)
        try:
            return activations(self.network, features, track=track)
        finally:
            self.network.backbone = backbone

    def predict_proba(self, domain: Domain, track: Track = silent) -> Tensor:
        """Return class probabilities (n, classes)."""
        return tempered(self.activations(domain, track, pictured=())[1], self.temperature)

    def predict(self, domain: Domain, track: Track = silent) -> list[str]:
        """Return the name of the most probable class of each row."""
        return [self.classes[index] for index in self.predict_proba(domain, track).argmax(1).tolist()]

    def save(self, path: Path) -> None:
        """Write weights, classes and what decided the numbers as one safetensors file."""
        # One entry, as safetensors writes several in an order of chance; and nothing of where it was trained.
        about = {"classes": self.classes, "config": self.config.numbers(), "shape": self.shape}
        about["temperature"] = self.temperature
        metadata = {"jointadapt": json.dumps(about)}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        write_atomically(path, lambda file: file.write(save(tensors, metadata)))

    @classmethod
    def load(cls, path: str | Path) -> "Model":
        """Return the model of a run folder, or of its `model.safetensors`.

        One that was trained on recorded features holds the new layers only; its backbone is built from its weights.
        """
        path = Path(path)
        file = path / "model.safetensors" if path.is_dir() else path
        if not file.is_file():
            raise UserError(f"{path} holds no trained model (model.safetensors); give the folder of a finished run.")
        try:
            with safe_open(file, framework="pt") as opened:
                about = json.loads((opened.metadata() or {})["jointadapt"])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            classes, shape = tuple(about["classes"]), tuple(about["shape"] or ()) or None
            config, temperature = from_record(about["config"]), float(about.get("temperature", 1.0))
            whole = any(name.startswith("backbone.") for name in tensors) or shape is not None
            backbone = build_backbone(config.backbone, "none" if whole else config.weights, shape)
            network = Network(backbone, len(classes), config.bottleneck_width, config.dropout)
            network.load_state_dict(tensors if whole else {**backbone.state_dict(prefix="backbone."), **tensors})
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{file} is no model of jointadapt ({' '.join(str(error).split())[:160]}).") from error
        return cls(network.eval(), classes, config, shape, temperature)
