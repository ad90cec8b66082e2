"""A name → a backbone: any torchvision or timm network without its classifier, a small one for arrays, one's own."""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from jointadapt.errors import UserError, unknown_name
from jointadapt.networks.backbone import Backbone, check_is_backbone, innermost, name_of
from jointadapt.networks.signals.cnn1d import cnn1d
from jointadapt.networks.signals.inception1d import inception1d
from jointadapt.networks.signals.resnet1d import resnet1d
from jointadapt.networks.weights import (
    Undrawn,
    check_finite,
    fitting_weights,
    is_counter,
    is_of_a_classifier,
    load_tensors,
)
from jointadapt.runtime.registry import Registry

SIGNAL: dict[str, Callable[[int, int], tuple[nn.Module, Sequence[int]]]] = {
    "cnn1d": cnn1d,
    "resnet1d": resnet1d,
    "inception1d": inception1d,
}
SMALL = ("none", "mlp", "cnn", *SIGNAL)
OWN: Registry[Callable[[], nn.Module]] = Registry("backbone", {}, "jointadapt.backbones")


class FullyConnected(nn.Module):
    """AlexNet's and VGG's trunk: convolutions, then (fc6, fc7), each after its ReLU. Source: JAN, Fig. 2a."""

    def __init__(self, convolutions: nn.Module, fc6: nn.Module, fc7: nn.Module) -> None:
        super().__init__()
        self.convolutions, self.fc6, self.fc7 = convolutions, fc6, fc7

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return fc6 and fc7."""
        fc6 = self.fc6(self.convolutions(x).flatten(1)).relu()
        return fc6, self.fc7(fc6).relu()


def build_backbone(
    name: str | nn.Module, weights: str | None = "default", shape: tuple[int, ...] | None = None
) -> Backbone:
    """Return the backbone of that name, or a module of one's own as a backbone.

    Args:
        name: of torchvision's or timm's ("timm/NAME" where both have it); `none`, `mlp`, `cnn` for arrays, `cnn1d`,
            `resnet1d`, `inception1d` for signals (channels, time); that of an entry point `jointadapt.backbones` of an
            installed package; the import path "module:factory" of what makes a module when it is called; or a module,
            which is copied (`Backbone.of` says more of it).
        weights: "default" (torchvision's or timm's own, downloaded once; a module as it is), "none" (random), or a
            file: safetensors, or a .pth that is read with `weights_only=True`. With a file nothing is downloaded. None:
            any, as others are put in their place; none are drawn then.
        shape: of a row of arrays; None of image files.
    """
    if isinstance(name, nn.Module):
        return _own(name, name_of(name), weights, shape)
    check_is_backbone(name)
    if ":" in name or name in _installed():
        return _own(_made(name), name, weights, shape)
    with Undrawn() if weights is None else nullcontext():
        return _small(name, weights, shape) if name in SMALL else _of_libraries(name, weights, shape)


def backbone_names() -> list[str]:
    """Return every name `build_backbone` takes: the small ones, those of packages, torchvision's, timm's."""
    from jointadapt.networks.libraries import library_names

    return [*SMALL, *_installed(), *library_names()]


def _installed() -> list[str]:
    """Return the names that installed packages add; one of ours stays ours."""
    added = [name for name in OWN.installed if name not in SMALL]
    if not added:
        return []
    from jointadapt.networks.libraries import is_of_libraries

    return [name for name in added if not is_of_libraries(name)]


def _made(name: str) -> nn.Module:
    """Return what the factory of an entry point, or at an import path, makes."""
    factory = OWN[name]
    try:
        made = factory if isinstance(factory, nn.Module) else factory()
    except Exception as error:
        # Whatever a factory raises; one that wants arguments, first of all.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UserError(f"the backbone {name!r} cannot be made ({reason}); name what needs no arguments.") from error
    if not isinstance(made, nn.Module):
        raise UserError(f"the backbone {name!r} has to be a torch.nn.Module, or make one; it is {type(made).__name__}.")
    return made


def _own(module: nn.Module, name: str, weights: str | None, shape: tuple[int, ...] | None) -> Backbone:
    """Return a module as a backbone that knows its widths, with weights from a file where one is given."""
    backbone = Backbone.of(module)
    if weights == "none":
        raise UserError(f"the backbone {name!r} brings weights of its own; leave --weights out, or give a file.")
    if weights not in ("default", None):
        backbone = copy.deepcopy(backbone)
        inner = innermost(backbone)
        tensors, backbone.notes = fitting_weights(
            Path(weights), inner.state_dict(), name, is_counter, is_of_a_classifier
        )
        load_tensors(inner, tensors, strict=False)
    backbone = backbone if backbone.widths else backbone.measured(shape)
    check_finite(backbone.state_dict(), f"the backbone {name}")
    return backbone


def _of_libraries(name: str, weights: str | None, shape: tuple[int, ...] | None) -> Backbone:
    from jointadapt.networks.libraries import from_libraries, is_of_libraries  # which are slow to load

    if not is_of_libraries(name):
        raise unknown_name("backbone", name.removeprefix("timm/"), backbone_names())
    if shape is not None and (len(shape) != 3 or shape[0] != 3):
        raise UserError(
            f"the backbone {name!r} needs images of three channels, and rows have shape {shape}; "
            f"choose {', '.join(SMALL)}."
        )
    backbone = from_libraries(name, weights)
    if shape is not None:
        backbone.eval().layers_of_rows(shape, name)
    return backbone


def _small(name: str, weights: str | None, shape: tuple[int, ...] | None) -> Backbone:
    if shape is None:
        raise UserError(f"the backbone {name!r} is for arrays; for image files choose another, as resnet50.")
    if weights not in ("default", "none", None):
        raise UserError(f"the backbone {name!r} takes no weights; leave --weights out, or choose another backbone.")
    if name == "cnn":
        if len(shape) != 3:
            raise UserError(f"the backbone 'cnn' needs images, rows of shape (channels, h, w); got rows of {shape}.")
        pooling = nn.MaxPool2d((min(shape[1], 2), min(shape[2], 2)))  # a side of one pixel stays as it is
        stages = [_convolution(shape[0], 32), pooling, _convolution(32, 64), nn.AdaptiveAvgPool2d(4)]
        return Backbone(nn.Sequential(*stages, nn.Flatten()), (64 * 16,))
    if name in SIGNAL:
        if len(shape) != 2:
            raise UserError(
                f"the backbone {name!r} needs signals, rows of shape (channels, time); got rows of {shape}. Give "
                "--kind signal, or choose another."
            )
        return Backbone(*SIGNAL[name](*shape))
    flat = int(torch.Size(shape).numel())
    if name == "mlp":
        layers = [nn.Flatten(), nn.Linear(flat, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True)]
        return Backbone(nn.Sequential(*layers), (256,))
    return Backbone(nn.Flatten(), (flat,))


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 5, padding=2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
