"""Domains larger than memory: matrices that stay on disk, tables copied batch by batch, images in tar archives."""

import io
import sys
import tarfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import Command, draw_folder, write_arrays
from pyarrow import parquet
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jointadapt import read_domain, train
from jointadapt.data import Domain, arrays, images, tables
from jointadapt.data.mapped import MappedRows, map_rows
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pipeline import fit_inputs
from jointadapt.runs import model
from jointadapt.selection import checkpoints as candidates

MEGABYTE = 2**20
LINEAR = 2.2  # times the work that twice the rows may add: of what is linear 2, of squares 4


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every matrix for one that is larger than memory."""
    monkeypatch.setattr(arrays, "IN_MEMORY", 1)
    monkeypatch.setattr(tables, "BATCH", 7)


def _npy(path: Path, rows: int = 40, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 4)).astype(np.float32)
    np.save(path, x)
    np.save(path.with_suffix(".labels.npy"), np.where(x[:, 0] > 0, "cat", "dog"))
    return path


def _whole(domain: Domain) -> torch.Tensor:
    return domain.rows(range(len(domain)))


def test_a_training_on_rows_on_disk_is_that_on_rows_in_memory(tmp_path: Path, monkeypatch) -> None:
    source, target = _npy(tmp_path / "s.npy"), _npy(tmp_path / "t.npy", 30, 1)
    options = {"steps": 12, "baseline": False, "report": False, "device": "cpu", "batch_size": 8}
    found = []
    for limit in (10**9, 1):
        monkeypatch.setattr(arrays, "IN_MEMORY", limit)
        assert isinstance(read_domain(source).content, MappedRows) == (limit == 1)
        found.append(train(source, target, tmp_path / str(limit), **options))
    files = [(run.folder / "predictions.csv").read_bytes() for run in found]
    assert files[0] == files[1]
    assert found[0].summary.source_accuracy == found[1].summary.source_accuracy


@pytest.mark.usefixtures("small_memory")
def test_predicting_keeps_probabilities_not_features(tmp_path: Path, monkeypatch) -> None:
    file, kept = _npy(tmp_path / "x.npy"), []
    fitted = train(file, file, steps=2, baseline=False, report=False, device="cpu", batch_size=8).model
    domain = read_domain(file)
    _, expected = fitted.outputs(domain)
    whole = model.network_outputs
    monkeypatch.setattr(
        model, "network_outputs", lambda *args, **kwargs: kept.append(whole(*args, **kwargs)) or kept[-1]
    )
    assert torch.equal(fitted.predict_proba(domain), expected)
    assert [len(part) for part in kept[0]] == [0, len(domain)]


class Work(TorchDispatchMode):
    """Counts the calls of functions, and the numbers in the tensors that torch's operations are given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.numbers += sum(x.numel() for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor))
        return func(*args, **kwargs or {})

    def __enter__(self):
        sys.setprofile(self._count)
        return super().__enter__()

    def __exit__(self, *error) -> None:
        sys.setprofile(None)
        super().__exit__(*error)

    def _count(self, _frame, event: str, _argument) -> None:
        self.calls += event in ("call", "c_call")


@pytest.mark.usefixtures("small_memory")
def test_the_work_of_a_run_grows_with_its_rows_not_their_square(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(candidates, "MOST_ROWS_UNASKED", 0)  # as with many rows, checkpoints are not looked at
    options = {"steps": 4, "report": False, "device": "cpu", "batch_size": 8}
    counts = []
    for rows in (512, 512, 1024, 2048):  # the first time much is imported
        file = _npy(tmp_path / f"{rows}.npy", rows)
        with Work() as work:
            train(file, file, tmp_path / f"run{len(counts)}", **options)
        counts.append((work.calls, work.numbers))
    for grown in zip(*counts[1:], strict=True):
        before, last = (more - fewer for fewer, more in pairwise(grown))
        assert last < LINEAR * before


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int32])
def test_rows_on_disk_are_float32_and_can_be_chosen(tmp_path: Path, kind: type) -> None:
    x = np.arange(60, dtype=kind).reshape(20, 3)
    np.save(tmp_path / "x.npy", x)
    domain = read_domain(tmp_path / "x.npy")
    assert not domain.labelled
    assert domain.shape == (3,)
    assert torch.equal(_whole(domain), torch.from_numpy(x.astype(np.float32)))
    chosen = domain.select([5, 2, 9]).select([2, 0])
    assert isinstance(chosen.content, MappedRows)
    assert torch.equal(_whole(chosen), torch.from_numpy(x[[9, 5]].astype(np.float32)))
    assert torch.equal(chosen.content[1:], torch.from_numpy(x[[5]].astype(np.float32)))


@pytest.mark.usefixtures("small_memory")
def test_rows_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    x = np.zeros((20, 3), np.float32)
    x[13, 1] = np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(UserError, match=r"x\.npy: row 13 \(counted from 0\) holds NaN or infinite values"):
        read_domain(tmp_path / "x.npy")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of a process's memory")
