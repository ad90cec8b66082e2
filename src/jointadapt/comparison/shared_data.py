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
from jointadapt.data.benchmarks import domains_of, read
from jointadapt.data.several import pool
from jointadapt.experiment import device_of
from jointadapt.experiment.prepare import choose_backbone, workers
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import FeatureExtractor, PrecomputedFeatures
from jointadapt.runtime.progress import Track
from jointadapt.runtime.random_state import preserved_rng_state


@dataclass(frozen=True)
class Ready:
    """Domains by name: their rows in a file that every process maps, all else in memory.

    Args:
        name: of the backbone.
        backbone: the frozen one whose features the rows are, or what stands for it where its weights can be found
            again; None where the rows are what the domains hold.
    """

    domains: dict[str, Domain]
    tensors: Path
    name: str
    backbone: Backbone | None

    def domain(self, name: str) -> Domain:
        """Return a domain with its rows; several of them, "amazon+dslr", as one."""
        if "+" in name:
            return pool([self.domain(each) for each in name.split("+")])
        domain = self.domains[name]
        if not domain.holds_arrays:
            return domain
        return replace(domain, content=torch.load(self.tensors, mmap=True, weights_only=True)[name])


@contextmanager
def shared_data(comparison: Comparison, configs: Sequence[Config], track: Track) -> Iterator[Ready]:
    """Give the data that some runs need; the file is gone afterwards."""
    names = dict.fromkeys(name for config in configs for name in domains_of(comparison.benchmark.task(config.task)))
    domains = {n: read(comparison.benchmark, n, comparison.root, comparison.cache, track) for n in names}
    for note in dict.fromkeys(note for domain in domains.values() for note in domain.notes):
        warnings.warn(note, stacklevel=4)
    first, config = next(iter(domains.values())), configs[0]
    name, backbone = choose_backbone(config, first), None
    if first.holds_images:
        with preserved_rng_state():
            torch.manual_seed(config.seed)
            built = build_backbone(name, config.weights)
        for note in built.notes:
            warnings.warn(note, stacklevel=4)
        place = comparison.cache, device_of(config), workers(config), track
        extractor = FeatureExtractor(built, name, config.frozen, *place)
        domains = {n: extractor.prepared(domain) for n, domain in domains.items()}
        lost = built.own or config.weights == "none"
        if extractor.freezes(first):
            backbone = built if lost else PrecomputedFeatures(built.widths, built.digest())
    with tempfile.TemporaryDirectory(prefix="jointadapt-") as folder:
        file = Path(folder) / "rows.pt"
        torch.save({n: d.rows(range(len(d))) for n, d in domains.items() if d.holds_arrays}, file)
        slim = {n: replace(d, content=torch.empty(0)) if d.holds_arrays else d for n, d in domains.items()}
        yield Ready(slim, file, name, backbone)
