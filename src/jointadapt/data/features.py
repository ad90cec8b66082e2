"""A frozen backbone runs once: its features of a domain, cached on disk."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jointadapt.data.domain import Domain, Transform
from jointadapt.data.files import write_atomically
from jointadapt.data.images import fingerprint
from jointadapt.progress import Track, silent


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
        key: names the weights of `embed`; with the transform and the files (names, sizes, times) it is the cache's key.
    """
    assert isinstance(domain.content, tuple)
    digest = hashlib.sha256(f"{key}\n{transform}\n{fingerprint(domain.content)}".encode()).hexdigest()[:32]
    file = cache / f"features-{digest}.safetensors"
    features = _remembered(file, len(domain))
    if features is None:
        loader = DataLoader(_Pictures(domain, transform), batch_size, num_workers=workers)
        with torch.inference_mode():
            batches = [embed(x).float().cpu() for x in track(loader, len(loader), f"features of {domain.name}")]
        features = torch.cat(batches).clone()
        write_atomically(file, lambda out: out.write(save({"features": features})))
    return replace(domain, content=features)


def _remembered(file: Path, rows: int) -> Tensor | None:
    """Return what the cache holds; None when that is nothing, or damaged."""
    try:
        features = load_file(file)["features"]
    except (OSError, SafetensorError, KeyError):
        return None
    return features if len(features) == rows else None


class _Pictures(Dataset):
    def __init__(self, domain: Domain, transform: Transform) -> None:
        self.domain, self.transform = domain, transform

    def __len__(self) -> int:
        return len(self.domain)

    def __getitem__(self, index: int) -> Tensor:
        return self.domain.rows([index], self.transform)[0]
