"""A name → a backbone: any torchvision or timm network without its classifier, a small one for arrays, one's own."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import timm
import torch
import torchvision
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from jointadapt.data import Preprocessing
from jointadapt.errors import UserError, unknown_name
from jointadapt.networks.backbone import Backbone, check_is_backbone, innermost, name_of
from jointadapt.networks.signals.cnn1d import cnn1d
from jointadapt.networks.signals.inception1d import inception1d
from jointadapt.networks.signals.resnet1d import resnet1d
from jointadapt.networks.weights import (
    AUXILIARY,
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
            any, as others are put in their place.
        shape: of a row of arrays; None of image files.
    """
    if isinstance(name, nn.Module):
        return _own(name, name_of(name), weights, shape)
    check_is_backbone(name)
    if ":" in name or name in _installed():
        return _own(_made(name), name, weights, shape)
    if name in SMALL:
        if shape is None:
            raise UserError(f"the backbone {name!r} is for arrays; for image files choose another, as resnet50.")
        if weights not in ("default", "none", None):
            raise UserError(f"the backbone {name!r} takes no weights; leave --weights out, or choose another backbone.")
        return _small(name, shape)
    if not _of_libraries(name):
        raise unknown_name("backbone", name.removeprefix("timm/"), backbone_names())
    if shape is not None and (len(shape) != 3 or shape[0] != 3):
        raise UserError(
            f"the backbone {name!r} needs images of three channels, and rows have shape {shape}; "
            f"choose {', '.join(SMALL)}."
        )
    in_torchvision = name in torchvision.models.list_models(torchvision.models)
    backbone = _from_torchvision(name, weights) if in_torchvision else _from_timm(name.removeprefix("timm/"), weights)
    if shape is not None:
        backbone.eval().layers_of_rows(shape, name)
    return backbone


def backbone_names() -> list[str]:
    """Return every name `build_backbone` takes: the small ones, those of packages, torchvision's, timm's."""
    return [*SMALL, *_installed(), *torchvision.models.list_models(torchvision.models), *timm.list_models()]


def _installed() -> list[str]:
    """Return the names that installed packages add; one of ours stays ours."""
    return [name for name in OWN.installed if name not in SMALL and not _of_libraries(name)]


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


def _of_libraries(name: str) -> bool:
    return name in torchvision.models.list_models(torchvision.models) or _in_timm(name.removeprefix("timm/"))


def _in_timm(name: str) -> bool:
    return timm.is_model(name.partition(".")[0])


def _small(name: str, shape: tuple[int, ...]) -> Backbone:
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


def _from_torchvision(name: str, weights: str | None) -> Backbone:
    enum = torchvision.models.get_model_weights(name)
    # The first set (IMAGENET1K_V1) is the one that the field's tables were made with.
    chosen = next(iter(enum))
    extra = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **extra)
    if extra:
        vars(model)["transform_input"] = True  # as torchvision does with these two networks' published weights
    classifier = [*model.state_dict()][-1].rpartition(".")[0] + "."
    notes = _load(model, name, weights, lambda: chosen.get_state_dict(progress=False), classifier)
    pretrained = weights not in ("none", None)
    backbone = Backbone(*_trunk(model, name), _torchvision_preprocessing(chosen), pretrained)
    backbone.notes = notes
    return backbone


def _trunk(model: nn.Module, name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the network without its classifier, and the widths of its layers."""
    if isinstance(model, torchvision.models.AlexNet | torchvision.models.VGG):
        fc6, fc7, _ = (module for module in model.classifier if isinstance(module, nn.Linear))
        trunk = FullyConnected(nn.Sequential(model.features, model.avgpool), fc6, fc7)
        return trunk, (fc6.out_features, fc7.out_features)
    if isinstance(model, torchvision.models.GoogLeNet | torchvision.models.Inception3):
        model.aux_logits = False  # the auxiliary classifiers are not run
    if isinstance(model, torchvision.models.SqueezeNet):
        model.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1))  # its classifier is a convolution
        return model, (512,)
    for attribute in ("fc", "classifier", "heads", "head"):
        head = getattr(model, attribute, None)
        linear = [module for module in head.modules() if isinstance(module, nn.Linear)] if head is not None else []
        if linear:
            _replace(model, linear[-1], nn.Identity())
            return model, (linear[-1].in_features,)
    raise UserError(f"the backbone {name!r} has no linear classifier to remove; choose another, as resnet50.")


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    path = next(path for path, module in model.named_modules() if module is old)
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, new)


def _torchvision_preprocessing(weights: torchvision.models.WeightsEnum) -> Preprocessing:
    preset = weights.transforms()
    return Preprocessing(
        preset.resize_size[0], preset.crop_size[0], tuple(preset.mean), tuple(preset.std), preset.interpolation.value
    )


def _from_timm(name: str, weights: str | None) -> Backbone:
    if not _in_timm(name):
        raise unknown_name("backbone", name, timm.list_models())
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise UserError(f"timm has no backbone {name!r} ({' '.join(str(error).split())[:160]}).") from error
    notes = _load(
        model, name, weights, lambda: timm.create_model(name, pretrained=True, num_classes=0).state_dict(), ""
    )
    data = resolve_model_data_config(model)
    crop = data["input_size"][-1]
    preprocessing = Preprocessing(
        round(crop / data["crop_pct"]), crop, tuple(data["mean"]), tuple(data["std"]), data["interpolation"]
    )
    with torch.inference_mode():  # `num_features` is not what some networks' heads give out
        width = model.eval()(torch.zeros(1, *data["input_size"])).shape[-1]
    backbone = Backbone(model, (width,), preprocessing, pretrained=weights not in ("none", None))
    backbone.notes = notes
    return backbone


def _load(
    model: nn.Module, name: str, weights: str | None, download: Callable[[], Mapping[str, Tensor]], classifier: str
) -> tuple[str, ...]:
    """Load weights into a library's network, and return what a user should hear of them.

    Its `classifier`, by the start of its tensors' names, and auxiliary ones may be missing, or of other classes.
    """
    if weights in ("none", None):
        return ()

    def may_miss(key: str) -> bool:
        return key.startswith(AUXILIARY) or (bool(classifier) and key.startswith(classifier)) or is_counter(key)

    own = model.state_dict()
    if weights == "default":
        tensors, notes = _downloaded(name, download), ()
        missing = [key for key in own if key not in tensors and not may_miss(key)]
        if missing:
            raise UserError(
                f"the weights of {name} that were downloaded lack {missing[0]}; give a file with --weights FILE."
            )
    else:
        tensors, notes = fitting_weights(Path(weights), own, name, may_miss, is_of_a_classifier)
    fitting = {key: value for key, value in tensors.items() if key in own and own[key].shape == value.shape}
    load_tensors(model, fitting, strict=False)
    return notes


def _downloaded(name: str, download: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    try:
        return download()
    except Exception as error:
        # Each hub client has errors of its own; whichever it is, the mend is the same.
        raise UserError(
            f"the weights of {name} could not be downloaded ({' '.join(str(error).split())[:200]}); "
            "give a file with --weights FILE."
        ) from error
