"""Forty-five tasks on which adaptation helps, changes nothing, or harms: digits, Gaussians, photographs' features.

    from hard_cases import suite

Every case is a source with labels and a target whose labels only serve the evaluation. Digits and Gaussians are made
here; `suite(root)` adds MNIST and USPS (`root/digits`) and three domains of photographs (`root/office_caltech`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, rotate, shift
from sklearn.datasets import load_digits

from jointadapt.data import Domain, from_arrays, read_domain
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.features import FeatureExtractor
from jointadapt.runtime.files import default_cache

DIGITS = {"backbone": "cnn", "bottleneck": 128, "dropout": 0.0, "steps": 300}
GAUSSIANS = {"backbone": "mlp", "bottleneck": 32, "dropout": 0.0, "steps": 300}
PHOTOGRAPHS = {"backbone": "none", "steps": 400}
RATIO = 10  # of the most to the least frequent class under label shift


@dataclass(frozen=True)
class Case:
    """One task; `kind` says what is hard in it, `options` how its networks are trained.

    `more` are further rows of the target's distribution, to evaluate on where the target has too few of them.
    """

    name: str
    kind: str
    source: Domain
    target: Domain
    options: dict[str, Any] = field(default_factory=dict)
    more: Domain | None = None


def suite(root: Path, backbone: str = "squeezenet1_0", seed: int = 0) -> Iterator[Case]:
    """Yield all cases; real images are read below `root`. Another seed draws other rows, noise and angles."""
    yield from digits(seed)
    yield from gaussians(seed)
    yield from scanned(root / "digits", seed)
    yield from photographs(root / "office_caltech", backbone, root / "weights" / f"{backbone}.safetensors", seed)


def imbalanced(labels: np.ndarray, ratio: float = RATIO, seed: int = 0) -> np.ndarray:
    """Return rows of a subset whose class c has a share falling geometrically, first to last by `ratio`."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels)
    shares = ratio ** -(np.arange(len(classes)) / (len(classes) - 1))
    rows = [generator.permutation(np.flatnonzero(labels == c)) for c in classes]
    most = min(len(r) / share for r, share in zip(rows, shares, strict=True))
    return np.concatenate([r[: max(1, round(most * share))] for r, share in zip(rows, shares, strict=True)])


