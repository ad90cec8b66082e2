"""Read what `jointadapt export RUN --to safetensors` has written. It needs PyTorch and safetensors, not jointadapt.

    from load import load

    model = load("runs/my-run/export/safetensors")
    probabilities = model(rows)  # (n, classes); model.about says what rows are, and names the classes

A backbone of torchvision or timm needs that library; one of your own is given: `load(folder, backbone=module)`.
"""

import copy
import importlib.util
import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

CLIP = 10.0  # standard deviations that a z-score may have
LEAST = 1e-8  # of a deviation that is divided by
FLOOR = 1e-3  # of a power before its logarithm
TINY = 1e-30  # of a number that is divided by, or whose logarithm is taken


class Table(nn.Module):
    """Columns as they came (n, columns) → numbers: gaps filled by medians and marked, a column for each category.

    A missing number is NaN; a category is its code.
    """

    medians: Tensor

    def __init__(self, step: dict[str, Any]) -> None:
        super().__init__()
        self.numbers, self.gaps, self.fill, self.codes = step["numbers"], step["gaps"], step["fill"], step["codes"]
        self.register_buffer("medians", torch.zeros(self.numbers))

    def forward(self, rows: Tensor) -> Tensor:
        """Return (n, d)."""
        numbers, coded = rows[:, : self.numbers], rows[:, self.numbers :]
        missing = numbers.isnan()
        parts = [torch.where(missing, self.medians, numbers) if self.fill else numbers]
        parts += [missing[:, self.gaps].float()] if self.gaps else []
        parts += [(coded[:, [i]] == torch.arange(count)).float() for i, count in enumerate(self.codes)]
        return torch.cat(parts, 1)


class Pixels(nn.Module):
    """Whole numbers from 0 to 255 → values of the mean and deviation that a backbone was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, step: dict[str, Any]) -> None:
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(step[name])[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, 3, height, width)."""
        return (images.float() / 255 - self.mean) / self.std


class Signals(nn.Module):
    """Windows (n, channels, time) → re-centred, z-scored, as samples or as their frequencies."""

    matrix: Tensor

    def __init__(self, step: dict[str, Any]) -> None:
        super().__init__()
        channels, time = step["shape"]
        self.recenter, self.zscore, self.representation = step["recenter"], step["zscore"], step["representation"]
        if self.recenter:
            self.register_buffer("matrix", torch.eye(channels))
        self.frequencies = Spectra(time) if self.representation == "fft" else None
        self.frames = Frames(time) if self.representation == "log-spectrogram" else None

    def forward(self, rows: Tensor) -> Tensor:
        """Return (n, channels, time), (n, d) of magnitudes, or (n, channels, frequencies, frames)."""
        if self.recenter:
            rows = self.matrix @ (rows - rows.mean(-1, keepdim=True))
        if self.zscore:
            centred = rows - rows.mean(-1, keepdim=True)
            rows = centred / centred.pow(2).mean((1, 2), keepdim=True).sqrt().clamp_min(LEAST)
        if self.frequencies is not None:
            return self.frequencies(rows)
        return rows if self.frames is None else self.frames(rows)


