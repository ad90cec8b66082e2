"""Picture files and folders as people have them: deep ones, strips, other names, what lies beside; cached features."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, draw, draw_folder
from PIL import Image

from jointadapt.config import content_of
from jointadapt.data import Domain, Preprocessing, read_domain
from jointadapt.data.benchmarks import fingerprint_of
from jointadapt.data.images import fingerprint, read_image
from jointadapt.data.reading import read_paths
from jointadapt.errors import UserError
from jointadapt.runtime.files import content_digest

BASE = np.linspace(0, 1, 32 * 32).reshape(32, 32)
GREY = 127.5  # its mean, in a picture of 8 bits
ONE = 1.0  # of 255


def means(domain: Domain) -> list[float]:
    """Return the mean of each picture as it is read."""
    assert isinstance(domain.content, tuple)
    return [read_image(picture).float().mean().item() for picture in domain.content]


# Deep pictures


def write_deep(folder: Path, pixels: np.ndarray, suffix: str = ".tif", darkest: float = 1.0) -> Path:
    """Write two pictures, the second of which is darker."""
    folder.mkdir()
    for name, factor in (("a", 1.0), ("b", darkest)):
        Image.fromarray((pixels * factor).astype(pixels.dtype)).save(folder / f"{name}{suffix}")
    return folder


@pytest.mark.parametrize(
    ("low", "high", "kind", "white"),
    [
        (0, 1, np.float32, None),
        (0, 255, np.float32, "0 is taken for black and 255 for white"),
        (0, 4095, np.float32, "0 is taken for black and 4095 for white"),
        (-1000, 3000, np.float32, "-1000 is taken for black and 3000 for white"),
        (0, 255, np.int32, "255 for white"),
        (0, 65535, np.int32, None),
        (-1000, 3000, np.int32, "numbers from -1000 to 3000"),
        (0, 4095, np.uint16, "2 images are of more than 8 bits, with numbers from 0 to 4095; 0 is taken for black"),
        (0, 65535, np.uint16, None),
    ],
)
def test_a_deep_picture_is_read_in_the_range_of_its_domain(
    tmp_path: Path, low: float, high: float, kind: type, white: str | None
) -> None:
    domain = read_domain(write_deep(tmp_path / "t", (low + BASE * (high - low)).astype(kind)))
    assert means(domain) == pytest.approx([GREY, GREY], abs=ONE)
    if white is not None:
        assert white in domain.notes[0]
    elif kind is np.uint16:
        assert not domain.notes
    rows = domain.rows([0, 1], Preprocessing(32, 32, (0.0,) * 3, (1.0,) * 3).evaluation())
    assert rows.mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_dark_picture_beside_a_bright_one_stays_dark(tmp_path: Path) -> None:
    domain = read_domain(write_deep(tmp_path / "t", (BASE * 4095).astype(np.uint16), ".png", darkest=0.1))
    assert means(domain) == pytest.approx([GREY, GREY / 10], abs=ONE)
    again = read_domain(tmp_path / "t")  # from memory
    assert means(again) == means(domain)
    assert again.notes == domain.notes


def test_features_of_a_deep_picture_are_of_its_domains_range(tmp_path: Path) -> None:
    """One file in two domains: its features in one are not those in the other."""
    alone = write_deep(tmp_path / "alone", (BASE * 255).astype(np.uint16))
    beside = write_deep(tmp_path / "beside", (BASE * 65535).astype(np.uint16))
    (beside / "c.tif").symlink_to(alone / "a.tif")
    first, other = read_domain(alone).content, read_domain(beside).content
    assert isinstance(first, tuple)
    assert isinstance(other, tuple)
    assert fingerprint(first[:1]) != fingerprint(other[2:])


def test_a_model_keeps_the_range_of_its_domains(tmp_path: Path, command: Command) -> None:
    """A dark picture alone is predicted as it is among the others, where white is 4,095."""
    for number, name in enumerate("st"):
        draw_folder(tmp_path / name, 3, seed=number)
        for picture in (tmp_path / name).rglob("*.png"):
            with Image.open(picture) as opened:
                pixels = np.asarray(opened.convert("L"), dtype=np.uint16) * (16 if picture.stem == "0" else 1)
            Image.fromarray(pixels).save(picture)
    network = ("--backbone", "squeezenet1_1", "--weights", "none", "--no-baseline", "--no-report", "--steps", 2)
    run = tmp_path / "run"
    domains = ("--source", tmp_path / "s", "--target", tmp_path / "t")
    assert command("train", *domains, *network, "--out", run).code == 0
    among = {line.partition(",")[0]: line.split(",")[:3] for line in (run / "predictions.csv").read_text().splitlines()}
    dark = str(tmp_path / "t" / "cat" / "1.png")
    alone = command("predict", run, dark)
    assert "255 for white, unless a model brings the range" in alone.err
    item, predicted, probability = alone.out.splitlines()[1].split(",")[:3]
    assert [item, predicted] == among[dark][:2]
    assert float(probability) == pytest.approx(float(among[dark][2]), abs=1e-5)


def test_a_picture_of_nan_is_no_picture(tmp_path: Path) -> None:
    folder = write_deep(tmp_path / "t", BASE.astype(np.float32))
    for number in range(4):
        Image.fromarray(BASE.astype(np.float32)).save(folder / f"{number}.tif")
    Image.fromarray(np.where(BASE > 0.5, np.nan, BASE).astype(np.float32)).save(folder / "nan.tif")
    domain = read_domain(folder)
    assert domain.skipped == 1
    assert "nan.tif (it holds NaN or infinite values)" in domain.notes[0]


def test_pictures_that_are_nearly_black_are_told(tmp_path: Path) -> None:
    folder = write_deep(tmp_path / "t", (BASE * 15).astype(np.uint8), ".png")
    assert "nearly black, with no value above 15 of 255" in read_domain(folder).notes[0]


def test_a_path_that_is_none_is_told_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("https://host/s.csv", "s3://bucket/photos", "file:///data/s.npz"):
        with pytest.raises(UserError, match=f"{address} is an address, and files are read from this machine"):
            read_domain(address)
    monkeypatch.setenv("HOME", str(tmp_path))
    draw_folder(tmp_path / "photos", 1)
    with pytest.raises(UserError, match=f"the shell has left its ~ alone; give {tmp_path}/photos"):
        read_domain("~/photos")


# Strips


def test_of_a_strip_the_middle_is_read(tmp_path: Path) -> None:
    draw_folder(tmp_path / "t", 4)
    picture = Image.new("RGB", (60_000, 2), (0, 0, 200))
    picture.paste((200, 0, 0), (29_000, 0, 31_000, 2))
    picture.save(tmp_path / "t" / "cat" / "strip.png")
    domain = read_domain(tmp_path / "t")
    row = domain.items.index(str(tmp_path / "t" / "cat" / "strip.png"))
    assert "1 image (" in domain.notes[0]
    assert "far longer than wide, as strips are; only the middle is seen" in domain.notes[0]
    for transform in (Preprocessing().evaluation(), Preprocessing().training()):
        (seen,) = domain.rows([row], transform)
        assert seen.shape == (3, 224, 224)
        assert (seen[0] > seen[2]).all()


# Names and kinds


def test_pictures_are_known_by_their_content_and_the_rest_is_counted(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "t", 6) / "cat"
    content = (folder / "0.png").read_bytes()
    for name in ("noext", "wrong.dat", "b.jfif", "c.jpg"):
        (folder / name).write_bytes(content)
    with Image.open(folder / "0.png") as picture:
        for name in ("d.webp", "e.jp2", "f.tga", "g.jpe"):
            picture.save(folder / name, "JPEG" if name == "g.jpe" else None)
    (folder / "film.mp4").write_bytes(b"no picture")
    (folder / "notes.md").write_text("no picture")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (folder / "named.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    domain = read_domain(tmp_path / "t")
    assert len(domain) == 12 + 8
    unread, passed = domain.notes
    assert "2 of 22 images cannot be read" in unread
    assert unread.count("HEIC is not read; convert it to JPEG or PNG") == 2
    assert "2 files (cat/film.mp4, cat/notes.md) passed over, being no images" in passed


def test_a_domain_of_heic_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(UserError, match=r"1 of 1 images cannot be read: .*HEIC is not read; convert it to JPEG or PNG"):
        read_domain(tmp_path)


def test_a_picture_without_suffix_can_be_predicted(tmp_path: Path) -> None:
    draw(tmp_path / "a.png").rename(tmp_path / "a")
    (domain,) = read_paths([tmp_path / "a"])
    assert domain.items == (str(tmp_path / "a"),)


ASIDE = (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails", ".trash", "$RECYCLE.BIN", "#recycle")


@pytest.mark.parametrize("name", ASIDE)
def test_folders_of_a_system_are_neither_classes_nor_within_one(tmp_path: Path, name: str) -> None:
    draw_folder(tmp_path, 2)
    draw(tmp_path / name / "0.png")
    draw(tmp_path / "cat" / name / "0.png")
    draw(tmp_path / "cat" / "._0.png")
    domain = read_domain(tmp_path)
    assert domain.classes == ("cat", "dog")
    assert len(domain) == 4
    assert not domain.notes


def test_splits_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        draw_folder(tmp_path / "shop" / split, 1)
    with pytest.raises(UserError, match=r"is split into train and val, which are no classes; give .* as .*shop/train"):
        read_domain(tmp_path / "shop")
    assert read_domain(tmp_path / "shop" / "train").classes == ("cat", "dog")
    (tmp_path / "shop" / "val").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is split into train"):
        read_domain(tmp_path / "shop")
    draw_folder(tmp_path / "vehicles", 1, ("bus", "train"))
    assert read_domain(tmp_path / "vehicles").classes == ("bus", "train")
    draw_folder(tmp_path / "flat", 1, ("Training", "validation"))
    with pytest.raises(UserError, match="is split into Training and validation"):
        read_domain(tmp_path / "flat")


def test_a_run_among_the_pictures_is_no_class(tmp_path: Path, command: Command) -> None:
    draw_folder(tmp_path / "t", 4)
    (tmp_path / "t" / "run" / "checkpoints").mkdir(parents=True)
    draw(tmp_path / "t" / "run" / "figure.png")
    draw(tmp_path / "t" / "runs" / "a" / "analysis" / "figure.png")
    (tmp_path / "t" / "runs" / "a" / "model.safetensors").write_bytes(b"")
    domain = read_domain(tmp_path / "t")
    assert domain.classes == ("cat", "dog")
    tested = ("shift", tmp_path / "t", tmp_path / "t", "--backbone", "squeezenet1_1", "--weights", "none")
    assert command(*tested, "--permutations", 19, "--out", tmp_path / "t" / "null").code == 0
    assert read_domain(tmp_path / "t").classes == ("cat", "dog")


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_links_below_a_class_are_followed_without_circles(tmp_path: Path) -> None:
    draw_folder(tmp_path / "disk", 3)
    for name in ("cat", "dog"):
        (tmp_path / "t" / name).mkdir(parents=True)
        (tmp_path / "t" / name / "part").symlink_to(tmp_path / "disk" / name, target_is_directory=True)
    (tmp_path / "disk" / "cat" / "up").symlink_to(tmp_path / "disk" / "cat", target_is_directory=True)
    (tmp_path / "t" / "cat" / "twice").symlink_to(tmp_path / "disk" / "cat", target_is_directory=True)
    (tmp_path / "t" / "dog" / "all").symlink_to(tmp_path / "t", target_is_directory=True)
    domain = read_domain(tmp_path / "t")
    assert domain.classes == ("cat", "dog")
    assert len(domain) == 6
    assert "1 link (dog/all) passed over, leading back into the folder" in domain.notes[0]


# What the cache answers


def replaced(path: Path, seed: int) -> None:
    """Put another picture of the same size in bytes at a path, with the same times."""
    before = path.stat()
    draw(path, seed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_picture_of_the_same_name_size_and_time_is_another(tmp_path: Path) -> None:
    paths = [draw(tmp_path / name) for name in ("a.bmp", "b.tif")]
    before = fingerprint(paths)
    for path in paths:
        replaced(path, 9)
    assert fingerprint(paths) != before


def test_a_list_and_labels_are_part_of_what_a_table_of_runs_knows(tmp_path: Path) -> None:
    listed = draw(tmp_path / "a.bmp")
    (tmp_path / "list.txt").write_text("a.bmp cat\n")
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    np.save(tmp_path / "x.labels.npy", np.array([0, 1]))
    paths = (tmp_path / "list.txt",), (tmp_path / "x.npy",)
    before = [fingerprint_of(path) for path in paths]
    replaced(listed, 9)
    np.save(tmp_path / "x.labels.npy", np.array([1, 0]))
    assert all(fingerprint_of(path) != old for path, old in zip(paths, before, strict=True))


def test_a_file_of_weights_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(3)}, path)
    before, times = content_of("weights", str(path)), path.stat()
    assert before == content_digest(path)
    torch.save({"a": torch.ones(3)}, path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert content_of("weights", str(path)) != before
    monkeypatch.setattr("jointadapt.runtime.files.SETTLED", -1.0)  # what nothing has touched is read once
    digest = content_digest(path)
    monkeypatch.setattr("jointadapt.runtime.files._sha256", str)
    assert content_digest(path) == digest
