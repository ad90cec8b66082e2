"""The data of a table's runs, read and passed through a frozen backbone once."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from jointadapt.comparison.plan import Comparison
from jointadapt.config import Config
from jointadapt.data import Domain
from jointadapt.data.benchmarks import read
from jointadapt.experiment import device_of
from jointadapt.experiment.prepare import choose_backbone, workers
from jointadapt.networks.backbones import Backbone, build_backbone
from jointadapt.networks.features import features_of, recorded
from jointadapt.runtime.progress import Track
from jointadapt.runtime.random_state import preserved_rng_state


@dataclass(frozen=True)
class Ready:
    """Domains by name: their rows in a file that every process maps, all else in memory.

    Args:
        name: of the backbone.
        features_of: the frozen one whose features the rows are; None where they are what the domains hold.
    """

    domains: dict[str, Domain]
    tensors: Path
    name: str
    features_of: Backbone | None

    def domain(self, name: str) -> Domain:
        """Return a domain with its rows."""
        domain = self.domains[name]
        if domain.holds_images:
            return domain
        return replace(domain, content=torch.load(self.tensors, mmap=True, weights_only=True)[name])


@contextmanager
def shared_data(comparison: Comparison, configs: Sequence[Config], track: Track) -> Iterator[Ready]:
    """Give the data that some runs need; the file is gone afterwards."""
    names = dict.fromkeys(name for config in configs for name in comparison.benchmark.task(config.task))
    domains = {n: read(comparison.benchmark, n, comparison.root, comparison.cache, track) for n in names}
    for note in dict.fromkeys(note for domain in domains.values() for note in domain.notes):
        warnings.warn(note, stacklevel=4)
    first, config = next(iter(domains.values())), configs[0]
    name, shell = choose_backbone(config.backbone, first), None
    if first.holds_images and config.frozen:
        with preserved_rng_state():
            torch.manual_seed(config.seed)
            backbone = build_backbone(name, config.weights)
        place = device_of(config), comparison.cache, workers(config), track
        domains = {n: features_of(domain, backbone, name, *place) for n, domain in domains.items()}
        shell = recorded(backbone)
    with tempfile.TemporaryDirectory(prefix="jointadapt-") as folder:
        file = Path(folder) / "rows.pt"
        torch.save({n: d.rows(range(len(d))) for n, d in domains.items() if not d.holds_images}, file)
        slim = {n: d if d.holds_images else replace(d, content=torch.empty(0)) for n, d in domains.items()}
        yield Ready(slim, file, name, shell)
