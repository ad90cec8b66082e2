"""A decoded picture → what a backbone is handed: cut and resized as bytes, one by one, and normalised as a batch.

The numbers are those of torchvision's transforms, to the bit, without what stands around its kernels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

NATIVE = ("AVX2", "AVX512")  # where torch's bilinear kernel works on bytes; elsewhere torchvision goes by floats
SMALLEST = 0.08  # share of the area of a random crop
LEAST_RATIO, MOST_RATIO = 3 / 4, 4 / 3  # of its width to its height
LOG_RATIOS = torch.tensor((LEAST_RATIO, MOST_RATIO)).log().tolist()
TRIALS = 10


@dataclass(frozen=True)
class Framing:
    """Resizes the shorter side and cuts out the middle, (3, h, w) → (3, crop, crop); bytes stay bytes."""

    resize: int
    crop: int
    interpolation: str

    def __call__(self, image: Tensor) -> Tensor:
        """Return the framed picture."""
        height, width = image.shape[-2:]
        longer = int(self.resize * max(height, width) / min(height, width))
        size = (longer, self.resize) if width <= height else (self.resize, longer)
        image = resized(image, size, self.interpolation)
        if self.crop > self.resize:
            from torchvision.transforms.v2.functional import center_crop  # which adds black around it

            return center_crop(image, [self.crop, self.crop])
        top, left = (round((side - self.crop) / 2.0) for side in size)
        return image[:, top : top + self.crop, left : left + self.crop]


@dataclass(frozen=True)
class Normalised:
    """A transform in two steps: each picture is framed, its bytes still bytes; a batch of them is then normalised."""

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, image: Tensor) -> Tensor:
        """Return one picture, framed and normalised."""
        return self.normalised([self.framed(image)])[0]

    def framed(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the picture as bytes (3, crop, crop); chance comes from the generator, or from torch's own."""
        raise NotImplementedError

    def normalised(self, images: Sequence[Tensor]) -> Tensor:
        """Return framed pictures as a batch of floating-point numbers, white 1, less the mean, over the deviation."""
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        batch = torch.empty(len(images), *images[0].shape)
        for place, image in zip(batch, images, strict=True):  # one by one, as each fits into the processor's cache
            place.copy_(image).mul_(1 / 255).sub_(mean).div_(std)
        return batch


@dataclass(frozen=True)
class Evaluation(Normalised):
    """Resize the shorter side, crop the centre, normalise."""

    framing: Framing

    def framed(self, image: Tensor, generator: Generator | None = None) -> Tensor:  # noqa: ARG002
        """Return the picture, framed."""
        return self.framing(image)


@dataclass(frozen=True)
class Training(Normalised):
    """A random crop of 8 to 100 % of the area at one size, a random flip, normalise."""

    crop: int
    interpolation: str

    def framed(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """Return a crop, flipped or not."""
        height, width = image.shape[-2:]
        top, left, h, w = random_crop(height, width, generator)
        size = (self.crop, self.crop)
        image = resized(image[:, top : top + h, left : left + w], size, self.interpolation)
        return image if torch.rand(1, generator=generator).item() >= 0.5 else image.flip(-1)


def random_crop(height: int, width: int, generator: Generator | None = None) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a crop: its share of the area and the logarithm of its ratio are uniform.

    Numbers are drawn in torchvision's order, so that a seed gives the crop of its `RandomResizedCrop`.

    >>> random_crop(100, 300, torch.Generator().manual_seed(0))
    (19, 51, 77, 63)
    """
    for _ in range(TRIALS):
        area = height * width * torch.empty(1).uniform_(SMALLEST, 1.0, generator=generator).item()
        ratio = torch.empty(1).uniform_(*LOG_RATIOS, generator=generator).exp().item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
            return top, int(torch.randint(0, width - w + 1, (1,), generator=generator)), h, w
    w, h = min(width, round(height * MOST_RATIO)), min(height, round(width / LEAST_RATIO))  # the middle
    return (height - h) // 2, (width - w) // 2, h, w


def resized(image: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Return the picture (3, h, w) of bytes at another size, smoothed where it becomes smaller."""
    if tuple(image.shape[-2:]) == size:
        return image
    kernel = interpolation == "bilinear" and torch.backends.cpu.get_cpu_capability() in NATIVE
    if not kernel and interpolation != "bicubic":
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2.functional import resize

        return resize(image, list(size), InterpolationMode(interpolation), antialias=True)
    image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # of a part torch makes a copy too, but slowly
    # Of one picture torch takes the pixels' order in memory from the stride of the batch, which says nothing of it.
    batch = image.as_strided((1, *image.shape), (image.numel(), *image.stride()))
    return interpolate(batch, size, mode=interpolation, align_corners=False, antialias=True)[0]
