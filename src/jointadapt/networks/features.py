"""A frozen backbone runs once: what it makes of a domain, and who decides that."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from jointadapt.data import Domain, extract
from jointadapt.errors import UserError
from jointadapt.inputs.signals import spectra
from jointadapt.networks.backbone import Backbone
from jointadapt.runtime.files import default_cache
from jointadapt.runtime.progress import Track, silent

ROWS_AT_ONCE = 256


class PrecomputedFeatures(Backbone):
    """Stands for a frozen backbone whose features are rows already, its layers side by side: splits them again.

    Args:
        widths: of the layers.
        digest: of the backbone it stands for, where that has to be known again.
    """

    def __init__(self, widths: Sequence[int], digest: str = "") -> None:
        super().__init__(nn.Identity(), widths, pretrained=True)
        self._digest = digest

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the layers."""
        return x.split(self.widths, dim=1)

    def digest(self) -> str:
        """Return the digest of the backbone's weights."""
        return self._digest


def usable_device() -> torch.device:
    """Return a CUDA device where there is one, else the CPU: where features are found when no run says where."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class FeatureExtractor:
    """A backbone as it is now, and the domains as a network with it is handed them.

    Here alone it is decided whose features are extracted once, before the training.

    Args:
        backbone: it is left as it is; a copy in evaluation mode runs on the device.
        name: of the backbone.
        frozen: whether training leaves it as it is; "auto": a named one that image files pass, and no other.
        cache: where features of image files are kept.
    """

    backbone: Backbone
    name: str
    frozen: bool | Literal["auto"] = "auto"
    cache: Path = field(default_factory=default_cache)
    device: torch.device = field(default_factory=usable_device)
    workers: int = 0
    track: Track = silent

    def freezes(self, domain: Domain) -> bool:
        """Return whether the backbone stays as it is when a network is trained on this domain."""
        if domain.precomputed:
            return True
        return domain.holds_images and not self.backbone.own if self.frozen == "auto" else self.frozen

    def prepared(self, domain: Domain) -> Domain:
        """Return the domain as a network is handed it: of a frozen backbone its features, else what it holds."""
        return self._extracted(domain) if self.freezes(domain) else domain

    def as_rows(self, domain: Domain) -> Domain:
        """Return the domain as rows to be compared: of image files the backbone's features, of signals their spectra.

        Of others it is what they hold. Samples of two signals that begin at another time cannot be compared.
        """
        if domain.kind == "signal" and not domain.precomputed:
            return spectra(domain)
        return self._extracted(domain) if domain.holds_images else domain

    def _extracted(self, domain: Domain) -> Domain:
        """Return the domain with the backbone's layers, side by side, as rows (n, Σ widths)."""
        if domain.precomputed:
            return domain
        if domain.holds_images and domain.origins is not None:  # each source has features of its own in the cache
            joined = domain.with_rows_of([self._extracted(part) for part in domain.by_origin()])
            return replace(joined, kind="features", ready=True, precomputed=True)
        embedding = copy.deepcopy(self.backbone).eval().to(self.device)

        def embed(x: Tensor) -> Tensor:
            return torch.cat(embedding(x.to(self.device)), 1)

        if not domain.holds_images:
            return _checked(_embedded(domain, embed, self.track), self.name)
        if self.backbone.preprocessing is None:
            raise UserError(f"the backbone {self.name!r} is for arrays; for image files choose another, as resnet50.")
        key = f"{self.name} {self.backbone.digest()}" + (f" {self.backbone.probe()}" if self.backbone.own else "")
        transform = self.backbone.preprocessing.evaluation()
        return _checked(extract(domain, embed, transform, key, self.cache, self.workers, track=self.track), self.name)


def _checked(domain: Domain, name: str) -> Domain:
    """Return a domain of features; those that are not finite are a `UserError`, those that are all one are told."""
    features = domain.rows(range(len(domain)))
    bad = int((~torch.isfinite(features)).any(1).sum())
    if bad:
        raise UserError(
            f"the backbone {name} makes NaN or infinite features of {bad} of the {len(domain)} rows of {domain.name}; "
            "are its weights those of a training that went well? Give others with --weights."
        )
    if len(domain) > 1 and (features == features[0]).all():
        warnings.warn(
            f"the backbone {name} makes the same features of all {len(domain)} rows of {domain.name}: are its weights "
            "zero, or the rows all alike? Nothing can be told apart by them.",
            stacklevel=2,
        )
    return domain


@torch.inference_mode()
def _embedded(domain: Domain, embed: Callable[[Tensor], Tensor], track: Track) -> Domain:
    """Return a domain of arrays with what an embedding makes of them as rows."""
    starts = range(0, len(domain), ROWS_AT_ONCE)
    parts = (domain.rows(range(start, min(start + ROWS_AT_ONCE, len(domain)))) for start in starts)
    features = [embed(x).float().cpu() for x in track(parts, len(starts), f"features of {domain.name}")]
    return replace(domain, content=torch.cat(features).clone(), kind="features", ready=True, precomputed=True)
