"""Images a second and core: decoding and the training transform, ours beside torchvision's and TLLib's pipelines.

Batches of 36 + 36 pictures of 224 × 224 in one process of one thread, from the files of a folder of classes: ours as
`Batches` makes them; `ImageFolder` with transforms v2, tensors first (as torchvision recommends) or Pillow's pictures
first; TLLib's, which is not installed but built here from the same parts as its examples build it: `default_loader`,
a resize to 256 × 256, `RandomResizedCrop`, a flip, `ToTensor`, `Normalize`. They take turns; the median of rounds is
shown, in CPU time. Then the same photographs enlarged, and encoded again with a shorter side of `--side` pixels.

    OMP_NUM_THREADS=1 python benchmarks/image_pipeline.py FOLDER [--side 1200] [--rounds 5] [--images 360]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from jointadapt.data import Preprocessing, read_domain
from jointadapt.data.batches import Batches

BATCH = 36
MEAN, STD = Preprocessing.mean, Preprocessing.std


def of_torchvision(folder: Path, transform: Callable) -> Callable[[int], Tensor]:
    """Return what makes the batch of a step of an `ImageFolder`."""
    pictures = ImageFolder(str(folder), transform)
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0)).tolist()

    def batch(step: int) -> Tensor:
        rows = [order[(step * 2 * BATCH + place) % len(order)] for place in range(2 * BATCH)]
        return torch.stack([pictures[row][0] for row in rows])

    return batch


def pipelines(folder: Path) -> dict[str, Callable[[int], object]]:
    """Return what makes the batch of a step, by name."""
    scaled = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    random = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
    as_tllib = [
        *(transforms.Lambda(lambda picture: picture.resize((256, 256))), transforms.RandomResizedCrop(224)),
        *(transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(MEAN, STD)),
    ]
    domain = read_domain(folder)
    batches = Batches(domain, domain, BATCH, seed=0, transform=Preprocessing().training())
    return {
        "jointadapt": batches.__getitem__,
        "ImageFolder + v2, tensors": of_torchvision(folder, v2.Compose([v2.ToImage(), *random, *scaled])),
        "ImageFolder + v2, Pillow": of_torchvision(folder, v2.Compose([*random, v2.ToImage(), *scaled])),
        "as TLLib builds it": of_torchvision(folder, transforms.Compose(as_tllib)),
    }


def measure(folder: Path, steps: int, rounds: int, title: str) -> None:
    """Print a table of one folder."""
    contenders = pipelines(folder)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, batch in contenders.items():
            start = time.process_time()
            for step in range(steps):
                batch(step)
            if turn:  # the first warms up
                times[name].append((time.process_time() - start) / (steps * 2 * BATCH))
    own = statistics.median(times["jointadapt"])
    print(f"\n{title}\n{'':28}{'ms an image':>12}{'images/s':>10}{'ours is × as fast':>20}")
    for name, seen in times.items():
        each = statistics.median(seen)
        print(f"{name:28}{1e3 * each:12.2f}{1 / each:10.0f}{each / own:20.2f}", flush=True)


def enlarge(folder: Path, side: int, most: int, out: Path) -> None:
    """Write the pictures with a shorter side of so many pixels, a quality of 90, and their classes."""
    paths = sorted(folder.glob("*/*.jpg"))
    for path in paths[:: max(1, len(paths) // most)]:
        with Image.open(path) as picture:
            scale = side / min(picture.size)
            large = picture.convert("RGB").resize((round(picture.width * scale), round(picture.height * scale)))
        (out / path.parent.name).mkdir(exist_ok=True)
        large.save(out / path.parent.name / path.name, quality=90)


def main() -> None:
    """Print a table of the pictures as they are, and one of large ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=360, help="a round")
    given = parser.parse_args()
    torch.set_num_threads(1)
    steps = max(1, given.images // (2 * BATCH))
    measure(given.folder, steps, given.rounds, "as they are")
    with tempfile.TemporaryDirectory() as out:
        enlarge(given.folder, given.side, 72, Path(out))
        measure(Path(out), max(1, steps // 5), given.rounds, f"shorter side {given.side} pixels")


if __name__ == "__main__":
    main()
