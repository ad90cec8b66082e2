"""What comes in: folders, lists and arrays of every kind, whole and broken; and the cache of features."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import CLASSES, draw, draw_folder
from PIL import Image
from pyarrow import parquet
from safetensors.torch import load_file

from jointadapt.data import UNLABELLED, Domain, Preprocessing, align, extract, from_arrays, read_domain
from jointadapt.data.images import fingerprint, read_image
from jointadapt.data.reading import read_paths
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pipeline import fit_inputs

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = ["b", "a", "b", "a", "b", "a"]


def test_class_folders_give_labels_in_alphabetical_order_at_any_depth(tmp_path: Path) -> None:
    draw(tmp_path / "dog" / "deep" / "1.png")
    draw(tmp_path / "cat" / "1.PNG")
    draw(tmp_path / ".hidden" / "1.png")
    domain = read_domain(tmp_path)
    assert domain.classes == ("cat", "dog")
    assert domain.labels.tolist() == [0, 1]


def test_flat_folder_is_unlabelled(tmp_path: Path) -> None:
    draw(tmp_path / "1.png")
    (tmp_path / "notes.md").write_text("no image")
    domain = read_domain(tmp_path)
    assert len(domain) == 1
    assert not domain.labelled


def test_missing_folder_names_its_neighbours(tmp_path: Path) -> None:
    draw_folder(tmp_path / "webcam", 1)
    with pytest.raises(UserError, match=r"does not exist; .* holds .*webcam"):
        read_domain(tmp_path / "webcom")
    with pytest.raises(UserError, match="does not exist or is empty"):
        read_domain(tmp_path / "nowhere" / "webcam")


def test_empty_folder_and_folder_of_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.md").write_text("no image")
    with pytest.raises(UserError, match="holds no images; give a folder of class folders"):
        read_domain(tmp_path)


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    draw(draw_folder(tmp_path, 1) / "stray.png")
    with pytest.raises(UserError, match=r"both images \(1, as stray.png\) and folders of images \(cat, dog\)"):
        read_domain(tmp_path)


def test_class_folder_without_images_is_told(tmp_path: Path) -> None:
    (draw_folder(tmp_path, 1) / "empty").mkdir()
    domain = read_domain(tmp_path)
    assert domain.classes == CLASSES
    assert "no images in empty" in domain.notes[0]


def test_one_class_hints_at_an_extra_folder_level(tmp_path: Path) -> None:
    draw_folder(tmp_path / "amazon" / "images", 1)
    source = read_domain(tmp_path / "amazon")
    with pytest.raises(UserError, match=r"one class only \(images\).*extra folder level"):
        align(source, source)


def test_source_without_labels_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "1.png")
    source = read_domain(tmp_path)
    with pytest.raises(UserError, match="has no labels; give a folder with one subfolder a class"):
        align(source, source)


def test_classes_of_one_domain_only_are_explained() -> None:
    source, target = from_arrays(X, ["a", "a", "b", "b", "c", "c"]), from_arrays(X, ["a", "b", "b", "d", "d", "d"])
    aligned, (missing, surplus) = align(source, target)
    assert "1 class is of the source not in the target (c)" in missing
    assert "1 class is of the target not in the source (d)" in surplus
    assert aligned.labels.tolist() == [0, 1, 1, UNLABELLED, UNLABELLED, UNLABELLED]


def test_no_class_in_common_is_refused() -> None:
    with pytest.raises(UserError, match="no class in common"):
        align(from_arrays(X, Y), from_arrays(X, ["c", "d"] * 3))


@pytest.mark.parametrize("content", [b"", b"no picture", "truncated"], ids=["empty", "text", "truncated"])
def test_unreadable_image_is_named_skipped_and_counted(tmp_path: Path, content: bytes | str) -> None:
    draw_folder(tmp_path, 5)
    good = draw(tmp_path / "cat" / "bad.jpg").read_bytes()
    (tmp_path / "cat" / "bad.jpg").write_bytes(good[: len(good) // 2] if isinstance(content, str) else content)
    for _ in range(2):  # the second time from memory
        domain = read_domain(tmp_path)
        assert len(domain) == len(domain.labels) == 10
        assert domain.skipped == 1
        assert "1 of 11 images cannot be read" in domain.notes[0]
        assert "bad.jpg" in domain.notes[0]


def test_too_many_unreadable_images_are_an_error(tmp_path: Path) -> None:
    draw_folder(tmp_path, 1)
    (tmp_path / "cat" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1 of 3 images cannot be read: .*bad\.png.*more than a fifth; mend or remove"):
        read_domain(tmp_path)


def test_mended_image_is_no_longer_skipped(tmp_path: Path) -> None:
    bad = draw_folder(tmp_path, 5) / "cat" / "bad.png"
    bad.write_bytes(b"no picture")
    assert read_domain(tmp_path).skipped == 1
    draw(bad)
    assert read_domain(tmp_path).skipped == 0


def test_link_that_leads_nowhere_is_skipped(tmp_path: Path) -> None:
    (draw_folder(tmp_path, 3) / "cat" / "gone.png").symlink_to(tmp_path / "nothing")
    assert read_domain(tmp_path).skipped == 1


def test_damaged_memory_of_defects_is_made_again(tmp_path: Path, cache: Path) -> None:
    draw_folder(tmp_path / "a", 1)
    read_domain(tmp_path / "a")
    (memory,) = cache.glob("checked-*.json")
    for damage in ("{", "[]", '{"99": "no such file"}'):
        memory.write_text(damage)
        assert read_domain(tmp_path / "a").skipped == 0


def test_checking_images_leaves_warnings_as_they_were(tmp_path: Path) -> None:
    import warnings

    draw_folder(tmp_path, 30)
    before = list(warnings.filters)
    read_domain(tmp_path)
    assert list(warnings.filters) == before


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "CMYK", "1", "I;16"])
def test_image_of_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tif"
    if mode == "I;16":
        Image.fromarray(np.full((32, 32), 204 << 8, dtype=np.uint16)).save(path)
    else:
        Image.new("RGB", (32, 32), (204, 204, 204)).convert(mode, dither=Image.Dither.NONE).save(path)
    assert read_domain(tmp_path).skipped == 0
    picture = read_image(path)
    assert picture.shape == (3, 32, 32)
    assert picture.dtype == torch.uint8
    assert picture.float().mean() == pytest.approx(255 if mode == "1" else 204, abs=2)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("LA", "png"), ("I;16", "png")]
)
def test_jpeg_and_png_of_any_mode_become_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    if mode == "I;16":
        Image.fromarray(np.full((32, 32), 204 << 8, dtype=np.uint16)).save(path)
    else:
        Image.new("RGB", (32, 32), (204, 204, 204)).convert(mode).save(path)
    picture = read_image(path)
    assert picture.shape == (3, 32, 32)
    assert picture.float().mean() == pytest.approx(204, abs=3)


def test_colours_and_orientation_survive(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 2), (250, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    picture.save(tmp_path / "a.png", exif=exif)
    picture.save(tmp_path / "a.tif", exif=exif)
    for name in ("a.png", "a.tif"):
        assert read_image(tmp_path / name).shape == (3, 4, 2)
        assert read_image(tmp_path / name)[:, 0, 0].tolist() == [250, 10, 20]


@pytest.mark.skipif(os.name != "posix", reason="needs file names of any bytes")
@pytest.mark.parametrize("name", [b"a\nb.png", b'"quoted", comma.png', b"<script>.png", b"\xff\xfe.png", b" .png"])
def test_file_of_any_name_is_read(tmp_path: Path, name: bytes) -> None:
    path = draw_folder(tmp_path, 1) / "cat" / os.fsdecode(name)
    path.write_bytes(draw(tmp_path / "dog" / "1.png").read_bytes())
    domain = read_domain(tmp_path)
    assert str(path) in domain.items
    assert domain.rows(range(len(domain)), Preprocessing(32, 32).evaluation()).shape == (len(domain), 3, 32, 32)


def test_image_list_holds_paths_with_spaces_and_labels(tmp_path: Path) -> None:
    for name in ("a b.png", "sub/c.png", "d\u2028e.png", "f.png"):
        draw(tmp_path / name)
    (tmp_path / "list.txt").write_text(
        f"a b.png 1\r\n\nsub/c.png 0\nd\u2028e.png 10\n{tmp_path / 'f.png'} -1\n", "utf-8"
    )
    domain = read_domain(tmp_path / "list.txt")
    assert domain.classes == ("0", "1", "10")
    assert domain.labels.tolist() == [1, 0, 2, UNLABELLED]


def test_image_list_without_labels_is_unlabelled(tmp_path: Path) -> None:
    draw(tmp_path / "a b.png")
    (tmp_path / "list.txt").write_text("a b.png\n")
    assert not read_domain(tmp_path / "list.txt").labelled


def test_image_list_names_the_first_missing_file(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 1\n")
    with pytest.raises(UserError, match=r"1 of 2 images are not there, the first is .*b\.png; paths are read relative"):
        read_domain(tmp_path / "list.txt")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00\x01 1\n"], ids=["empty", "blank", "bytes"])
def test_broken_image_list_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"is empty|are not there"):
        read_domain(tmp_path / "list.txt")


def _save(path: Path) -> Path:
    match path.suffix:
        case ".npz":
            np.savez(path, X=X, label=np.array(Y))
        case ".npy":
            np.save(path, X)
            np.save(path.with_suffix(".labels.npy"), np.array(Y))
        case ".csv":
            rows = [f"{a},{b},{label}" for (a, b), label in zip(X, Y, strict=True)]
            path.write_text("\n".join(["p,q,Label", *rows]))
        case ".parquet":
            parquet.write_table(pa.table({"p": X[:, 0], "q": X[:, 1], "y": Y}), path)
    return path


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "parquet"])
def test_arrays_of_every_kind_hold_rows_and_labels(tmp_path: Path, suffix: str) -> None:
    domain = read_domain(_save(tmp_path / f"data.{suffix}"))
    assert torch.equal(domain.rows(range(6)), torch.from_numpy(X))
    assert domain.classes == ("a", "b")
    assert domain.labels.tolist() == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "parquet"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"PK\x03\x04 and no more"])
def test_broken_array_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match="data"):
        read_domain(path)


def test_pickled_array_is_refused_and_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read as a NumPy array"):
        read_domain(tmp_path / "data.npy")


def test_table_names_what_it_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("p,colour,y\n1,red,0\n2,blue,1\n")
    _, domain, _ = fit_inputs(InputOptions(), *[read_domain(tmp_path / "a.csv")] * 2)
    assert domain.shape == (1,)
    assert "colour left out, as text that differs from row to row" in domain.notes[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p,p,y\n1,2,0\n", "two columns of one name"),
        ("name,y\nred,0\n", "no columns but for labels and names"),
        ("p,q\n1,\n2,3\n", r"values are missing, by column: a: q \(1 row\)"),
        ("p,q\n1,inf\n2,3\n", "'q' holds infinite values, or values beyond 3e38, in 1 of 2 rows"),
        ("p,q\n", "no rows"),
    ],
)
def test_broken_table_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        fit_inputs(InputOptions(), *[read_domain(tmp_path / "a.csv")] * 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_rows_that_are_not_finite_are_named(value: float) -> None:
    x = X.astype(np.float64)
    x[3, 1] = value
    with pytest.raises(UserError, match=r"1 of 6 rows hold NaN or infinite values \(counted from 0: rows 3\)"):
        from_arrays(x, Y)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (X[0], None, "got shape"),
        (X[:0], None, "got shape"),
        (X.astype(str), None, "numbers are needed"),
        (X, Y[:-1], "one label a row"),
        (X, np.array(3), "one label a row"),
        (X, np.ones((6, 2)), "one label a row"),
    ],
)
def test_arrays_of_a_wrong_shape_are_refused(x: np.ndarray, y: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        from_arrays(x, y)  # pyright: ignore[reportArgumentType]


def test_missing_labels_are_unlabelled_and_numbers_stay_in_order() -> None:
    domain = from_arrays(X, [10.0, 9.0, float("nan"), None, -1, ""], unlabelled=-1)
    assert domain.classes == ("9", "10")
    assert domain.labels.tolist() == [1, 0, -1, -1, -1, -1]
    assert from_arrays(X, np.array(Y, dtype="S1")).classes == ("a", "b")


@pytest.mark.parametrize(("kind", "most"), [(np.uint8, 255), (np.int64, 255), (np.uint16, 65535), (np.float32, 1)])
def test_integer_images_are_scaled(kind: type, most: int) -> None:
    domain = from_arrays(np.full((2, 8, 8), most, dtype=kind))
    assert domain.shape == (1, 8, 8)
    assert torch.equal(domain.rows([0]), torch.ones(1, 1, 8, 8))


def test_single_images_and_folders_are_read_together(tmp_path: Path) -> None:
    draw_folder(tmp_path / "a", 1)
    single = draw(tmp_path / "b.png")
    images, folder = read_paths([tmp_path / "a", single])
    assert images.items == (str(single),)
    assert len(folder) == 2


class _Embedding:
    """Features of a batch, and how many images passed."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        return x.mean((2, 3))


