"""Each backbone in each format: how far is an exported file from the model, on real rows, in batches of 1, 2 and 7?

    python benchmarks/exports.py [--backbones resnet18,mlp] [--formats onnx,torch,safetensors] [--images 16]

Prints a Markdown table, a row a backbone: for each format the largest difference of a probability in batches of 1, 2
and 7, in units of 1e-7; the size of each file; the seconds that writing and checking each took.
Images are photographs of amazon and webcam,
tables and signals those of `families/`, in $JOINTADAPT_TEST_DATA or ../shared/data. Weights are ImageNet's where that
folder has them, else random; the head is trained for a few steps, and the logits are then scaled to a deviation of
`SPREAD`, as those of a network that is sure of some images and unsure of others: no difference hides in flat output.
"""

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import torch

from jointadapt import Model, read_domain, train
from jointadapt.data import Domain
from jointadapt.data.kinds import Reading
from jointadapt.exporting.description import describe
from jointadapt.exporting.export import export, largest
from jointadapt.exporting.formats import FORMATS
from jointadapt.exporting.inputs import rows_of, some_of

DATA = Path(os.environ.get("JOINTADAPT_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
IMAGES = (
    "alexnet",
    "vgg16",
    "googlenet",
    "inception_v3",
    "resnet18",
    "resnet50",
    "squeezenet1_0",
    "mobilenet_v2",
    "efficientnet_b0",
    "vit_b_16",
    "swin_t",
    "convnext_tiny",
)
TABLES, SIGNALS = ("none", "mlp"), ("cnn1d", "resnet1d", "inception1d")
BATCHES = (1, 2, 7)
SPREAD = 2.0
QUICK = {"steps": 60, "report": False, "batch_size": 8, "workers": 0, "method": "jan"}


def main() -> None:
    """Train, export and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default=",".join((*IMAGES, *TABLES, *SIGNALS)))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--images", type=int, default=16)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    started, formats = time.monotonic(), arguments.formats.split(",")
    print(f"| backbone | weights | {' | '.join(formats)} | MB | seconds |")
    print(f"|---|---|{'---|' * len(formats)}---|---|", flush=True)
    for backbone in arguments.backbones.split(","):
        model, target, weights = trained(backbone, arguments.images)
        cells = [exported(model, target, to) for to in formats]
        told = [" · ".join(f"{1e7 * difference:.1f}" for difference in cell.differences) for cell in cells]
        sizes = " · ".join(f"{cell.megabytes:.1f}" for cell in cells)
        seconds = " · ".join(f"{cell.seconds:.0f}" for cell in cells)
        print(f"| {backbone} | {weights} | {' | '.join(told)} | {sizes} | {seconds} |", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s, {torch.get_num_threads()} thread, torch {torch.__version__}")


def trained(backbone: str, images: int) -> tuple[Model, Domain, str]:
    """Return a model with a backbone, the target that it was trained for, and what its weights are."""
    if backbone in TABLES:
        source, target = (read_domain(DATA / f"families/gas_sensors/{name}.npz") for name in domains("gas_sensors"))
        return train(source, target, backbone=backbone, **QUICK).model, target, "trained"
    if backbone in SIGNALS:
        source, target = (
            some_of(read_domain(DATA / f"families/bearings/{name}.npz", reading=Reading(kind="signal")), 300)
            for name in domains("bearings")
        )
        return train(source, target, backbone=backbone, kind="signal", **QUICK).model, target, "trained"
    source, target = (some_of(read_domain(DATA / "office_caltech" / name), images) for name in ("amazon", "webcam"))
    file = DATA / "weights" / f"{backbone}.safetensors"
    weights = str(file) if file.is_file() else "none"
    run = train(source, target, backbone=backbone, weights=weights, baseline=False, **QUICK)
    return spread(run.model, target), target, "ImageNet" if weights != "none" else "random"


@torch.no_grad()
def spread(model: Model, domain: Domain) -> Model:
    """Return the model with its last layer scaled, so that the logits of a domain deviate by `SPREAD`."""
    logits = model.predict_proba(domain).log()
    classifier = model.network.head.classifier
    factor = SPREAD / (logits - logits.mean(1, keepdim=True)).std()
    classifier.weight *= factor
    classifier.bias *= factor
    return model


def domains(family: str) -> list[str]:
    """Return the names of two domains of a family."""
    return sorted(path.stem for path in (DATA / "families" / family).glob("*.npz"))[:2]


class Cell(NamedTuple):
    """What one format made of one model: the largest difference in batches of each size, and what it took."""

    differences: list[float]
    megabytes: float
    seconds: float


def exported(model: Model, target: Domain, to: str) -> Cell:
    """Return what a format makes of a model, however far it is from it."""
    with tempfile.TemporaryDirectory() as folder:
        found = export(model, to, Path(folder) / to, check=target, tolerance=1)
        return Cell(by_batch(model, target, found.folder, to), found.bytes / 1e6, found.seconds)


def by_batch(model: Model, target: Domain, folder: Path, to: str) -> list[float]:
    """Return the largest difference of a probability in batches of each size."""
    run = FORMATS[to].runner(folder, describe(model))
    chosen = some_of(target, 2 * max(BATCHES))
    rows, expected = rows_of(model, chosen), model.predict_proba(chosen)
    return [largest(expected, torch.cat([run(part)[0] for part in rows.split(size)])) for size in BATCHES]


if __name__ == "__main__":
    main()