class Spectra(nn.Module):
    """Signals (n, channels, time) → log(1 + |FFT| / √time) at the frequencies k / time, k = 1 … time / 2, as rows.

    The transform is two products with small matrices, time = N₁ N₂ (Cooley and Tukey, Mathematics of Computation
    1965): onnxruntime's own differs from it by up to 3e-4.
    """

    first: Tensor
    twist: Tensor
    second: Tensor

    def __init__(self, time: int) -> None:
        super().__init__()
        self.time, self.n1 = time, max(n for n in range(1, math.isqrt(time) + 1) if time % n == 0)
        self.n2 = time // self.n1
        k1, k2 = torch.arange(self.n1), torch.arange(self.n2)
        self._keep("first", torch.outer(k1, k1), self.n1)
        self._keep("twist", torch.outer(k1, k2), time)
        self._keep("second", torch.outer(k2, k2), self.n2)

    def _keep(self, name: str, products: Tensor, size: int) -> None:
        """Keep cos and −sin of 2π products / size, (2, …)."""
        angle = (products % size).double() * (2 * math.pi / size)
        self.register_buffer(name, torch.stack([angle.cos(), -angle.sin()]).float(), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Return (n, channels · time / 2)."""
        x = rows.unflatten(-1, (self.n1, self.n2))  # x[N₂ n₁ + n₂]
        real, imaginary = self.first[0] @ x, self.first[1] @ x
        cos, sin = self.twist
        real, imaginary = real * cos - imaginary * sin, real * sin + imaginary * cos
        cos, sin = self.second
        real, imaginary = real @ cos - imaginary @ sin, real @ sin + imaginary @ cos
        magnitudes = (real.square() + imaginary.square()).sqrt().transpose(-1, -2).flatten(-2)  # at k₁ + N₁ k₂
        return (magnitudes[..., 1 : self.time // 2 + 1] / self.time**0.5).log1p().flatten(1)


class Frames(nn.Module):
    """Signals (n, channels, time) → log(power + 0.001) of short Fourier transforms, half overlapping, Hann window."""

    waves: Tensor

    def __init__(self, time: int) -> None:
        super().__init__()
        self.frame = min(256, max(16, 2 ** ((time // 16).bit_length() - 1)))
        window = torch.hann_window(self.frame, dtype=torch.float64)
        products = torch.outer(torch.arange(self.frame // 2 + 1), torch.arange(self.frame)) % self.frame
        angle = products.double() * (2 * math.pi / self.frame)
        waves = torch.cat([angle.cos(), angle.sin()]) * window / window.pow(2).sum().sqrt()
        self.register_buffer("waves", waves[:, None].float(), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Return (n, channels, frequencies, frames)."""
        found = nn.functional.conv1d(rows.flatten(0, 1)[:, None], self.waves, stride=self.frame // 2)
        real, imaginary = found.chunk(2, dim=1)
        return (real.square() + imaginary.square() + FLOOR).log().unflatten(0, (-1, rows.shape[1]))


class Standardize(nn.Module):
    """Columns (n, d), or channels (n, channels, time) → z-scores, in float64: values within fences, then ±10."""

    scaling: Tensor

    def __init__(self, step: dict[str, Any]) -> None:
        super().__init__()
        self.register_buffer("scaling", torch.zeros(4, step["columns"], dtype=torch.float64))

    def forward(self, rows: Tensor) -> Tensor:
        """Return rows of the same shape."""
        low, high, mean, deviation = (x.reshape(-1, *[1] * (rows.ndim - 2)) for x in self.scaling)
        factor = torch.where(deviation > 0, 1 / deviation, 0.0)
        return ((rows.double().clamp(low, high) - mean) * factor).clamp(-CLIP, CLIP).float()


class Unknown(nn.Module):
    """Rows (n, d) → how little each has of any one class, by the votes of the 20 nearest of the kept examples."""

    center: Tensor
    scale: Tensor
    examples: Tensor
    widths: Tensor
    votes: Tensor

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__()
        kept, width, classes = about["examples"], about["width"], about["classes"]
        self.neighbours, self.usual = min(about["neighbours"], kept), about["usual"]
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("examples", torch.zeros(kept, width, dtype=torch.float16))
        self.register_buffer("widths", torch.zeros(kept))
        self.register_buffer("votes", torch.zeros(kept, classes))

    def forward(self, rows: Tensor) -> Tensor:
        """Return scores (n,) from 0 to 1."""
        x, examples = ((rows - self.center) / self.scale).double(), self.examples.double()
        squares = x.square().sum(1, keepdim=True) - 2 * (x @ examples.T) + examples.square().sum(1)
        near = squares.clamp_min(0).sqrt().float().topk(self.neighbours, dim=1, largest=False)
        widths = near.values[:, -1:].maximum(self.widths[near.indices]).clamp_min(TINY)
        weights = (-(near.values / widths).square()).exp()
        votes = (weights[:, :, None] * self.votes[near.indices]).sum(1) / weights.sum(1, keepdim=True)
        if self.usual is not None:
            return self.usual / (self.usual + votes.max(1).values).clamp_min(TINY)
        shares = votes.clamp_min(TINY) / votes.clamp_min(TINY).sum(1, keepdim=True)
        return -(shares * shares.log()).sum(1) / math.log(votes.shape[1])


class ReluLayers(nn.Module):
    """AlexNet or VGG without its last layer: what leaves each ReLU behind the convolutions."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.features, self.avgpool, self.classifier = model.features, model.avgpool, model.classifier

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return fc6 and fc7, (n, 4096) each."""
        x, layers = self.avgpool(self.features(x)).flatten(1), []
        for module in self.classifier:
            x = module(x)
            layers += [x] if isinstance(module, nn.ReLU) else []
        return layers


STEPS = {"table": Table, "pixels": Pixels, "signals": Signals, "standardize": Standardize}


class Classifier(nn.Module):
    """Rows as `about["input"]` describes them → class probabilities; with unknown classes also a score (n,).

    A row that holds NaN or an infinite number, where none is allowed, gets NaN, and no class.
    """

    def __init__(self, about: dict[str, Any], backbones: Sequence[nn.Module]) -> None:
        super().__init__()
        self.about, self.temperature = about, about["temperature"]
        self.steps = nn.ModuleList(STEPS[step["step"]](step) for step in about["steps"])
        self.backbones = nn.ModuleList(backbones)
        self.heads = nn.ModuleList(chain(layers) for layers in about["heads"])
        self.unknown = Unknown(about["unknown"]) if about["unknown"] else None
        spectral = bool(about["unknown"]) and about["unknown"]["rows"] == "spectra"
        self.spectra = Spectra(about["unknown"]["time"]) if spectral else None

    def forward(self, rows: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return probabilities (n, classes), or those and the scores (n,) of being of none of the classes."""
        raw = [step for step in self.steps if isinstance(step, Table)]
        x = raw[0](rows) if raw else rows
        finite = torch.isfinite(x.flatten(1)).all(1) if x.is_floating_point() else None
        for step in self.steps:
            x = x if isinstance(step, Table) else step(x)
        layers = [_layers(backbone(x)) for backbone in self.backbones]
        last = [own[-1] for own in layers] * (len(self.heads) if len(layers) == 1 else 1)
        members = [head(own).softmax(1) for head, own in zip(self.heads, last, strict=True)]
        probabilities = torch.stack(members).mean(0) if len(members) > 1 else members[0]
        if self.temperature != 1:
            probabilities = (probabilities.clamp_min(TINY).log() / self.temperature).softmax(1)
        probabilities = _or_nan(probabilities, finite)
        if self.unknown is None:
            return probabilities
        if self.spectra is not None:
            compared = self.spectra(x)
        elif self.about["unknown"]["rows"] == "layers":
            compared = torch.cat(layers[0] if len(layers) == 1 else last, 1)
        else:
            compared = x.flatten(1)
        return probabilities, _or_nan(self.unknown(compared), finite)


def _or_nan(found: Tensor, finite: Tensor | None) -> Tensor:
    """Return what was found of each row, NaN where the row is not finite."""
    return found if finite is None else torch.where(finite.reshape(-1, *[1] * (found.ndim - 1)), found, torch.nan)


def _layers(found: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [layer.flatten(1) for layer in ([found] if isinstance(found, Tensor) else found)]


def chain(layers: list[dict[str, Any]]) -> nn.Sequential:
    """Return layers of torch.nn, one behind the other."""
    return nn.Sequential(*(getattr(nn, layer["layer"])(**layer["arguments"]) for layer in layers))


def build_backbone(about: dict[str, Any], folder: Path, own: nn.Module | None) -> nn.Module:
    """Return a backbone with weights that are yet to be loaded."""
    match about["library"]:
        case "torch":
            return chain(about["layers"])
        case "torchvision":
            import torchvision

            model = torchvision.models.get_model(about["name"], weights=None, **about["arguments"])
            parent, _, last = about["without"].rpartition(".")
            setattr(model.get_submodule(parent), last, nn.Identity())
            alike = isinstance(model, torchvision.models.AlexNet | torchvision.models.VGG)
            return ReluLayers(model) if alike else model
        case "timm":
            import timm

            return timm.create_model(about["name"], pretrained=False, num_classes=0)
        case "file":
            spec = importlib.util.spec_from_file_location(about["function"], folder / about["file"])
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return getattr(module, about["function"])(*about["arguments"])[0]
    if own is None:
        raise ValueError(f"the model has a backbone of its maker's own, {about['name']}; give it: load(…, backbone=…)")
    return copy.deepcopy(own)


def load(folder: str | Path, backbone: nn.Module | None = None) -> Classifier:
    """Return the classifier of a folder with `model.json` and `model.safetensors`, in evaluation mode."""
    folder = Path(folder)
    about = json.loads((folder / "model.json").read_text("utf-8"))
    tensors = load_file(folder / "model.safetensors")
    return build(about, tensors, folder, backbone)


def build(
    about: dict[str, Any], tensors: dict[str, Tensor], folder: Path, backbone: nn.Module | None = None
) -> Classifier:
    """Return the classifier of a description and its tensors."""
    model = Classifier(about, [build_backbone(one, folder, backbone) for one in about["backbones"]])
    state = OrderedDict(tensors)
    vars(state)["_metadata"] = vars(model.state_dict())[
        "_metadata"
    ]  # the versions of modules; MNASNet asks for its own
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)
