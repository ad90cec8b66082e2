"""torchvision's and timm's networks as backbones: without their classifier, with weights that fit them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from jointadapt.data import Preprocessing
from jointadapt.errors import UserError, unknown_name
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.backbones import FullyConnected
from jointadapt.networks.weights import AUXILIARY, fitting_weights, is_counter, is_of_a_classifier, load_tensors
from jointadapt.runtime.vision import vision

vision()  # before torchvision's own import, which is slow
import torchvision  # noqa: E402


def library_names() -> list[str]:
    """Return the names of all that the libraries have: torchvision's, then timm's."""
    import timm

    return [*torchvision.models.list_models(torchvision.models), *timm.list_models()]


def is_of_libraries(name: str) -> bool:
    """Return whether a library has a network of this name."""
    return _in_torchvision(name) or _in_timm(name.removeprefix("timm/"))


def from_libraries(name: str, weights: str | None) -> Backbone:
    """Return the network of that name, torchvision's where both have it."""
    return (
        _from_torchvision(name, weights) if _in_torchvision(name) else _from_timm(name.removeprefix("timm/"), weights)
    )


def _in_torchvision(name: str) -> bool:
    return name in torchvision.models.list_models(torchvision.models)


def _in_timm(name: str) -> bool:
    import timm

    return timm.is_model(name.partition(".")[0])


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
    import timm
    from timm.data.config import resolve_model_data_config

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
