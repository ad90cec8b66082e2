"""A frozen backbone runs once: its features of a domain, cached on disk."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jointadapt.data.domain import Domain, Transform
from jointadapt.data.images import fingerprint
from jointadapt.data.worker_restart import load
from jointadapt.runtime.files import write_atomically
from jointadapt.runtime.progress import Track, silent


def extract(
    domain: Domain,
    embed: Callable[[Tensor], Tensor],
    transform: Transform,
    key: str,
    cache: Path,
    workers: int = 0,
    batch_size: int = 32,
    track: Track = silent,
) -> Domain:
    """Return the domain with `embed(transform(image))` as rows, read from the cache when they were computed before.

    Args:
        embed: a batch of images (b, 3, h, w) → features (b, d).
        key: names the weights of `embed`; with the transform and the files, by `fingerprint`, it is the cache's key.
    """
    assert isinstance(domain.content, tuple)
    digest = hashlib.sha256(f"{key}\n{transform}\n{fingerprint(domain.content)}".encode()).hexdigest()[:32]
    file = cache / f"features-{digest}.safetensors"
    features = _remembered(file, len(domain))
    if features is None:
        pictures, number = _Pictures(domain, transform, batch_size), ceil(len(domain) / batch_size)

        def loader(first: int) -> DataLoader:
            batches = range(first, number)
            return DataLoader(pictures, None, sampler=batches, num_workers=workers, generator=torch.Generator())

        with torch.inference_mode():
            batches = track(load(loader, 0, number), number, f"features of {domain.name}")
            features = torch.cat([embed(x).float().cpu() for x in batches]).clone()
        content = save({"features": features}, {"sha256": _digest(features)})
        try:
            write_atomically(file, lambda out: out.write(content))
        except OSError as error:
            warnings.warn(
                f"the features of {domain.name} cannot be kept in the cache ({error}); they are used, and extracted "
                "again by the next run.",
                stacklevel=2,
            )
    return replace(domain, content=features, kind="features", ready=True, precomputed=True)


def _remembered(file: Path, rows: int) -> Tensor | None:
    """Return what the cache holds; None when that is nothing, or damaged."""
    try:
        with safe_open(file, framework="pt") as opened:
            features, digest = opened.get_tensor("features"), (opened.metadata() or {}).get("sha256")
    except (OSError, SafetensorError, KeyError):
        return None
    return features if len(features) == rows and digest == _digest(features) else None


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.contiguous().numpy().data).hexdigest()


class _Pictures(Dataset):
    """The batches of a domain's pictures, transformed."""

    def __init__(self, domain: Domain, transform: Transform, batch_size: int) -> None:
        self.domain, self.transform, self.batch_size = domain, transform, batch_size

    def __getitem__(self, number: int) -> Tensor:
        first = number * self.batch_size
        return self.domain.rows(range(first, min(first + self.batch_size, len(self.domain))), self.transform)
