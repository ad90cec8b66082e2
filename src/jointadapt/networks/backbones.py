"""A name → a backbone: any torchvision or timm network without its classifier, or a small one for arrays."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from jointadapt.data import Preprocessing
from jointadapt.errors import UserError, unknown_name

SMALL = ("none", "mlp", "cnn")
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class Backbone(nn.Module):
    """Images or arrays → the hidden layers that are to be adapted, matrices (n, widths[i]); the last feeds the head.

    `pretrained` says that the weights come from elsewhere: the backbone then learns at a tenth of the head's rate, and
    its BatchNorm layers keep the statistics they came with.
    """

    def __init__(
        self,
        body: nn.Module,
        widths: tuple[int, ...],
        preprocessing: Preprocessing | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.body, self.widths, self.preprocessing, self.pretrained = body, widths, preprocessing, pretrained

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the hidden layers of a batch."""
        layers = self.body(x)
        return layers if isinstance(layers, tuple) else (layers.flatten(1),)

    def digest(self) -> str:
        """Return a digest of the weights: the part of a feature cache's key that they are."""
        digest = hashlib.sha256(repr(self.widths).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(
                name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()


class FullyConnected(nn.Module):
    """AlexNet's and VGG's trunk: convolutions, then (fc6, fc7), each after its ReLU. Source: JAN, Fig. 2a."""

    def __init__(self, convolutions: nn.Module, fc6: nn.Module, fc7: nn.Module) -> None:
        super().__init__()
        self.convolutions, self.fc6, self.fc7 = convolutions, fc6, fc7

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return fc6 and fc7."""
        fc6 = self.fc6(self.convolutions(x).flatten(1)).relu()
        return fc6, self.fc7(fc6).relu()


def build_backbone(name: str, weights: str = "default", shape: tuple[int, ...] | None = None) -> Backbone:
    """Return the backbone of that name.

    Args:
        name: of torchvision's or timm's ("timm/NAME" where both have it), or `none`, `mlp`, `cnn` for arrays.
        weights: "default" (torchvision's or timm's own, downloaded once), "none" (random), or a file: safetensors, or a
            .pth that is read with `weights_only=True`. With a file nothing is downloaded.
        shape: of a row, for the small ones.
    """
    if name in SMALL:
        if shape is None:
            raise UserError(f"the backbone {name!r} is for arrays; for image files choose another, as resnet50.")
        if weights not in ("default", "none"):
            raise UserError(f"the backbone {name!r} takes no weights; leave --weights out, or choose another backbone.")
        return _small(name, shape)
    if name in torchvision.models.list_models(torchvision.models) or _in_timm(name.removeprefix("timm/")):
        _check_rows(name, shape)
    if name.startswith("timm/") or (name not in torchvision.models.list_models(torchvision.models) and _in_timm(name)):
        return _from_timm(name.removeprefix("timm/"), weights)
    if name not in torchvision.models.list_models(torchvision.models):
        raise unknown_name("backbone", name, backbone_names())
    return _from_torchvision(name, weights)


def _check_rows(name: str, shape: tuple[int, ...] | None) -> None:
    if shape is not None and (len(shape) != 3 or shape[0] != 3):
        raise UserError(
            f"the backbone {name!r} needs images of three channels, and rows have shape {shape}; "
            f"choose {', '.join(SMALL)}."
        )


def backbone_names() -> list[str]:
    """Return every name `build_backbone` takes: the small ones, torchvision's, timm's."""
    return [*SMALL, *torchvision.models.list_models(torchvision.models), *timm.list_models()]


def _in_timm(name: str) -> bool:
    return timm.is_model(name.partition(".")[0])


def _small(name: str, shape: tuple[int, ...]) -> Backbone:
    if name == "cnn":
        if len(shape) != 3:
            raise UserError(f"the backbone 'cnn' needs images, rows of shape (channels, h, w); got rows of {shape}.")
        stages = [_convolution(shape[0], 32), nn.MaxPool2d(2), _convolution(32, 64), nn.AdaptiveAvgPool2d(4)]
        return Backbone(nn.Sequential(*stages, nn.Flatten()), (64 * 16,))
    flat = int(torch.Size(shape).numel())
    if name == "mlp":
        layers = [nn.Flatten(), nn.Linear(flat, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True)]
        return Backbone(nn.Sequential(*layers), (256,))
    return Backbone(nn.Flatten(), (flat,))


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 5, padding=2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _from_torchvision(name: str, weights: str) -> Backbone:
    enum = torchvision.models.get_model_weights(name)
    # The first set (IMAGENET1K_V1) is the one that the field's tables were made with.
    chosen = next(iter(enum))
    extra = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **extra)
    if extra:
        vars(model)["transform_input"] = True  # as torchvision does with these two networks' published weights
    _load(model, name, weights, lambda: chosen.get_state_dict(progress=False))
    return Backbone(*_trunk(model, name), _torchvision_preprocessing(chosen), pretrained=weights != "none")


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


def _from_timm(name: str, weights: str) -> Backbone:
    if not _in_timm(name):
        raise unknown_name("backbone", name, timm.list_models())
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise UserError(f"timm has no backbone {name!r} ({' '.join(str(error).split())[:160]}).") from error
    _load(model, name, weights, lambda: timm.create_model(name, pretrained=True, num_classes=0).state_dict())
    data = resolve_model_data_config(model)
    crop = data["input_size"][-1]
    preprocessing = Preprocessing(
        round(crop / data["crop_pct"]), crop, tuple(data["mean"]), tuple(data["std"]), data["interpolation"]
    )
    with torch.inference_mode():  # `num_features` is not what some networks' heads give out
        width = model.eval()(torch.zeros(1, *data["input_size"])).shape[-1]
    return Backbone(model, (width,), preprocessing, pretrained=weights != "none")


def _load(model: nn.Module, name: str, weights: str, download) -> None:
    if weights == "none":
        return
    if weights == "default":
        try:
            state = download()
        except Exception as error:
            # Each hub client has errors of its own; whichever it is, the mend is the same.
            raise UserError(
                f"the weights of {name} could not be downloaded ({' '.join(str(error).split())[:200]}); "
                "give a file with --weights FILE."
            ) from error
    else:
        state = _read_weights(Path(weights))
    missing, surplus = _load_state(model, state)
    if missing or surplus:
        raise UserError(
            f"{weights} does not fit the backbone {name}: {len(missing)} tensors are missing or of another shape"
            f"{f' ({missing[0]}, …)' if missing else ''}, {len(surplus)} are unknown"
            f"{f' ({surplus[0]}, …)' if surplus else ''}; give the weights of {name}."
        )


def _load_state(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Load what fits and return what is missing and surplus; auxiliary and final classifiers may be."""
    own = model.state_dict()
    classifier = [*own][-1].rpartition(".")[0] if own else ""

    def expendable(key: str) -> bool:
        return key.startswith(AUXILIARY) or key.startswith(f"{classifier}.") or key.endswith("num_batches_tracked")

    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    missing = [key for key in own if key not in fitting and not expendable(key)]
    surplus = [key for key in state if key not in own and not expendable(key) and not _is_classifier(key)]
    return missing, surplus


def _is_classifier(key: str) -> bool:
    return key.partition(".")[0] in ("fc", "classifier", "head", "heads")


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(f"the weights {path} do not exist; give a .safetensors or .pth file, 'default' or 'none'.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path} is no file of weights ({reason}); give a .safetensors or .pth state_dict.") from error
    except Exception as error:
        # pickle's own errors: an object that is more than tensors, or no pickle at all.
        raise UserError(f"{path} holds more than tensors, or none; give a .safetensors or .pth state_dict.") from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise UserError(f"{path} is no state_dict; give a file that maps names to tensors.")
    return {key.removeprefix("module."): value for key, value in state.items()}
