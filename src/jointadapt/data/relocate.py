"""Image lists name files where they lay on another machine: finding them where they lie on this one."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

FOLDER_OF_IMAGES = "images"
TRIED = 50


def locate(names: Sequence[str], bases: Sequence[Path]) -> list[Path | None]:
    """Return where each named file is below one of the folders; None for one that is not there.

    As few leading folders of a name as possible are dropped; a folder `images` is also tried left out. All names of a
    list are found in one way, the one that fits most of a sample: a file that is missing is never taken from elsewhere.
    """
    parts = [PurePosixPath(name.replace("\\", "/")).parts for name in names]
    sample = parts[:: max(1, len(parts) // TRIED)]
    deepest = max(map(len, sample), default=0)
    ways = [(drop, without, base) for drop in range(deepest) for without in (False, True) for base in bases]
    if not ways:
        return [None] * len(parts)
    best = max(ways, key=lambda way: sum(_below(name, *way) is not None for name in sample))
    return [_below(name, *best) for name in parts]


def _below(parts: tuple[str, ...], drop: int, without: bool, base: Path) -> Path | None:
    """Return the file, if it is there, and if `without` it makes a difference to leave `images` out."""
    kept = parts[drop:]
    if without:
        if FOLDER_OF_IMAGES not in kept:
            return None
        kept = tuple(part for part in kept if part != FOLDER_OF_IMAGES)
    path = base.joinpath(*kept)
    return path if kept and os.path.isfile(path) else None  # noqa: PTH113  # Path's raises for a name too long
