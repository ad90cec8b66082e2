"""A model → what an export says of it (`model.json`), and the tensors that belong to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jointadapt.config import BASELINE
from jointadapt.errors import UserError
from jointadapt.exporting.inputs import describe_input
from jointadapt.inputs.signals import Signals
from jointadapt.inputs.standardize import Standardize
from jointadapt.inputs.table import TableColumns
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.backbones import SIGNAL, FullyConnected
from jointadapt.networks.ensemble import JoinedBackbone, JoinedHead
from jointadapt.networks.features import PrecomputedFeatures
from jointadapt.networks.network import Head
from jointadapt.runs.model import Model
from jointadapt.runtime.vision import vision
from jointadapt.selection.unknown_classes import NEIGHBOURS, UnknownClasses
from jointadapt.version import __version__

FORMAT = "jointadapt export"
VERSION = 1
LAYERS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Identity: (),
    nn.Flatten: (),
    nn.ReLU: (),
    nn.Dropout: ("p",),
    nn.Linear: ("in_features", "out_features"),
    nn.BatchNorm1d: ("num_features", "eps"),
    nn.BatchNorm2d: ("num_features", "eps"),
    nn.Conv1d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "bias"),
    nn.Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "bias"),
    nn.MaxPool1d: ("kernel_size", "stride", "ceil_mode"),
    nn.MaxPool2d: ("kernel_size", "stride", "ceil_mode"),
    nn.AdaptiveAvgPool1d: ("output_size",),
    nn.AdaptiveAvgPool2d: ("output_size",),
}
"""The layers that a description can hold, each with the arguments of its constructor that are kept."""


@dataclass(frozen=True)
class Description:
    """What an export holds.

    Args:
        about: as JSON has it; docs/guides/exporting.md describes the keys.
        tensors: by the names that `loader.Classifier` gives them.
        own: the module of a backbone of one's own, which no file can describe.
    """

    about: dict[str, Any]
    tensors: dict[str, Tensor]
    own: nn.Module | None = None


def describe(model: Model) -> Description:
    """Return what an export of a model holds; a `UserError` for a head whose backbone is not there."""
    body, head = model.network.backbone, model.network.head
    backbones = [*body.body] if isinstance(body, JoinedBackbone) and isinstance(body.body, nn.ModuleList) else [body]
    heads = _heads(head)
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "jointadapt": __version__,
        "method": model.config.method,
        "classes": [*model.classes],
        "input": describe_input(model),
        "steps": [],
        "backbones": [],
        "heads": [[_layer(layer) for layer in own] for own in heads],
        "temperature": model.temperature,
        "prior": _prior(model),
        "unknown": None,
    }
    tensors: dict[str, Tensor] = {}
    for number, (step, own) in enumerate(_steps(model)):
        about["steps"].append(step)
        tensors |= {f"steps.{number}.{name}": tensor for name, tensor in own.items()}
    for number, backbone in enumerate(backbones):
        assert isinstance(backbone, Backbone)
        described, own = _backbone(backbone, model)
        about["backbones"].append(described)
        tensors |= {f"backbones.{number}.{name}": tensor for name, tensor in own.items()}
    for number, own in enumerate(heads):
        tensors |= {f"heads.{number}.{name}": tensor for name, tensor in nn.Sequential(*own).state_dict().items()}
    if model.unknown is not None:
        about["unknown"] = _unknown(model, model.unknown)
        kept = {name: tensor for name, tensor in model.unknown.tensors().items() if name != "source_scores"}
        tensors |= {f"unknown.{name}": tensor for name, tensor in kept.items()}
    outer = backbones[0]
    module = outer.body if isinstance(outer, Backbone) and outer.own else None
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about["output"] = _outputs(about)
    return Description(about, tensors, module)


def _heads(head: Head) -> list[list[nn.Module]]:
    """Return the layers of each head, one behind the other."""
    if isinstance(head, JoinedHead):
        parts = zip(head.bottleneck, head.classifier.members, strict=True)  # pyright: ignore[reportArgumentType]
        return [[*leaves(bottleneck), classifier] for bottleneck, classifier in parts]
    return [[*leaves(head.bottleneck), head.classifier]]


def leaves(module: nn.Module) -> list[nn.Module]:
    """Return the innermost layers of a sequence of sequences, in their order."""
    if isinstance(module, nn.Sequential):
        return [layer for part in module for layer in leaves(part)]
    return [module]


def _layer(module: nn.Module) -> dict[str, Any]:
    """Return a layer of torch.nn as its name and arguments."""
    arguments = {name: getattr(module, name) for name in LAYERS[type(module)]}
    arguments |= {"bias": arguments["bias"] is not None} if "bias" in arguments else {}
    return {"layer": type(module).__name__, "arguments": arguments}


def _backbone(backbone: Backbone, model: Model) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Return a backbone as it can be built again, and its tensors by the names that it then has."""
    body, name = backbone.body, model.config.backbone
    if isinstance(backbone, PrecomputedFeatures):
        raise UserError("this model holds the head alone; give the folder of its run, which finds the backbone again.")
    if backbone.own:
        return {"library": "own", "name": name}, body.state_dict()
    layers = leaves(body)
    if all(type(layer) in LAYERS for layer in layers):
        return {"library": "torch", "layers": [_layer(x) for x in layers]}, nn.Sequential(*layers).state_dict()
    if name in SIGNAL:
        assert model.shape is not None
        return {"library": "file", "file": f"{name}.py", "function": name, "arguments": [*model.shape]}, (
            body.state_dict()
        )
    if name.startswith("timm/") or name not in vision().models.list_models(vision().models):
        return {"library": "timm", "name": name.removeprefix("timm/")}, body.state_dict()
    return _of_torchvision(body, name)


