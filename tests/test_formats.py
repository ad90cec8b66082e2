"""The page of what can be handed in: each line of its tables gives the same twelve rows in two classes."""

import io
import re
import struct
import tarfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import draw
from pyarrow import parquet
from scipy.io import savemat

import jointadapt
from jointadapt.data import Domain

PAGE = (Path(__file__).parents[1] / "docs/guides/formats.md").read_text("utf-8")
LINES = re.findall(r"^\|.*\| `((?:read_domain|from_arrays)\(.*\))` \|$", PAGE, re.MULTILINE)
NAMES = ["age", "pulse", "mass"]
LIBRARIES = ("pandas", "polars", "pyarrow", "datasets", "anndata", "scipy", "torch", "numpy")
Y = np.array(["cat", "dog"] * 6)
X = np.random.default_rng(0).integers(0, 64, (12, 3)) / 64


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every file that the page names into the working folder."""
    monkeypatch.chdir(tmp_path)
    paths = [draw(Path("photos") / name / f"{number}.png", number) for number, name in enumerate(Y)]
    Path("list.txt").write_text("\n".join(f"{path} {path.parent.name}" for path in paths))
    with tarfile.open("shard.tar", "w") as archive:
        for path in paths:
            archive.add(path, f"{path.stem}.png")
            entry = tarfile.TarInfo(f"{path.stem}.cls")
            entry.size = len(path.parent.name)
            archive.addfile(entry, io.BytesIO(path.parent.name.encode()))
    table = pa.table({**dict(zip(NAMES, X.T, strict=True)), "label": Y})
    parquet.write_table(table, "table.parquet")
    lines = [",".join(map(str, row)) for row in zip(*table.to_pydict().values(), strict=True)]
    Path("table.csv").write_text("\n".join([",".join(table.column_names), *lines]))
    np.savez("data.npz", x=X, y=Y)
    np.savez("unnamed.npz", X, Y)
    np.save("rows.npy", X)
    np.save("rows_labels.npy", Y)
    savemat("data.mat", {"X": X.T, "y": Y.astype(object)[:, None]})
    digits = struct.pack(">4I", 0x803, 12, 8, 8) + bytes(12 * 64)
    Path("train-images-idx3-ubyte").write_bytes(digits)
    Path("train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 12) + bytes([0, 1] * 6))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_gives_the_rows(line: str) -> None:
    known: dict[str, Any] = {"x": X, "y": Y, "names": NAMES, "items": [f"row {number}" for number in range(12)]}
    for library in LIBRARIES:
        if f"{library}." in line:
            known[library] = pytest.importorskip(library, reason=f"{library} is not installed")
    import_module("scipy.sparse")
    domain = eval(line, {**known, "read_domain": jointadapt.read_domain, "from_arrays": jointadapt.from_arrays})
    assert isinstance(domain, Domain)
    if line == 'read_domain("photos/cat")':
        assert (len(domain), domain.labelled) == (6, False)
        return
    assert len(domain) == 12
    assert domain.classes == (("0", "1") if "idx3" in line else ("cat", "dog"))
    assert domain.labels.bincount().tolist() == [6, 6]
    if domain.kind in ("features", "table"):
        rows = domain.rows(range(12))
        assert np.array_equal(rows.numpy(), X)


def test_the_page_has_every_line() -> None:
    assert len(LINES) == PAGE.count("`read_domain(") + PAGE.count("| `from_arrays(") == 24