def test_what_was_read_does_not_stay_in_memory(tmp_path: Path) -> None:
    def resident() -> float:
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) / 1024

    file = tmp_path / "x.npy"
    array = np.lib.format.open_memmap(file, "w+", np.float32, (64 * MEGABYTE // 256, 64))
    array.flush()
    del array
    before = resident()
    rows = map_rows(file, 0)
    assert rows is not None
    for start in range(0, len(rows), 997):
        rows[list(range(start, len(rows), 5000))]
    assert resident() - before < 20


@pytest.mark.usefixtures("small_memory")
def test_a_large_table_is_the_table(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    columns = {f"f{index}": generator.normal(size=50) for index in range(3)}
    table = pa.table(
        {**columns, "item": [f"#{row}" for row in range(50)], "note": ["x"] * 50, "label": ["b", "a"] * 25}
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    assert isinstance(read_domain(tmp_path / "x.parquet").content, MappedRows)
    (copy,) = cache.glob("rows-*.npy")
    written = copy.stat().st_mtime_ns
    again = read_domain(tmp_path / "x.parquet")
    again = replace(again, content=_whole(again))
    assert copy.stat().st_mtime_ns == written
    copy.write_bytes(copy.read_bytes()[:100])
    mended = read_domain(tmp_path / "x.parquet")
    monkeypatch.setattr(arrays, "IN_MEMORY", 10**9)
    expected = read_domain(tmp_path / "x.parquet")
    _, ready, _ = fit_inputs(InputOptions(), expected, expected)
    for domain in (again, mended):
        assert torch.equal(_whole(domain), _whole(ready))
        assert torch.equal(domain.labels, expected.labels)
        assert (domain.classes, domain.items, domain.columns) == (expected.classes, expected.items, ready.columns)
        assert "note left out" in domain.notes[0]
        assert "note left out" in ready.notes[0]


def _pack(archive: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(archive, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "pictures", 3)


def _assert_same(found: Domain, expected: Domain) -> None:
    assert found.classes == expected.classes
    assert torch.equal(found.labels, expected.labels)
    transform = images.Preprocessing(32, 32).evaluation()
    every = range(len(expected))
    assert torch.equal(found.rows(every, transform), expected.rows(every, transform))


def test_images_in_an_archive_are_those_of_the_folder(tmp_path: Path, folder: Path) -> None:
    files = {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.png"))}
    found = read_domain(_pack(tmp_path / "pictures.tar", files))
    _assert_same(found, read_domain(folder))
    assert found.items[0] == str(tmp_path / "pictures.tar" / "cat" / "0.png")


def test_shards_of_keys_and_classes(tmp_path: Path, folder: Path) -> None:
    expected = read_domain(folder)
    (tmp_path / "shards").mkdir()
    for shard, rows in enumerate((range(4), range(4, 6))):
        files = {}
        for row in rows:
            files[f"{row:04d}.png"] = Path(expected.items[row]).read_bytes()
            files[f"{row:04d}.cls"] = str(expected.labels[row].item()).encode()
            files[f"{row:04d}.json"] = b"{}"
        _pack(tmp_path / "shards" / f"{shard:05d}.tar", files)
    found = read_domain(tmp_path / "shards")
    assert found.classes == ("0", "1")
    assert torch.equal(found.labels, expected.labels)


def test_unlabelled_and_broken_members(tmp_path: Path, folder: Path) -> None:
    good = (folder / "cat" / "0.png").read_bytes()
    files = {f"{row}.png": good for row in range(8)} | {"8.png": good[:50], ".9.png": good}
    found = read_domain(_pack(tmp_path / "flat.tar", files))
    assert not found.labelled
    assert len(found) == 8
    assert found.skipped == 1


def test_links_and_names_that_lead_out_are_only_names(tmp_path: Path, folder: Path) -> None:
    archive = _pack(tmp_path / "a.tar", {"../../cat/0.png": (folder / "cat" / "0.png").read_bytes()})
    with tarfile.open(archive, "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(f"dog/{kind.decode()}.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    before = set(tmp_path.rglob("*"))
    found = read_domain(archive)
    assert found.classes == ("cat",)
    assert len(found) == 1
    assert set(tmp_path.rglob("*")) == before


def test_what_is_no_archive_is_told(tmp_path: Path, command: Command) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match=r"a\.tar cannot be read as a tar archive"):
        read_domain(tmp_path / "a.tar")
    with pytest.raises(UserError, match=r"holds no images; give an archive of KEY\.jpg and KEY\.cls"):
        read_domain(_pack(tmp_path / "b.tar", {"a.txt": b"x"}))
    target = write_arrays(tmp_path / "t.npz")
    outcome = command("train", "--source", tmp_path / "a.tar", "--target", target, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1


def test_fine_tuning_on_archives_is_fine_tuning_on_folders(tmp_path: Path, folder: Path, command: Command) -> None:
    files = {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.png"))}
    archive = _pack(tmp_path / "pictures.tar", files)
    options = ("--backbone", "squeezenet1_1", "--weights", "none", "--no-frozen", "--steps", 2, "--batch-size", 2)
    models = []
    for number, source in enumerate((folder, archive)):
        out = tmp_path / f"run{number}"
        arguments = ("--source", source, "--target", source, "--out", out, "--workers", 2 * number)
        assert command("train", *arguments, *options, "--no-baseline", "--no-report", "--device", "cpu").code == 0
        lines = (out / "predictions.csv").read_text().splitlines()
        models.append([line.split(",")[1:] for line in lines])
    assert models[0] == models[1]
