"""A frozen backbone runs once: what it makes of a domain."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from jointadapt.data import Domain, extract
from jointadapt.errors import UserError
from jointadapt.networks.backbones import Backbone
from jointadapt.runtime.progress import Track, silent


class Recorded(nn.Module):
    """What a frozen backbone gave, its layers side by side in a row, split again."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the layers."""
        return x.split(self.widths, dim=1)


def recorded(backbone: Backbone) -> Backbone:
    """Return the backbone that stands for a frozen one when its features are rows already."""
    return Backbone(Recorded(backbone.widths), backbone.widths, pretrained=True)


def features_of(
    domain: Domain,
    backbone: Backbone,
    name: str,
    device: torch.device,
    cache: Path,
    workers: int = 0,
    track: Track = silent,
) -> Domain:
    """Return a domain of images with the frozen backbone's layers, side by side, as rows (n, Σ widths), from the cache.

    The backbone is left as it is; a copy in evaluation mode runs on the device.
    """
    if backbone.preprocessing is None:
        raise UserError(f"the backbone {name!r} is for arrays; for image files choose another, as resnet50.")
    embedding = copy.deepcopy(backbone).eval().to(device)

    def embed(x: Tensor) -> Tensor:
        return torch.cat(embedding(x.to(device)), 1)

    key = f"{name} {backbone.digest()}"
    return extract(domain, embed, backbone.preprocessing.evaluation(), key, cache, workers, track=track)


def usable_device() -> torch.device:
    """Return a CUDA device where there is one, else the CPU: where features are found when no run says where."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
