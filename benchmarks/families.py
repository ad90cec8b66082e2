"""Families of domains beyond pictures: sensors, phones, machines, words, hospitals, rows of pixels, features.

    from families import FAMILIES, read_families

A family is a few domains with the same columns and classes, as arrays, and the pairs of them that tables are made of.
Real ones are read below a folder (`JOINTADAPT_TEST_DATA`, or `../shared/data`): `families/`, `digits/`,
`office_caltech/` with `weights/`. The last three are scikit-learn's own data, of which a part was measured otherwise.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from torch.nn.functional import interpolate

from jointadapt.data import Domain, from_arrays, read_domain
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import FeatureExtractor
from jointadapt.runtime.files import default_cache

ROOT = Path(os.environ.get("JOINTADAPT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
BACKBONE = "squeezenet1_0"
MOST_ROWS = 2_000  # of a domain of digits


@dataclass(frozen=True)
class Family:
    """Domains by name, each labelled, and the pairs (source, target) that tables are made of."""

    name: str
    domains: dict[str, Domain]
    pairs: tuple[tuple[str, str], ...]

    def tasks(self) -> Iterator[tuple[Domain, Domain]]:
        """Yield the two domains of every pair."""
        return ((self.domains[source], self.domains[target]) for source, target in self.pairs)


def gas_sensors(root: Path) -> Family:
    """Return 128 features of 16 gas sensors that drift over 36 months; values up to 670,000."""
    pairs = (("batch1", "batch2"), ("batch2", "batch6"), ("batch6", "batch8"), ("batch6", "batch9"))
    return _stored(root, "gas_sensors", pairs)


def activity(root: Path) -> Family:
    """Return 43 features of phones in the pockets of four groups of people."""
    a, b, c, d = names = ("users01_09", "users10_18", "users19_27", "users28_36")
    return _stored(root, "activity", ((a, b), (b, c), (c, d), (d, a)), names)


def bearings(root: Path) -> Family:
    """Return windows of 1,024 samples of a bearing's vibration under four loads, as they are."""
    return _stored(root, "bearings", (("load0", "load3"), ("load3", "load0"), ("load1", "load2")))


def bearing_spectra(root: Path) -> Family:
    """Return the magnitudes of the Fourier transforms of the same windows."""
    raw = bearings(root)
    spectra = {
        name: from_arrays(np.abs(np.fft.rfft(domain.rows(range(len(domain))).numpy()))[:, 1:], _labels(domain), name)
        for name, domain in raw.domains.items()
    }
    return Family("bearing_spectra", spectra, raw.pairs)


def news(root: Path) -> Family:
    """Return weighted counts of 7,270 words in the news, two subjects from four pairs of groups; rows of length 1."""
    pairs = (
        ("autos_crypt", "baseball_space"),
        ("baseball_space", "hockey_med"),
        ("hockey_med", "motorcycles_electronics"),
    )
    return _stored(root, "news", pairs)


def hearts(root: Path) -> Family:
    """Return 13 columns of the patients of four hospitals, with 36 to 94 % ill."""
    pairs = (
        ("cleveland", "hungarian"),
        ("hungarian", "cleveland"),
        ("cleveland", "va"),
        ("va", "hungarian"),
        ("hungarian", "switzerland"),
    )
    return _stored(root, "hearts", pairs)


def digit_rows(root: Path) -> Family:
    """Return MNIST and USPS as rows of 16 × 16 pixels."""
    with np.load(root / "digits" / "mnist_t10k_28x28_uint8.npz") as mnist:
        x = torch.from_numpy(mnist["images"][:MOST_ROWS]).float()[:, None] / 255
        small = interpolate(x, (16, 16), mode="bilinear", antialias=True).flatten(1).numpy()
        first = from_arrays(small, mnist["labels"][:MOST_ROWS], "mnist")
    with np.load(root / "digits" / "usps_16x16_uint8.npz") as usps:
        pixels = usps["images_train"][:MOST_ROWS].reshape(-1, 256).astype(np.float32) / 255
        second = from_arrays(pixels, usps["labels_train"][:MOST_ROWS], "usps")
    return Family("digit_rows", {"mnist": first, "usps": second}, (("mnist", "usps"), ("usps", "mnist")))


def photograph_features(root: Path) -> Family:
    """Return squeezenet1_0's features of ten kinds of objects in three domains of photographs."""
    backbone = build_backbone(BACKBONE, str(root / "weights" / f"{BACKBONE}.safetensors"))
    extractor = FeatureExtractor(backbone, BACKBONE, True, default_cache(), torch.device("cpu"))
    found = {}
    for name in ("amazon", "dslr", "webcam"):
        domain = extractor.prepared(read_domain(root / "office_caltech" / name))
        found[name] = from_arrays(domain.rows(range(len(domain))), _labels(domain), name)
    return Family("photograph_features", found, (("amazon", "webcam"), ("dslr", "amazon"), ("webcam", "amazon")))


def wine(root: Path) -> Family:  # noqa: ARG001
    """Return the analyses of three cultivars of wine, and those of a laboratory that measures otherwise."""
    return _two_laboratories("wine", *load_wine(return_X_y=True))


def cancer(root: Path) -> Family:  # noqa: ARG001
    """Return 30 measures of cells of two kinds, and those of a laboratory that measures otherwise."""
    return _two_laboratories("cancer", *load_breast_cancer(return_X_y=True))


def small_digits(root: Path) -> Family:  # noqa: ARG001
    """Return digits of 8 × 8 pixels of 0 to 16, and those of a laboratory that measures otherwise."""
    return _two_laboratories("small_digits", *load_digits(return_X_y=True))


FAMILIES: dict[str, Callable[[Path], Family]] = {
    read.__name__: read
    for read in (
        gas_sensors,
        activity,
        bearings,
        bearing_spectra,
        news,
        hearts,
        digit_rows,
        photograph_features,
        wine,
        cancer,
        small_digits,
    )
}


def read_families(names: Iterable[str] = FAMILIES, root: Path = ROOT) -> Iterator[Family]:
    """Yield the families of these names, one after the other."""
    return (FAMILIES[name](root) for name in names)


def _labels(domain: Domain) -> list[str]:
    return [domain.classes[label] for label in domain.labels.tolist()]


def _stored(root: Path, name: str, pairs: tuple[tuple[str, str], ...], names: Iterable[str] = ()) -> Family:
    """Return a family whose domains are files; only those that are in a pair are read, unless they are named."""
    names = names or sorted({name for pair in pairs for name in pair})
    return Family(name, {each: read_domain(root / "families" / name / f"{each}.npz") for each in names}, pairs)


def _two_laboratories(name: str, x: np.ndarray, y: np.ndarray) -> Family:
    """Return two halves of the rows; the second's columns have gains of 0.7 to 1.4, and move by half a deviation."""
    generator = np.random.default_rng(0)
    order = generator.permutation(len(x))
    gains = np.exp(generator.uniform(np.log(0.7), np.log(1.4), x.shape[1]))
    offsets = generator.uniform(-0.5, 0.5, x.shape[1]) * x.std(0)
    here, there = order[: len(x) // 2], order[len(x) // 2 :]
    domains = {
        "here": from_arrays(x[here], y[here], "here"),
        "there": from_arrays(x[there] * gains + offsets, y[there], "there"),
    }
    return Family(name, domains, (("here", "there"), ("there", "here")))