def _extract(domain: Domain, embedding: _Embedding, cache: Path, key: str = "weights", crop: int = 32) -> torch.Tensor:
    content = extract(domain, embedding, Preprocessing(crop, crop).evaluation(), key, cache).content
    assert isinstance(content, torch.Tensor)
    return content


def test_features_are_extracted_once_and_again_when_anything_changes(tmp_path: Path, cache: Path) -> None:
    domain, embedding = read_domain(draw_folder(tmp_path / "a", 2)), _Embedding()
    first = _extract(domain, embedding, cache)
    assert torch.equal(_extract(domain, embedding, cache), first)
    assert embedding.seen == 4
    _extract(domain, embedding, cache, key="other weights")
    _extract(domain, embedding, cache, crop=16)
    assert embedding.seen == 12
    draw(tmp_path / "a" / "cat" / "0.png", seed=99)
    assert not torch.equal(_extract(domain, embedding, cache), first)
    assert embedding.seen == 16
    _extract(domain.select([0, 1]), embedding, cache)
    assert embedding.seen == 18


def test_damaged_features_are_extracted_again(tmp_path: Path, cache: Path) -> None:
    domain, embedding = read_domain(draw_folder(tmp_path / "a", 2)), _Embedding()
    first = _extract(domain, embedding, cache)
    (file,) = cache.glob("features-*.safetensors")
    whole = file.read_bytes()
    for damage in (b"", b"no features", whole[:-5]):
        file.write_bytes(damage)
        assert torch.equal(_extract(domain, embedding, cache), first)
    assert embedding.seen == 16
    assert torch.equal(load_file(file)["features"], first)


def test_fingerprint_tells_touched_and_renamed_files_apart(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png")
    before = fingerprint([path])
    os.utime(path, ns=(1, 1))
    touched = fingerprint([path])
    assert len({before, touched, fingerprint([path.rename(tmp_path / "b.png")])}) == 3
