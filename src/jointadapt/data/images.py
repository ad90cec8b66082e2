"""Image files: finding, checking, decoding, transforming."""

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from jointadapt.data.shards import Member
from jointadapt.runtime.files import write_atomically
from jointadapt.runtime.progress import Track, silent

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def is_image(path: Path) -> bool:
    """Return whether the file's name is that of an image (hidden files are not)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path | Member) -> Tensor:
    """Return the picture as uint8 (3, height, width), turned as its EXIF data say; any mode becomes RGB."""
    return torch.from_numpy(np.array(open_rgb(path))).permute(2, 0, 1)


def open_rgb(path: Path | Member) -> Image.Image:
    """Return the picture as Pillow reads it, in RGB, turned as its EXIF data say."""
    with path.open("rb") as file, Image.open(file) as picture:
        return _as_rgb(picture)


def _as_rgb(picture: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):  # 16-bit grey: Pillow's own conversion would clip at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture.convert("RGBA" if picture.mode == "P" else picture.mode).convert("RGB")


def defect(path: Path | Member) -> str | None:
    """Return why the file is not a whole, readable image; None when it is one."""
    try:
        with path.open("rb") as file, Image.open(file) as picture:
            picture.draft("RGB", (64, 64))  # JPEG: decodes at an eighth of the size, and still reads all of the file
            _as_rgb(picture)
    except Exception as error:
        # Decoders raise whatever they like on hostile bytes (struct.error, SyntaxError, ValueError…).
        return " ".join(str(error).split()) or type(error).__name__
    return None


def find_defects(
    paths: Sequence[Path | Member], cache: Path, track: Track = silent, name: str = ""
) -> dict[Path | Member, str]:
    """Return the files that are no readable images, with the reason; remembered in the cache for unchanged files."""
    memory = cache / f"checked-{fingerprint(paths)}.json"
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):  # nothing there, or damaged
        return {paths[int(index)]: reason for index, reason in json.loads(memory.read_text("utf-8")).items()}
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # Set once for all threads: filters are shared by them, and one would restore what another had set.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        reasons = list(track(pool.map(defect, paths), len(paths), f"checking {name}"))
    found = {index: reason for index, reason in enumerate(reasons) if reason is not None}
    with contextlib.suppress(OSError):  # a full disk: they are checked again the next time
        write_atomically(memory, lambda file: file.write(json.dumps(found).encode()))
    return {paths[index]: reason for index, reason in found.items()}


def fingerprint(paths: Iterable[Path | Member]) -> str:
    """Return a digest of the files' names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            state = path.stat()
            seen = f"{state.st_size}\0{state.st_mtime_ns}"
        except OSError:  # a link that leads nowhere, as one finds on decoding it
            seen = "gone"
        digest.update(f"{path.absolute()}\0{seen}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Preprocessing:
    """What a pretrained backbone expects of its input: sizes in pixels, mean and deviation of each channel."""

    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def evaluation(self) -> v2.Compose:
        """Return the deterministic transform: resize the shorter side, crop the centre, normalise."""
        return v2.Compose(
            [v2.Resize(self.resize, self._mode, antialias=True), v2.CenterCrop(self.crop), *self._normalise]
        )

    def training(self) -> v2.Compose:
        """Return the random transform: a crop of 8 to 100 % of the area at one size, a flip, normalise."""
        crop = v2.RandomResizedCrop(self.crop, interpolation=self._mode, antialias=True)
        return v2.Compose([crop, v2.RandomHorizontalFlip(), *self._normalise])

    @property
    def _mode(self) -> InterpolationMode:
        return InterpolationMode(self.interpolation)

    @property
    def _normalise(self) -> list[v2.Transform]:
        return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(self.mean, self.std)]
