"""Images inside tar archives (webdataset's shards): indexed once, then read where they lie, in any order."""

import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jointadapt.errors import as_user_error

CLASS_SUFFIX = ".cls"
COMPRESSED = "uncompress a compressed one first, as its images cannot be read in any order"


@dataclass(frozen=True)
class Member:
    """A file in an archive, with as much of a path's interface as it takes to read it. Nothing is ever unpacked."""

    archive: Path
    name: str
    offset: int
    size: int

    def open(self, mode: str = "rb") -> io.BytesIO:  # noqa: ARG002
        """Return its bytes."""
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))

    def stat(self) -> os.stat_result:
        """Return the archive's state."""
        return self.archive.stat()

    def absolute(self) -> str:
        """Return what tells it from any other file."""
        return f"{self.archive.absolute()}/{self.name}@{self.offset}"

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"


def read_index(archives: Sequence[Path], suffixes: frozenset[str]) -> list[tuple[Member, str | None]]:
    """Return the images of the archives with their classes, in order.

    The class of `KEY.jpg` is the text of `KEY.cls` (webdataset), else the name of the folder it lies in, else None.
    Links, devices and hidden files are passed over. O(members) memory.
    """
    found = []
    for archive in archives:
        images: list[Member] = []
        classes: dict[str, str] = {}
        with as_user_error(archive, "as a tar archive", COMPRESSED), tarfile.open(archive, "r:") as tar:
            for entry in tar:
                path = PurePosixPath(entry.name)
                if not entry.isreg() or entry.issparse() or path.name.startswith("."):
                    continue
                if path.suffix.lower() in suffixes:
                    images.append(Member(archive, entry.name, entry.offset_data, entry.size))
                elif path.suffix == CLASS_SUFFIX and (file := tar.extractfile(entry)) is not None:
                    classes[_key(path)] = file.read(1000).decode(errors="replace").strip()
                tar.members = []  # type: ignore[assignment]  # the index is ours; tarfile would keep its own
        for image in images:
            path = PurePosixPath(image.name)
            found.append((image, classes.get(_key(path)) or path.parent.name or None))
    return found


def _key(path: PurePosixPath) -> str:
    """Return webdataset's key: the path up to the first dot of its name."""
    return str(path.parent / path.name.partition(".")[0])
