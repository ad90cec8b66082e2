"""Image lists and CSV files of image names, as people and tools write them."""

from pathlib import Path

import pytest
from conftest import draw

from jointadapt.data import UNLABELLED, Domain, read_domain
from jointadapt.data.image_lists import image_list_of
from jointadapt.errors import UserError

PICTURES = ("a.png", "a b.png", "sub/c.png", "x, y.png")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with four pictures."""
    for number, name in enumerate(PICTURES):
        draw(tmp_path / name, number)
    return tmp_path


def listed(folder: Path, content: str | bytes) -> Domain:
    (folder / "list.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_domain(folder / "list.txt")


def pairs(domain: Domain, folder: Path) -> list[tuple[str, str | None]]:
    """Return the name of each picture, and its class."""
    names = [str(Path(item).relative_to(folder)) for item in domain.items]
    labels = [None if label == UNLABELLED else domain.classes[label] for label in domain.labels.tolist()]
    return list(zip(names, labels, strict=True))


TWO = [("a.png", "cat"), ("a b.png", "coffee mug")]


@pytest.mark.parametrize(
    "content",
    [
        "a.png,cat\na b.png,coffee mug\n",
        "a.png, cat\r\na b.png, coffee mug\r\n",
        "a.png\tcat\na b.png\tcoffee mug\n",
        "a.png;cat;\na b.png;coffee mug;\n",
        '"a.png","cat"\n"a b.png","coffee mug"\n',
        '"a.png" cat\n"a b.png" "coffee mug"\n',
        "'a.png' cat\n'a b.png' 'coffee mug'\n",
        "cat,a.png\ncoffee mug,a b.png\n",
        "cat\ta.png\ncoffee mug\ta b.png\n",
        "\ufefffilename,label\na.png,cat\na b.png,coffee mug\n",
        "Label;Path\ncat;a.png\ncoffee mug;a b.png\n",
        ",filename,label\n0,a.png,cat\n1,a b.png,coffee mug\n",
        "# from the shop\na.png,cat\n\n# from the phone\na b.png,coffee mug\n",
        "filename,label,split\na.png,cat,train\na b.png,coffee mug,val\n".encode("utf-16"),
    ],
    ids=[
        *("comma", "comma and blank", "tab", "semicolons", "quotes", "quotes and blanks", "single quotes"),
        *("label first", "label first, tab", "BOM and header", "header", "index", "comments", "UTF-16"),
    ],
)
def test_a_list_is_read_however_it_is_written(here: Path, content: str | bytes) -> None:
    domain = listed(here, content)
    assert pairs(domain, here) == TWO
    assert not domain.notes


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("sub\\c.png cat\na.png dog\n", [("sub/c.png", "cat"), ("a.png", "dog")]),
        ("x, y.png cat\na b.png dog\n", [("x, y.png", "cat"), ("a b.png", "dog")]),
        ('"x, y.png",cat\na.png,dog\n', [("x, y.png", "cat"), ("a.png", "dog")]),
        ("cat a.png\ndog a b.png\n", [("a.png", "cat"), ("a b.png", "dog")]),
        ("filename label\na.png cat\na b.png\n", [("a.png", "cat"), ("a b.png", None)]),
        ("x, y.png\na b.png\nsub/c.png\n", [("x, y.png", None), ("a b.png", None), ("sub/c.png", None)]),
        ("a.png,\na b.png,dog\n", [("a.png", None), ("a b.png", "dog")]),
    ],
    ids=["backslash", "comma in a name", "quoted comma", "label first", "header", "no labels", "a label missing"],
)
def test_names_may_hold_what_parts_fields(here: Path, content: str, expected: list[tuple[str, str | None]]) -> None:
    assert pairs(listed(here, content), here) == expected


def test_accents_are_found_as_the_disk_encodes_them(here: Path) -> None:
    draw(here / "e\u0301.png")
    assert pairs(listed(here, "\u00e9.png,cat\na.png,dog\n"), here) == [("e\u0301.png", "cat"), ("a.png", "dog")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a.png 0 1\na b.png 1 0\n", r"line 1 gives a\.png several labels \(0, 1\)"),
        ("a.png,cat\na b.png,cat,dog\n", r"line 2 gives a b\.png several labels \(cat, dog\)"),
        ("a.png 0\na b.png 0,1\n", r"line 2 gives a b\.png several labels \(0,1\)"),
        ("a.png,cat|dog\na b.png,dog\n", r"line 1 gives a\.png several labels \(cat\|dog\)"),
        ("a.png cat\na b.png dog\na.png dog\n", r"gives a\.png two labels, cat and dog"),
        ("filename,healthy,rust\na.png,1,0\na b.png,0,1\n", r"which of its columns healthy, rust is the label\?"),
        ("# nothing\n", "is empty"),
    ],
    ids=["two numbers", "two names", "one field", "bars", "two lines", "columns", "comments only"],
)
def test_several_labels_are_refused_by_name(here: Path, content: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        listed(here, content)


def csv_of(folder: Path, content: str) -> Domain | None:
    (folder / "train.csv").write_text(content)
    found = image_list_of(folder / "train.csv")
    assert found is None or read_domain(folder / "train.csv").items == found.items
    return found


@pytest.mark.parametrize(
    "content",
    [
        "filename,label\na.png,cat\nd.png,dog\n",
        "image_id,breed\na.png,cat\nd.png,dog\n",
        "filename,width,height,class\na.png,32,32,cat\nd.png,32,32,dog\n",
        ",filename,label\n0,a.png,cat\n1,d.png,dog\n",
    ],
)
def test_a_csv_of_image_names_is_a_list_of_images(here: Path, content: str) -> None:
    for name in ("a.png", "d.png"):
        draw(here / "pictures" / "all" / name)
    for folder, inside in ((here / "pictures", "all"), (here / "pictures" / "all", "")):
        domain = csv_of(folder, content)
        assert domain is not None
        assert domain.holds_images
        assert pairs(domain, folder / inside) == [("a.png", "cat"), ("d.png", "dog")]


@pytest.mark.parametrize("content", ["p,q,label\n1,2,a\n3,4,b\n", "path,f0,f1,label\na.png,1.5,2,cat\nx.png,2,3,dog\n"])
def test_a_csv_of_numbers_is_none(here: Path, content: str) -> None:
    assert csv_of(here, content) is None


def test_a_csv_of_images_that_are_elsewhere_says_so(here: Path) -> None:
    with pytest.raises(UserError, match=r"names images, and 1 of 2 are not there, the first is z\.png; .* looked for"):
        csv_of(here, "filename,label\nz.png,cat\na.png,dog\n")
