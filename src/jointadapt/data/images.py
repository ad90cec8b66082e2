"""Image files: checking, decoding, transforming."""

import contextlib
import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from jointadapt.data.image_files import BY_CONTENT, FORMATS, UNREAD
from jointadapt.data.shards import Member
from jointadapt.data.transforms import Evaluation, Framing, Training
from jointadapt.runtime.files import write_atomically
from jointadapt.runtime.progress import Track, silent
from jointadapt.runtime.vision import vision

DECODING = 2  # raise it when the same bytes give other pixels, or are judged otherwise: it is part of every key
MOST_RATIO = (
    100  # of a picture's sides: of a strip, which would fill the memory at 256 pixels' height, the middle is read
)
WHITES = (1, *(2**bits - 1 for bits in (8, 10, 12, 14, 16, 24, 31, 32)))
NEARLY_BLACK = 32
RGB = 3  # what torchvision's decoder calls it
ORIENTATION = 274  # EXIF's tag
TURNS = {
    2: lambda x: x.flip(2),
    3: lambda x: x.flip(1, 2),
    4: lambda x: x.flip(1),
    5: lambda x: x.transpose(1, 2),
    6: lambda x: x.transpose(1, 2).flip(2),
    7: lambda x: x.transpose(1, 2).flip(1, 2),
    8: lambda x: x.transpose(1, 2).flip(1),
}
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclass(frozen=True)
class DeepPicture:
    """A file of more than 8 bits a pixel, which says nowhere which of its numbers are black and white.

    Args:
        file: the file.
        black, white: the numbers that are, for all such pictures of a domain.
    """

    file: Path | Member
    black: float
    white: float

    def open(self, mode: str = "rb") -> Any:
        """Return the open file."""
        return self.file.open(mode)

    def stat(self) -> os.stat_result:
        """Return the file's state."""
        return self.file.stat()

    def absolute(self) -> str:
        """Return what tells it from any other file, or from itself in another range."""
        return f"{self.file.absolute()}[{self.black!r}, {self.white!r}]"

    def __str__(self) -> str:
        return str(self.file)


Picture = Path | Member | DeepPicture


def read_image(path: Picture) -> Tensor:
    """Return the picture as uint8 (3, height, width), turned as its EXIF data say; any mode becomes RGB.

    Numbers of more than 8 bits are scaled from their domain's range (`DeepPicture`), else from the picture's own.
    """
    pixels = _read_jpeg(path)
    return torch.from_numpy(np.array(open_rgb(path))).permute(2, 0, 1) if pixels is None else pixels


def _read_jpeg(path: Picture) -> Tensor | None:
    """Return a usual JPEG as `read_image` does, in half the time and less; None of what Pillow has to read.

    torchvision and Pillow decode by libjpeg-turbo, to the same bytes, but Pillow's are copied four times on their way.
    """
    if (decode := _jpeg_decoder()) is None:
        return None
    with path.open("rb") as file, Image.open(file, formats=_formats(path)) as picture:
        if picture.format not in ("JPEG", "MPO") or picture.mode not in ("RGB", "L") or _is_strip(picture):
            return None
        said = "exif" in picture.info or "xmp" in picture.info  # to look costs time
        turn = TURNS.get(picture.getexif().get(ORIENTATION, 1)) if said else None
        file.seek(0)
        content = bytearray(file.read())
    try:
        pixels = decode(torch.frombuffer(content, dtype=torch.uint8), RGB, False)
    except RuntimeError:  # what it does not take, Pillow judges
        return None
    return turn(pixels) if turn else pixels


@cache
def _jpeg_decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """Return torchvision's decoder, which has been announced to go: its kernel, as its function would warn each time.

    None where torchvision has none (any more).
    """
    vision()
    return getattr(torch.ops.image, "decode_jpeg", None)


