"""Which files of a folder are pictures, and which are passed over: by name, else by content."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from PIL import Image

Image.init()
# Read by Pillow, which recognises no TGA by its first bytes, takes a camera's raw file for a TIFF, and may lack some.
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "PCX", "DIB", "QOI")
    if name in Image.OPEN
)
BY_CONTENT = tuple(name for name in FORMATS if name not in ("TIFF", "PPM", "TGA", "PCX", "DIB"))
UNREAD = frozenset(
    (
        *(".heic", ".heif", ".hif", ".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef"),
        *(".jxl", ".psd", ".svg", ".exr", ".hdr"),
    )
)
SUFFIXES = UNREAD | frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".avif"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpf", ".jpx", ".tga", ".pcx"),
    )
)
# Made by a system or a tool beside the pictures, or within them; as is all that begins with a dot.
OF_SYSTEMS = frozenset(
    name.lower()
    for name in (
        *(
            "@eaDir",
            "@Recycle",
            "@Recently-Snapshot",
            "#recycle",
            "#snapshot",
            "$RECYCLE.BIN",
            "__MACOSX",
            "__pycache__",
        ),
        *("System Volume Information", "lost+found", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r"),
    )
)
# What a run, an analysis, a test or a table leaves in its folder.
OF_OURS = ("model.safetensors", "checkpoints", "analysis.html", "shift.json", "results.jsonl")


def is_image(path: PurePath) -> bool:
    """Return whether the file's name is that of an image (hidden files are not)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def is_aside(name: str) -> bool:
    """Return whether a file or folder of this name is none of a user's: hidden, or made by a system.

    >>> [is_aside(name) for name in (".thumbnails", "@eaDir", "mug")]
    [True, True, False]
    """
    return (name.startswith(".") and name != "..") or name.lower() in OF_SYSTEMS


def is_picture_within(file: object) -> bool:
    """Return whether a file, a path or one that is open, is a picture by its content, whatever its name."""
    try:
        with Image.open(file, formats=BY_CONTENT):  # pyright: ignore[reportArgumentType]
            return True
    except Exception:
        # Decoders raise whatever they like on bytes that are no picture.
        return False


def is_of_a_run(folder: Path) -> bool:
    """Return whether this program made the folder: a run, a table, an analysis, the result of a test."""
    return any((folder / name).exists() for name in OF_OURS)


@dataclass
class Found:
    """The pictures below a folder, sorted, and what is passed over there: other files, and links that lead in circles.

    Args:
        images: the pictures.
        passed: other files, but for those of a system.
        circles: links to a folder that holds them, or lies in one that is read anyhow.
    """

    images: list[Path] = field(default_factory=list)
    passed: list[Path] = field(default_factory=list)
    circles: list[Path] = field(default_factory=list)

    def notes(self, path: Path) -> tuple[str, ...]:
        """Return what a reader of the folder at a path should hear."""
        notes = []
        if self.passed:
            notes.append(f"{path}: {some_files(self.passed, path)} passed over, being no images.")
        if self.circles:
            notes.append(f"{path}: {some_files(self.circles, path, 'link')} passed over, leading back into the folder.")
        return tuple(notes)


def find_images(folder: Path, root: Path | None = None, *, deep: bool = True) -> Found:
    """Return the pictures of a folder and, if `deep`, of all folders below it, links to folders among them.

    No folder is read twice, and none that a link leads back to: one that holds `root`, or lies in it.
    """
    found, home = Found(), Path(os.path.realpath(root or folder))
    for file in sorted(_files(folder, home, found) if deep else filter(Path.is_file, folder.iterdir())):
        if is_aside(file.name):
            continue
        # A link that leads nowhere counts by its name: its reader finds that it cannot be read.
        is_one = is_image(file) or (file.is_file() and is_picture_within(file))
        (found.images if is_one else found.passed).append(file)
    return found


def _files(folder: Path, home: Path, found: Found) -> Iterator[Path]:
    """Yield the files below a folder, and keep the links that are not followed."""
    seen = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        yield from (Path(parent, name) for name in names)
        for name in [*folders]:
            path = Path(parent, name)
            real = os.path.realpath(path)
            back = path.is_symlink() and (home.is_relative_to(real) or Path(real).is_relative_to(home))
            if back and not is_aside(name):
                found.circles.append(path)
            if back or real in seen or is_aside(name) or is_of_a_run(path):
                folders.remove(name)
            seen.add(real)


def some_files(paths: Sequence[Path | str], below: Path | None = None, what: str = "file", most: int = 3) -> str:
    """Return how many files there are, and the first of them as they are called below a folder.

    >>> some_files(["a.md", "b.md"])
    '2 files (a.md, b.md)'
    """
    inside = Path() if below is None else below
    names = [str(Path(path).relative_to(inside)) if Path(path).is_relative_to(inside) else str(path) for path in paths]
    count = f"{len(paths)} {what}{'s' if len(paths) > 1 else ''}"
    return f"{count} ({', '.join(names[:most])}{', …' if len(paths) > most else ''})"


SPLITS = frozenset("train training val valid validation dev test testing eval holdout".split())  # noqa: SIM905


def splits_among(names: Iterable[str]) -> list[str]:
    """Return those of the names that are of a data set's splits rather than of classes.

    >>> splits_among(["train", "Val", "mug"])
    ['train', 'Val']
    """
    return [name for name in names if name.lower() in SPLITS]