def _of_torchvision(body: nn.Module, name: str) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Return one of torchvision's networks, and its tensors by torchvision's own names, without the last layer."""
    transformed = bool(getattr(body, "transform_input", False))
    aided = name in ("googlenet", "inception_v3")
    arguments = {"aux_logits": False, "init_weights": False, "transform_input": transformed} if aided else {}
    with torch.device("meta"):
        known = [*vision().models.get_model(name, weights=None, **arguments).state_dict()]
    last = known[-1].rpartition(".")[0]
    found = body.state_dict()
    if isinstance(body, FullyConnected):
        linear = [key.rpartition(".")[0] for key in known if key.startswith("classifier.") and key.endswith(".weight")]
        names = {"convolutions.0.": "features.", "fc6.": f"{linear[0]}.", "fc7.": f"{linear[1]}."}
        found = {
            names[start] + key.removeprefix(start): x
            for key, x in found.items()
            for start in names
            if key.startswith(start)
        }
    tensors = {key: x for key, x in found.items() if key in known}
    return {"library": "torchvision", "name": name, "arguments": arguments, "without": last}, tensors


def _steps(model: Model) -> list[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Return what is done to rows before the backbone, each with its tensors."""
    found: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
    if model.shape is None:
        preprocessing = model.network.backbone.preprocessing
        assert preprocessing is not None
        found.append(({"step": "pixels", "mean": [*preprocessing.mean], "std": [*preprocessing.std]}, {}))
    signals = any(isinstance(step, Signals) for step in model.inputs.steps)
    for step in model.inputs.steps:
        match step:
            case TableColumns() if not signals:
                found.append(_of_table(step))
            case Signals():
                about = {name: step.values()[name] for name in ("shape", "zscore", "representation")}
                matrix = {"matrix": step.recentring[1]} if step.recentring else {}
                found.append(({"step": "signals", **about, "recenter": bool(matrix)}, matrix))
            case Standardize():
                scaling = torch.stack([*step.of_target])
                found.append(({"step": "standardize", "columns": scaling.shape[1]}, {"scaling": scaling}))
    return found


def _of_table(step: TableColumns) -> tuple[dict[str, Any], dict[str, Tensor]]:
    names = [*step.numbers]
    about = {
        "step": "table",
        "numbers": len(names),
        "gaps": [names.index(name) for name in step.gaps],
        "fill": step.fill,
        "codes": [len(known) + (name in step.lacking) for name, known in step.categories.items()],
    }
    return about, {"medians": torch.tensor([*step.numbers.values()], dtype=torch.float64).float()}


def _unknown(model: Model, unknown: UnknownClasses) -> dict[str, Any]:
    """Return what it takes to score rows as of none of the classes, and what is compared."""
    kept, width = unknown.examples.shape
    about = {"threshold": unknown.threshold, "usual": unknown.usual, "neighbours": NEIGHBOURS, "examples": kept}
    about |= {"width": width, "classes": len(model.classes)}
    signals = [step for step in model.inputs.steps if isinstance(step, Signals)]
    raw = signals[0].representation == "raw" if signals else not model.inputs.steps and len(model.shape or ()) == 2
    if model.network.frozen or model.shape is None:
        return about | {"rows": "layers"}
    return about | ({"rows": "spectra", "time": model.shape[-1]} if raw else {"rows": "input"})


def _prior(model: Model) -> str:
    """Return in words which class shares the probabilities are for."""
    if model.config.method == BASELINE and model.config.label_shift not in ("no", "missing"):
        return "moved to the target's estimated class shares, in the last layer's bias"
    return "as it was trained"


def _outputs(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what comes out, in its order."""
    softened = f", softened by the temperature {about['temperature']:.4g}" if about["temperature"] != 1 else ""
    words = f"the probability of each class, in the order of `classes`{softened}; each row sums to 1"
    found: list[dict[str, Any]] = [
        {"name": "probabilities", "dtype": "float32", "shape": ["batch", len(about["classes"])], "words": words}
    ]
    if about["unknown"]:
        threshold = about["unknown"]["threshold"]
        words = f"how little a row is like any class, from 0 to 1; above {threshold:.6g} it is of none of them"
        found.append({"name": "unknown_score", "dtype": "float32", "shape": ["batch"], "words": words})
    return found