def open_rgb(path: Picture) -> Image.Image:
    """Return the picture as Pillow reads it, in RGB, turned as its EXIF data say."""
    with path.open("rb") as file, Image.open(file, formats=_formats(path)) as picture:
        picture = _middle(ImageOps.exif_transpose(picture))
        if _is_deep(picture):
            numbers = _numbers(picture)
            deep = isinstance(path, DeepPicture)
            black, white = (path.black, path.white) if deep else span(_range_of(numbers))
            numbers = ((numbers - black) * (255 / (white - black))).clip(0, 255)
            picture = Image.fromarray(numbers.round().astype(np.uint8))
        return _as_rgb(picture)


def _as_rgb(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA") if picture.mode == "P" else picture
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _is_strip(picture: Image.Image) -> bool:
    return max(picture.size) > MOST_RATIO * min(picture.size)


def _middle(picture: Image.Image) -> Image.Image:
    """Return the picture, of a strip its middle."""
    if not _is_strip(picture):
        return picture
    most = MOST_RATIO * min(picture.size)
    left, top = (max(0, (side - most) // 2) for side in picture.size)
    return picture.crop((left, top, picture.width - left, picture.height - top))


def _is_deep(picture: Image.Image) -> bool:
    """Return whether a pixel is one number of more than 8 bits; of such ones Pillow's own conversion clips at 255."""
    return picture.mode[0] in "IF"


def _numbers(picture: Image.Image) -> np.ndarray:
    """Return the numbers of a deep picture (h, w) in float64; a `ValueError` where some are NaN or infinite."""
    numbers = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("it holds NaN or infinite values")
    return numbers


def _formats(path: Picture) -> tuple[str, ...]:
    """Return what the file may be; a camera's raw file would be read as a TIFF, of which it has a thumbnail."""
    return BY_CONTENT if os.path.splitext(str(path))[1].lower() in UNREAD else FORMATS  # noqa: PTH122 - it is quick


class Range(NamedTuple):
    """From where to where the numbers of deep pictures run."""

    low: float
    high: float


def _range_of(numbers: np.ndarray) -> Range:
    return Range(float(numbers.min()), float(numbers.max()))


def span(found: Range) -> tuple[float, float]:
    """Return black and white of numbers in a range: 0 and the most that as few bits as they need can hold, or 1.

    Negative numbers say no such thing: then the least and the most are black and white.

    >>> span(Range(0.0, 4000.0)), span(Range(0.0, 0.9)), span(Range(-1000.0, 3000.0))
    ((0.0, 4095.0), (0.0, 1.0), (-1000.0, 3000.0))
    """
    fitting = [white for white in WHITES if found.high <= white]
    if found.low < 0 or not fitting:
        return found.low, max(found.high, found.low + 1)
    return 0.0, float(fitting[0])


class Look(NamedTuple):
    """What checking a file tells of it.

    Args:
        defect: why it is no whole, readable picture; None when it is one.
        brightest: its largest value of 0 … 255.
        depth: the range of its numbers, where they have more than 8 bits.
        strip: whether its sides are that unequal that its middle alone is read.
    """

    defect: str | None = None
    brightest: int = 255
    depth: Range | None = None
    strip: bool = False


def look(path: Picture) -> Look:
    """Return whether the file is a whole, readable picture, and how bright it is."""
    try:
        with path.open("rb") as file, Image.open(file, formats=_formats(path)) as picture:
            strip = _is_strip(picture)
            if _is_deep(picture):
                return Look(depth=_range_of(_numbers(picture)), strip=strip)
            picture.draft("RGB", (64, 64))  # JPEG: decodes at an eighth of the size, and still reads all of the file
            extremes = _as_rgb(ImageOps.exif_transpose(picture)).getextrema()
            return Look(brightest=max(int(high) for _, high in extremes), strip=strip)  # pyright: ignore
    except UnidentifiedImageError:
        return Look(_why_unknown(path))
    except Exception as error:
        # Decoders raise whatever they like on hostile bytes (struct.error, SyntaxError, ValueError…).
        return Look(" ".join(str(error).split()) or type(error).__name__)


def _why_unknown(path: Picture) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    kind = "HEIC" if head[4:8] == b"ftyp" and head[8:] in HEIC else PurePath(str(path)).suffix.lower().lstrip(".")
    if kind == "HEIC" or f".{kind}" in UNREAD:
        return f"{kind.upper()} is not read; convert it to JPEG or PNG"
    return "it is empty" if not head else "it is no picture that can be read"


class Checked(NamedTuple):
    """What checking the pictures of a domain has found.

    Args:
        defects: of those that cannot be read, by their place, the reason.
        deep: the places of those of more than 8 bits.
        depth: the range of their numbers.
        brightest: the largest value of any other, of 0 … 255.
        strips: the places of those of which the middle alone is read.
    """

    defects: Mapping[int, str]
    deep: Sequence[int]
    depth: Range | None
    brightest: int
    strips: Sequence[int]


def check(paths: Sequence[Picture], cache: Path, track: Track = silent, name: str = "") -> Checked:
    """Return which files are no readable pictures, and of the others their depth; remembered in the cache."""
    memory = cache / f"checked-{fingerprint(paths)}.json"
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError, KeyError, TypeError):
        return _remembered(json.loads(memory.read_text("utf-8")), len(paths))  # else nothing is there, or damaged
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # Set once for all threads: filters are shared by them, and one would restore what another had set.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        looks = list(track(pool.map(look, paths), len(paths), f"checking {name}"))
    depths = {index: seen.depth for index, seen in enumerate(looks) if seen.depth is not None}
    lows, highs = zip(*depths.values(), strict=True) if depths else ((), ())
    found = Checked(
        {index: seen.defect for index, seen in enumerate(looks) if seen.defect is not None},
        [*depths],
        Range(min(lows), max(highs)) if depths else None,
        max((seen.brightest for seen in looks if seen.defect is None), default=255),
        [index for index, seen in enumerate(looks) if seen.strip],
    )
    with contextlib.suppress(OSError):  # a full disk: they are checked again the next time
        write_atomically(memory, lambda file: file.write(json.dumps(found._asdict()).encode()))
    return found


def _remembered(kept: dict[str, Any], count: int) -> Checked:
    """Return what was kept; whatever is wrong with it is an error of Python's own."""
    defects = {int(index): str(reason) for index, reason in kept["defects"].items()}
    deep, strips = ([int(index) for index in kept[name]] for name in ("deep", "strips"))
    if not all(0 <= index < count for index in (*defects, *deep, *strips)):
        raise IndexError
    depth = Range(*map(float, kept["depth"])) if deep else None
    if depth is not None and not all(map(math.isfinite, depth)):
        raise ValueError
    return Checked(defects, deep, depth, int(kept["brightest"]), strips)


def fingerprint(paths: Iterable[Picture]) -> str:
    """Return a digest of the files: what they are called, when they were changed, and all that they hold.

    Name, size and time alone would not do: archives and copies keep them. A file costs some 20 µs, and 1 ms a MB.
    """
    digest = hashlib.sha256(str(DECODING).encode())
    for path in paths:
        try:
            state = path.stat()
            with path.open("rb") as file:
                seen = f"{state.st_size}\0{state.st_mtime_ns}\0{hashlib.file_digest(file, 'sha256').hexdigest()}"
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

    def evaluation(self) -> Evaluation:
        """Return the deterministic transform: resize the shorter side, crop the centre, normalise."""
        return Evaluation(self.mean, self.std, self.framing())

    def framing(self) -> Framing:
        """Return its first half: resize the shorter side, crop the centre; bytes stay bytes."""
        return Framing(self.resize, self.crop, self.interpolation)

    def training(self) -> Training:
        """Return the random transform: a crop of 8 to 100 % of the area at one size, a flip, normalise."""
        return Training(self.mean, self.std, self.crop, self.interpolation)
