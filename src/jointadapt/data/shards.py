"""Images inside tar archives (webdataset's shards): indexed once, then read where they lie, in any order."""

import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jointadapt.data.image_files import is_aside, is_image, is_picture_within
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


def read_index(archives: Sequence[Path]) -> tuple[list[tuple[Member, str | None]], list[str]]:
    """Return the images of the archives with their classes, in order, and the names of the files that are none.

    The class of `KEY.jpg` is the text of `KEY.cls` (webdataset), else the name of the folder it lies in, else None.
    Links, devices, and what is hidden or a system's are passed over; of two members of one name the later is the file,
    as it is for who unpacks them. O(members) memory.
    """
    found, others = [], []
    for archive in archives:
        images: dict[PurePosixPath, Member] = {}
        classes: dict[str, str] = {}
        with as_user_error(archive, "as a tar archive", COMPRESSED), tarfile.open(archive, "r:") as tar:
            for entry in tar:
                path = PurePosixPath(entry.name)
                if not entry.isreg() or entry.issparse() or any(map(is_aside, path.parts)):
                    continue
                if path.suffix.lower() == CLASS_SUFFIX and (file := tar.extractfile(entry)) is not None:
                    classes[_key(path)] = file.read(1000).decode("utf-8-sig", errors="replace").strip()
                elif is_image(path) or is_picture_within(tar.extractfile(entry)):
                    images[path] = Member(archive, entry.name, entry.offset_data, entry.size)
                else:
                    others.append(entry.name)
                tar.members = []  # type: ignore[assignment]  # the index is ours; tarfile would keep its own
        for path, image in images.items():
            found.append((image, classes.get(_key(path)) or path.parent.name or None))
    return found, others


def _key(path: PurePosixPath) -> str:
    """Return webdataset's key: the path up to the first dot of its name."""
    return str(path.parent / path.name.partition(".")[0])
