"""Fuzz what reads a user's bytes: `python tests/fuzz_parsers.py` in an environment that has atheris and jointadapt.

For each parser it prints how many inputs were tried and how they ended: read, or refused by a `UserError`. Whatever
else is raised ends the fuzzing with a traceback and the input.
"""

import contextlib
import io
import os
import random
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow.parquet import write_table

try:
    import atheris
except ImportError:
    atheris = None
with atheris.instrument_imports(include=["jointadapt", "tomllib"]) if atheris else contextlib.nullcontext():
    from jointadapt.config import make_config, read_config
    from jointadapt.data import read_domain
    from jointadapt.data.arrays import from_arrays
    from jointadapt.data.benchmarks import load_benchmark
    from jointadapt.data.images import look, read_image
    from jointadapt.data.target_labels import label_rows, read_labels
    from jointadapt.errors import UserError

RUNS = 100_000  # inputs of each parser
PICTURES = 50_000
MOST_BYTES = 1024


def options(data: bytes, folder: Path) -> None:
    """Read a TOML file of options."""
    path = folder / "options.toml"
    path.write_bytes(data)
    make_config(read_config(path))


def image_list(data: bytes, folder: Path) -> None:
    """Read an image list; one image is there to be named."""
    path = folder / "list.txt"
    path.write_bytes(data)
    read_domain(path, folder / "cache")


def arrays(data: bytes, folder: Path) -> None:
    """Read a NumPy archive, or an array."""
    path = folder / ("a.npz" if data[:2] == b"PK" else "a.npy")
    path.write_bytes(data)
    read_domain(path, folder / "cache")


def table(data: bytes, folder: Path) -> None:
    """Read a CSV file."""
    path = folder / "a.csv"
    path.write_bytes(data)
    read_domain(path, folder / "cache")


def parquet(data: bytes, folder: Path) -> None:
    """Read a Parquet file."""
    path = folder / "a.parquet"
    path.write_bytes(data)
    read_domain(path, folder / "cache")


def benchmark(data: bytes, folder: Path) -> None:
    """Read a benchmark's description, its tasks and where its domains are."""
    path = folder / "benchmark.toml"
    path.write_bytes(data)
    described = load_benchmark(str(path))
    described.all_tasks()
    described.find(folder)


def labels(data: bytes, folder: Path) -> None:
    """Read labels of target rows, as --target-labels does, and find the rows."""
    path = folder / "labels.csv"
    path.write_bytes(data)
    label_rows(TARGET, read_labels(path))


TARGET = from_arrays(np.zeros((2, 1)), ["cat", "dog"], items=("a", "b"))
PARSERS: dict[str, Callable[[bytes, Path], None]] = {
    "options": options,
    "image list": image_list,
    "arrays": arrays,
    "table": table,
    "parquet": parquet,
    "benchmark": benchmark,
    "labels": labels,
}


def seeds(name: str) -> list[bytes]:
    """Return some inputs to begin with."""
    archive, array, columns = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(archive, x=np.ones((2, 2), np.float32), y=np.array(["a", "b"]))
    np.save(array, np.ones((2, 2)))
    write_table(pa.table({"p": [1.0, 2.0], "label": ["a", "b"]}), columns, store_schema=False)
    return {
        "options": [
            b'method = "dan"\nsteps = 3\nscales = [0.5, 1]\n',
            b'bandwidth = "mean"\nfrozen = true\nseed = 1\n',
        ],
        "image list": [b"a.png 1\n./a.png cat\n", b"a.png\n../a.png -1\n", b"/a b.png \xff\r\n"],
        "arrays": [archive.getvalue(), array.getvalue()],
        "table": [b"p,q,label\n1,2,a\n3,4,b\n", b'"p","q"\n1.5,nan\n'],
        "parquet": [columns.getvalue()],
        "benchmark": [
            (
                b'classes = ["cat"]\ntasks = ["a2b"]\n[domains]\n'
                b'a = { path = "a.png + a.png", letter = "A", rows = 1 }\nb = { path = ["b", "a.png"] }\n'
            ),
            (
                b'[[published]]\nmethod = "jan"\nbackbone = "x"\nsource = "y"\nmean = 1.5\n'
                b'[domains]\na.path = "a"\nb.path = "b"\n'
            ),
        ],
        "labels": [b"item,label\na,cat\nb,dog\n", b'\xef\xbb\xbfitem,label,more\n"a", cat ,"\xff"\n'],
    }[name]


def outcome(parse: Callable[[bytes, Path], None], data: bytes, folder: Path) -> str:
    """Return how the parser ended; what it may not raise is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parse(data, folder)
        except UserError:
            return "refused"
    return "read"


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some flipped, removed, repeated, or the end cut off."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(data)) if data else 0
        match chance.randrange(5):
            case 0 | 1 if data:
                data[place] = chance.randrange(256)
            case 2:
                del data[place : place + chance.randint(1, 20)]
            case 3:
                data[place:place] = data[place : place + chance.randint(1, 20)]
            case 4 if chance.random() < 0.3:
                del data[place:]
    return bytes(data)


def pictures() -> list[tuple[str, bytes]]:
    """Return whole pictures of several kinds, by the suffix of their names."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = []
    for suffix, mode, more in (
        *(("jpg", "RGB", {"exif": exif}), ("jpg", "L", {"progressive": True}), ("jpg", "CMYK", {})),
        *(("png", "RGB", {"exif": exif}), ("png", "P", {}), ("png", "LA", {}), ("png", "I;16", {})),
    ):
        buffer = io.BytesIO()
        picture = Image.fromarray(pixels)
        picture = picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)
        picture.save(buffer, "jpeg" if suffix == "jpg" else "png", **more)
        whole.append((suffix, buffer.getvalue()))
    return whole


def fuzz_pictures(number: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Return how many mutated pictures were found to be broken, and how many decoded; a whole one that does not raises.

    The check before a training (`look`) has to find all that a training could not decode.
    """
    chance, counts, whole = random.Random(seed), Counter(), pictures()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(number):
            suffix, content = chance.choice(whole)
            path = folder / f"a.{suffix}"
            path.write_bytes(mutated(content, chance))
            reason = look(path).defect
            if reason is None:
                assert read_image(path).shape[0] == 3
            counts["decoded" if reason is None else "skipped"] += 1
    return counts


def fuzz(name: str, folder: Path) -> None:
    """Fuzz one parser by atheris, which ends the process."""
    assert atheris
    counts: Counter[str] = Counter()
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(content)
    Image.new("RGB", (4, 4)).save(folder / "a.png")

    def one(data: bytes) -> None:
        counts[outcome(PARSERS[name], data, folder)] += 1
        if counts.total() == RUNS:
            print(f"| {name} | {counts.total():,} | {counts['read']:,} | {counts['refused']:,} | 0 |", flush=True)
            sys.stdout.flush()
            os._exit(0)

    atheris.Setup([sys.argv[0], f"-max_len={MOST_BYTES}", "-seed=1", str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    """Fuzz one parser after the other, each in a process of its own; then pictures."""
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as folder:
            fuzz(sys.argv[1], Path(folder))
    print("| input | tried | read | refused | crashed |\n|:---|---:|---:|---:|---:|", flush=True)
    for name in PARSERS if atheris else ():
        subprocess.run([sys.executable, __file__, name], check=True)
    with tempfile.TemporaryDirectory() as folder:
        counts = fuzz_pictures(PICTURES, Path(folder))
    print(f"| mutated JPEG, PNG | {counts.total():,} | {counts['decoded']:,} | {counts['skipped']:,} | 0 |")


if __name__ == "__main__":
    main()