def digits(seed: int = 0) -> Iterator[Case]:
    """Yield scikit-learn's digits, one half the source, the other half changed."""
    x, y = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(x))
    x, y = x[order].reshape(-1, 8, 8) / 16, y[order]
    x_s, y_s, x_t, y_t = x[:898], y[:898], x[898:], y[898:]
    source = from_arrays(x_s, y_s, "digits", kind="images")

    def changed(change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.stack([np.clip(change(image), 0, 1) for image in x_t])

    tilted = changed(lambda image: rotate(image, generator.uniform(15, 45), reshape=False, order=1))
    half, few, rare = y_t < 5, slice(0, 5), imbalanced(y_t, seed=seed)
    targets = [
        ("as they are", "identical", x_t, y_t),
        ("tilted", "covariate shift", tilted, y_t),
        ("upside down", "covariate shift", x_t[:, ::-1, ::-1].copy(), y_t),
        ("inverted", "contrast", 1 - x_t, y_t),
        ("half inverted", "contrast", np.where(np.arange(len(x_t))[:, None, None] % 2, x_t, 1 - x_t), y_t),
        ("noisy", "covariate shift", changed(lambda image: image + generator.normal(0, 0.4, image.shape)), y_t),
        ("blurred and pale", "covariate shift", changed(lambda image: 0.3 + 0.4 * gaussian_filter(image, 0.8)), y_t),
        ("moved", "covariate shift", changed(lambda image: shift(image, (1, -1), order=1)), y_t),
        ("as they are, 10:1", "label shift", x_t[rare], y_t[rare]),
        ("tilted, 10:1", "label shift", tilted[rare], y_t[rare]),
        ("tilted, five classes missing", "missing classes", tilted[half], y_t[half]),
        ("five tilted ones", "few examples", tilted[few], y_t[few]),
        ("pure noise", "noise", generator.uniform(0, 1, x_t.shape), None),
    ]
    for name, kind, rows, labels in targets:
        more = from_arrays(tilted[5:], y_t[5:], kind="images") if kind == "few examples" else None
        yield Case(f"digits → {name}", kind, source, from_arrays(rows, labels, name, kind="images"), DIGITS, more)
    known = from_arrays(x_s[y_s < 6], y_s[y_s < 6], "digits 0–5", kind="images")
    unknown = from_arrays(tilted, y_t, "tilted", kind="images")
    yield Case("digits 0–5 → tilted 0–9", "unknown classes", known, unknown, DIGITS)


def gaussians(seed: int = 0, rows: int = 400) -> Iterator[Case]:
    """Yield clouds in the plane and in ten dimensions, one a class."""
    generator = np.random.default_rng(seed + 1)
    corners = np.array([[0, 0], [6, 0], [0, 4]])

    def clouds(labels: np.ndarray, dimensions: int = 10) -> np.ndarray:
        x = generator.normal(size=(len(labels), dimensions))
        x[:, :2] += corners[labels]
        return x

    def turn(x: np.ndarray, degrees: float) -> np.ndarray:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        middle, plane = x[:, :2].mean(0), np.array([[c, -s], [s, c]])
        return np.concatenate([(x[:, :2] - middle) @ plane.T + middle, x[:, 2:]], 1)

    y_s, y_t = (generator.integers(0, 3, rows) for _ in range(2))
    skewed = generator.choice(3, rows, p=np.array([10, 3, 1]) / 14)
    x_s, x_t = clouds(y_s), clouds(y_t)
    source = from_arrays(x_s, y_s, "clouds")
    offset = np.zeros(10)
    offset[:2] = 2.5, 2
    targets = [
        ("as they are", "identical", x_t, y_t),
        ("moved", "covariate shift", x_t + offset, y_t),
        ("moved to the next class", "wrong classes", x_t + 2 * offset, y_t),
        ("turned by 30°", "covariate shift", turn(x_t, 30), y_t),
        ("turned by 60°", "covariate shift", turn(x_t, 60), y_t),
        ("turned by 120°", "wrong classes", turn(x_t, 120), y_t),
        ("labels swapped", "wrong classes", x_t, (y_t + 1) % 3),
        ("scaled", "covariate shift", 2 * x_t - 3, y_t),
        ("as they are, 10:3:1", "label shift", clouds(skewed), skewed),
        ("moved, 10:3:1", "label shift", clouds(skewed) + offset, skewed),
        ("one class moved", "missing classes", x_t[y_t == 1] + offset, y_t[y_t == 1]),
        ("five rows moved", "few examples", x_t[:5] + offset, y_t[:5]),
        ("pure noise", "noise", generator.normal(0, 10, x_t.shape), None),
    ]
    for name, kind, x, labels in targets:
        more = from_arrays(x_t[5:] + offset, y_t[5:]) if kind == "few examples" else None
        yield Case(f"clouds → {name}", kind, source, from_arrays(x, labels, name), GAUSSIANS, more)
    # One rule for both domains, y = x₁ + x₂² > 1, seen in different places: p(y | x) is the same.
    x_s, x_t = generator.normal(0, 1, (rows, 2)), generator.normal((1, 0.5), 0.7, (rows, 2))
    pair = [from_arrays(x, x[:, 0] + x[:, 1] ** 2 > 1, name) for x, name in ((x_s, "parabola"), (x_t, "elsewhere"))]
    yield Case("parabola → elsewhere", "covariate shift", *pair, GAUSSIANS)


def scanned(folder: Path, seed: int = 0, rows: int = 1000) -> Iterator[Case]:
    """Yield MNIST and USPS, 1,000 digits each, at 16 × 16."""
    part = slice(seed * rows, (seed + 1) * rows)
    with np.load(folder / "mnist_t10k_28x28_uint8.npz") as file:
        pixels = torch.from_numpy(file["images"][part]).float()[:, None] / 255
        small = torch.nn.functional.interpolate(pixels, (16, 16), mode="bilinear", antialias=True)[:, 0].numpy()
        mnist, y_m = small, file["labels"][part]
    with np.load(folder / "usps_16x16_uint8.npz") as file:
        usps, y_u = file["images_train"][part] / 255.0, file["labels_train"][part]
    rare, half = imbalanced(y_u, seed=seed), y_m < 5
    pairs = [
        ("MNIST → USPS", "covariate shift", (mnist, y_m), (usps, y_u)),
        ("USPS → MNIST", "covariate shift", (usps, y_u), (mnist, y_m)),
        ("MNIST → USPS, 10:1", "label shift", (mnist, y_m), (usps[rare], y_u[rare])),
        ("USPS → MNIST, five classes missing", "missing classes", (usps, y_u), (mnist[half], y_m[half])),
        ("MNIST → USPS inverted", "contrast", (mnist, y_m), (1 - usps, y_u)),
    ]
    for name, kind, given, wanted in pairs:
        names = zip((given, wanted), name.split(" → "), strict=True)
        domains = [from_arrays(*pair, of, kind="images") for pair, of in names]
        yield Case(name, kind, *domains, DIGITS)


def photographs(folder: Path, backbone: str, weights: Path, seed: int = 0) -> Iterator[Case]:
    """Yield the photographs' domains as a frozen backbone's features, and parts of them."""
    cache = default_cache()
    extractor = FeatureExtractor(build_backbone(backbone, str(weights)), backbone, True, cache, torch.device("cpu"))
    amazon, dslr, webcam = (
        extractor.prepared(read_domain(folder / name, cache)) for name in ("amazon", "dslr", "webcam")
    )
    for source in (amazon, dslr, webcam):
        for target in (amazon, dslr, webcam):
            if source is not target:
                yield Case(f"{source.name} → {target.name}", "covariate shift", source, target, PHOTOGRAPHS)
    order = np.random.default_rng(seed + 2).permutation(len(amazon)).tolist()
    one, other = amazon.select(order[::2]), amazon.select(order[1::2])
    rare = imbalanced(amazon.labels.numpy(), seed=seed).tolist()
    half = (webcam.labels < 5).nonzero().flatten().tolist()
    known = (dslr.labels < 6).nonzero().flatten().tolist()
    shape = (300, *(amazon.shape or ()))
    noise = from_arrays(np.abs(np.random.default_rng(seed + 3).normal(size=shape)), None, "noise")
    targets = [
        ("amazon → its other half", "identical", one, other),
        ("webcam → amazon, 10:1", "label shift", webcam, amazon.select(rare)),
        ("amazon → webcam, five classes missing", "missing classes", amazon, webcam.select(half)),
        ("dslr, six classes → webcam, ten", "unknown classes", _of_classes(dslr.select(known), 6), webcam),
        ("webcam → five of amazon", "few examples", webcam, amazon.select(order[:5])),
        ("amazon → pure noise", "noise", amazon, noise),
    ]
    for name, kind, source, target in targets:
        more = amazon.select(order[5:]) if kind == "few examples" else None
        yield Case(name, kind, source, target, PHOTOGRAPHS, more)


def _of_classes(domain: Domain, count: int) -> Domain:
    return domain.in_classes(domain.classes[:count])[0]
