"""The domains of a benchmark as rows of a frozen backbone's features, extracted once."""

from pathlib import Path

import torch

from jointadapt.data import Domain
from jointadapt.data.benchmarks import Benchmark, read
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import FeatureExtractor
from jointadapt.runtime.files import default_cache


def frozen_features(benchmark: Benchmark, root: Path, backbone: str, weights: str) -> dict[str, Domain]:
    """Return those domains of a benchmark that are there, by name."""
    cache = default_cache()
    extractor = FeatureExtractor(build_backbone(backbone, weights), backbone, True, cache, torch.device("cpu"))
    return {name: extractor.prepared(read(benchmark, name, root, cache)) for name in benchmark.find(root)}
