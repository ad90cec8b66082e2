"""Named benchmarks: synthetic copies of each layout, with what goes wrong in the wild."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, draw
from scipy.io import savemat

from jointadapt.data.benchmarks import Benchmark, benchmark_names, check, fingerprint_of, load_benchmark, read, scan
from jointadapt.data.benchmarks.spec import parse_benchmark
from jointadapt.data.relocate import locate
from jointadapt.errors import UserError

ALL_PICTURES = [name for name in benchmark_names() if not name.startswith(("office-caltech10-", "digits", "bearings"))]
SMALL = """
title = "Seasons"
home = "https://example.org"
classes = ["oak_tree", "pine"]
[aliases]
fir = "pine"
[domains.summer]
letter = "S"
path = ["summer/images", "summer", "lists/summer.txt"]
rows = 5
counts = [3, 2]
[domains.winter]
letter = "W"
path = ["winter/images", "winter", "lists/winter.txt"]
rows = 4
counts = [2, 2]
[[published]]
method = "jan"
backbone = "none"
source = "A paper, Table 1"
tasks = { "S→W" = 81.0, "W→S" = 80.0 }
"""
SOUND = {"summer": {"oak_tree": 3, "pine": 2}, "winter": {"oak_tree": 2, "pine": 2}}


@pytest.fixture
def seasons() -> Benchmark:
    return parse_benchmark("seasons.toml", SMALL)


def lay(root: Path, counts: dict[str, dict[str, int]], folder: str = "{domain}/{name}") -> Path:
    """Write empty files where pictures would lie: enough to count."""
    for domain, classes in counts.items():
        for name, rows in classes.items():
            for number in range(rows):
                file = root / folder.format(domain=domain, name=name) / f"frame_{number:04}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    return root


def faults(benchmark: Benchmark, root: Path) -> list[str]:
    return [fault for finding in check(benchmark, root) for fault in finding.faults]


# The descriptions


@pytest.mark.parametrize("name", benchmark_names())
def test_counts_add_up_and_tasks_are_there(name: str) -> None:
    benchmark = load_benchmark(name)
    for place in benchmark.domains.values():
        assert sum(place.counts) in (0, place.rows)
    assert benchmark.home
    assert benchmark.title
    assert benchmark.all_tasks()
    assert all(0 < value <= 100 for row in benchmark.published for value in row.tasks.values())


@pytest.mark.parametrize(
    ("name", "rows", "classes"),
    [
        ("office31", [2817, 498, 795], 31),
        ("office-caltech10", [958, 1123, 157, 295], 10),
        ("imageclef-da", [600, 600, 600], 12),
        ("visda2017", [152397, 55388], 12),
        ("office-home", [2427, 4365, 4439, 4357], 65),
        ("domainnet", [48129, 51605, 72266, 172500, 172947, 69128], 345),
        ("digits", [60000, 7291, 73257, 59001], 10),
    ],
)
def test_the_sizes_are_the_published_ones(name: str, rows: list[int], classes: int) -> None:
    benchmark = load_benchmark(name)
    assert [place.rows for place in benchmark.domains.values()] == rows
    assert len(set(benchmark.classes)) == classes


def test_published_means_are_the_papers() -> None:
    rows = {(row.method, row.backbone): row.average for row in load_benchmark("office31").published}
    assert rows["jan", "resnet50"] == pytest.approx(84.3, abs=0.05)
    assert rows["jan", "alexnet"] == pytest.approx(76.0, abs=0.05)
    (jan, _) = load_benchmark("imageclef-da").published
    assert jan.average == pytest.approx(85.8, abs=0.05)


@pytest.mark.parametrize("text", ["amazon → webcam", "amazon->webcam", "A→W", "a2w", "AMAZON2Webcam", "a -> w"])
def test_a_task_has_many_names(text: str) -> None:
    assert load_benchmark("office31").task(text) == ("amazon", "webcam")


def test_letters_may_be_longer_and_names_hold_digits() -> None:
    assert load_benchmark("office-home").task("ar2rw") == ("art", "real-world")
    assert load_benchmark("digits").task("mnist2mnist-m") == ("mnist", "mnist-m")
    assert load_benchmark("visda2017").all_tasks() == [("train", "validation")]
    assert len(load_benchmark("domainnet").all_tasks()) == 30


@pytest.mark.parametrize("text", ["a2x", "amazon", "a2a", "", "→"])
def test_an_unknown_task_names_the_domains(text: str) -> None:
    with pytest.raises(UserError, match=r"amazon \(A\), dslr \(D\), webcam \(W\)"):
        load_benchmark("office31").task(text)


def test_a_file_may_name_itself() -> None:
    domains = "[domains.s]\npath = 's'\n[domains.t]\npath = 't'\n"
    assert parse_benchmark("b.toml", f"name = 'Mine'\n{domains}").title == "Mine"
    assert parse_benchmark("b.toml", f"name = 'Mine'\ntitle = 'Ours'\n{domains}").title == "Ours"
    assert parse_benchmark("b.toml", f"name = 'Mine'\n{domains}").name == "b.toml"
    with pytest.raises(UserError, match=r"b\.toml: name: input should be a text"):
        parse_benchmark("b.toml", f"name = 3\n{domains}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[domains.a]\npath = 'a'", "describes 1 domain"),
        ("domains = 3", "domains: "),
        ("[domains.a]\npath = 3\n[domains.b]\npath = 'b'", "domains.a.path"),
        ("[domains.a]\npaht = 'a'\n[domains.b]\npath = 'b'", "domains.a"),
        ("title", "no valid TOML"),
        ("title = 'x'", "domains"),
        ("title = " + "[" * 5000, "no valid TOML"),
        ("tasks = ['a2c']\n[domains.a]\npath = 'a'\n[domains.b]\npath = 'b'", "no task 'a2c'"),
        ("[domains.a]\npath = 'a'\ncounts = [1]\n[domains.b]\npath = 'b'", "1 numbers for 0 classes"),
    ],
)
def test_a_wrong_description_is_told(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        parse_benchmark("mine.toml", text)
    assert "\n" not in str(error.value)


# Layouts


@pytest.mark.parametrize("name", ALL_PICTURES)
@pytest.mark.parametrize("layout", ["folders", "official", "lists"])
def test_a_copy_of_each_layout_is_found(name: str, layout: str, tmp_path: Path) -> None:
    """One image a class, laid out as the archive, flat, or as an image list with another machine's prefix has it."""
    benchmark = load_benchmark(name)
    for domain, place in benchmark.domains.items():
        folders = [path for path in place.paths if not path.endswith(".txt")]
        lists = [path for path in place.paths if path.endswith(".txt")]
        files = [f"{c}/frame_0001.jpg" for c in benchmark.classes]
        home = {"folders": folders[-1], "official": folders[0], "lists": f"pictures/{domain}"}[layout]
        for file in files:
            (tmp_path / home / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / home / file).touch()
        if layout == "lists":
            lines = [f"/home/someone/data/{home}/{file} {number}" for number, file in enumerate(files)]
            parts = lists[0].split(" + ")
            for part, chunk in zip(parts, np.array_split(lines, len(parts)), strict=True):
                (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / part).write_text("\n".join(chunk))
    for domain in benchmark.domains:
        found = scan(benchmark, domain, tmp_path)
        assert found.domain.name == domain
        assert found.domain.classes == benchmark.classes
        assert sorted(found.domain.labels.tolist()) == [*range(len(benchmark.classes))]
        assert found.lost == ()
        assert found.surplus == {}
    told = [fault for finding in check(benchmark, tmp_path) for fault in finding.faults]
    assert not any("classes" in fault or "absent" in fault for fault in told)


def test_a_sound_copy_has_no_fault(seasons: Benchmark, tmp_path: Path) -> None:
    assert faults(seasons, lay(tmp_path, SOUND)) == []


def test_what_is_missing_and_surplus_is_named(seasons: Benchmark, tmp_path: Path) -> None:
    lay(tmp_path, {"summer": {"oak_tree": 2, "owl": 4}, "winter": {"Oak Tree": 3, "fir": 2}})
    summer, winter = check(seasons, tmp_path)
    assert summer.faults == ("oak_tree: 2 of 3 rows", "missing classes: pine", "surplus classes: owl (4)")
    assert (summer.rows, summer.expected) == (2, 5)
    assert winter.faults == ("oak_tree: 3 rows, 1 too many",)


def test_an_absent_domain_says_where_it_was_looked_for(seasons: Benchmark, tmp_path: Path) -> None:
    lay(tmp_path, {"summer": SOUND["summer"]})
    (fault,) = faults(seasons, tmp_path)
    assert fault.startswith("winter is not in ")
    assert "holds summer" in fault
    assert "lists/winter.txt" in fault


def test_a_domain_without_labels_or_with_a_folder_too_many_is_told(seasons: Benchmark, tmp_path: Path) -> None:
    lay(tmp_path, {"summer": {"": 5}}, "{domain}")
    lay(tmp_path, {"winter": SOUND["winter"]}, "{domain}/inner/{name}")
    told = faults(seasons, tmp_path)
    assert any("no labels" in fault for fault in told)
    assert any("none of its classes (inner)" in fault for fault in told)


def test_surplus_classes_are_not_read(seasons: Benchmark, tmp_path: Path) -> None:
    for name in ("oak_tree", "pine", "owl"):
        draw(tmp_path / "summer" / name / "0.png")
    domain = read(seasons, "summer", tmp_path)
    assert len(domain) == 2
    assert domain.notes == ("summer: 1 rows of other classes than the benchmark's left out (owl).",)


def test_a_class_folder_of_a_list_wins_over_its_number(seasons: Benchmark, tmp_path: Path) -> None:
    lay(tmp_path, {"all": {"oak_tree": 1, "pine": 1}})
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "summer.txt").write_text("old/all/pine/frame_0000.jpg 0\nold/all/oak_tree/frame_0000.jpg 1\n")
    domain = scan(seasons, "summer", tmp_path).domain
    assert [domain.classes[label] for label in domain.labels] == ["pine", "oak_tree"]


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_a_list_count_from_0_or_1(seasons: Benchmark, tmp_path: Path, first: int) -> None:
    lay(tmp_path, {"flat": {"": 3}}, "{domain}")
    (tmp_path / "lists").mkdir()
    lines = [f"C:\\data\\flat\\frame_{i:04}.jpg {first + i % 2}" for i in range(3)]
    (tmp_path / "lists" / "summer.txt").write_text("\n".join(lines))
    domain = scan(seasons, "summer", tmp_path).domain
    assert domain.labels.tolist() == [0, 1, 0]


def test_listed_files_that_are_not_there_are_told_and_never_taken_from_elsewhere(
    seasons: Benchmark, tmp_path: Path
) -> None:
    lay(tmp_path, {"summer-old": SOUND["summer"], "winter-old": SOUND["winter"]}, "{domain}/images/{name}")
    (tmp_path / "lists").mkdir()
    for domain in ("summer", "winter"):
        files = [
            f"/nas/x/{domain}-old/images/{n}/frame_{i:04}.jpg 0"
            for n, rows in SOUND[domain].items()
            for i in range(rows)
        ]
        (tmp_path / "lists" / f"{domain}.txt").write_text("\n".join(files))
    (tmp_path / "winter-old/images/pine/frame_0001.jpg").unlink()
    told = faults(seasons, tmp_path)
    assert told == ["1 listed images are not there: /nas/x/winter-old/images/pine/frame_0001.jpg", "pine: 1 of 2 rows"]
    with pytest.raises(UserError, match="1 listed images are not there"):
        read(seasons, "winter", tmp_path)


def test_a_list_may_name_a_folder_images_that_is_not_there(tmp_path: Path) -> None:
    lay(tmp_path, {"summer": {"pine": 2}})
    places = locate(["/a/b/summer/images/pine/frame_0000.jpg", "/a/b/summer/images/pine/frame_0009.jpg"], (tmp_path,))
    assert places == [tmp_path / "summer/pine/frame_0000.jpg", None]
    assert locate([], (tmp_path,)) == []
    assert locate(["a" * 5000, "b\0.jpg"], (tmp_path,)) == [None, None]
    described = f"[domains.a]\npath = '{'a' * 5000}'\n[domains.b]\npath = 'b'"
    assert parse_benchmark("long.toml", described).find(tmp_path) == {}


def test_a_change_of_the_files_changes_the_fingerprint(tmp_path: Path) -> None:
    lay(tmp_path, SOUND)
    before = fingerprint_of((tmp_path / "summer",))
    assert before == fingerprint_of((tmp_path / "summer",))
    (tmp_path / "summer/pine/frame_0000.jpg").write_bytes(b"x")
    assert before != fingerprint_of((tmp_path / "summer",))


# Arrays


@pytest.mark.parametrize(
    ("kind", "width", "rows", "file"),
    [
        ("surf", 800, "fts", "{}_SURF_L10.mat"),
        ("decaf", 4096, "feas", "{}_decaf.mat"),
        ("googlenet", 1024, "fts", "features/GoogleNet1024/{}.mat"),
    ],
)
def test_feature_files_are_read_as_they_are_distributed(
    kind: str, width: int, rows: str, file: str, tmp_path: Path
) -> None:
    """Labels are a column and count from 1."""
    labels = np.repeat(np.arange(1, 11), 2)[:, None].astype(np.uint8)
    features = np.random.default_rng(0).random((20, width))
    for name in ("amazon", "caltech" if kind == "decaf" else "Caltech10"):
        path = tmp_path / file.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {rows: features, "labels": labels})
    benchmark = load_benchmark(f"office-caltech10-{kind}")
    domain = read(benchmark, "caltech", tmp_path)
    assert domain.shape == (width,)
    assert domain.classes[domain.labels[0]] == "backpack"
    assert domain.classes[domain.labels[-1]] == "projector"
    assert "backpack: 2 of 92 rows" in check(benchmark, tmp_path)[0].faults


def test_digits_in_every_form(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    digits = np.arange(20) % 10
    grey = generator.integers(0, 256, (20, 28, 28), np.uint8)
    for name, array in (("images-idx3", grey), ("labels-idx1", digits.astype(np.uint8))):
        head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    small = generator.integers(0, 256, (20, 16, 16), np.uint8)
    np.savez(tmp_path / "usps.npz", x_train=small, y_train=digits, x_test=small[:3], y_test=digits[:3])
    colour = generator.integers(0, 256, (32, 32, 3, 20), np.uint8)
    savemat(tmp_path / "train_32x32.mat", {"X": colour, "y": np.where(digits == 0, 10, digits)[:, None]})
    for i, digit in enumerate(digits):
        draw(tmp_path / "mnist_m" / "mnist_m_train" / f"{i:08}.png", digit)
    lines = "\n".join(f"{i:08}.png {digit}" for i, digit in enumerate(digits))
    (tmp_path / "mnist_m" / "mnist_m_train_labels.txt").write_text(lines)
    benchmark = load_benchmark("digits")
    domains = {name: read(benchmark, name, tmp_path) for name in benchmark.domains}
    assert {name: domain.shape for name, domain in domains.items()} == {
        "mnist": (1, 28, 28), "usps": (1, 16, 16), "svhn": (3, 32, 32), "mnist-m": (3, 32, 32),
    }  # fmt: skip
    for domain in domains.values():
        assert domain.labels.tolist() == digits.tolist()
        assert 0 <= float(domain.content.min()) < 0.1  # pyright: ignore[reportAttributeAccessIssue]
        assert 0.9 < float(domain.content.max()) <= 1 or domain.name == "mnist-m"  # pyright: ignore[reportAttributeAccessIssue]
    assert (domains["svhn"].rows([3]) * 255).round().numpy()[0].transpose(1, 2, 0).tolist() == colour[..., 3].tolist()


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08\x03\0\0\0\x02", b"not an idx file at all", b"\0\0\x08\x03" + b"\xff" * 12]
)
def test_a_broken_idx_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as an idx file"):
        read(load_benchmark("digits"), "mnist", tmp_path)


def test_a_broken_mat_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "train_32x32.mat").write_bytes(b"MATLAB 5.0 or so")
    with pytest.raises(UserError, match=r"cannot be read as a \.mat file"):
        read(load_benchmark("digits"), "svhn", tmp_path)


# The command line


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seasons.toml").write_text(SMALL)
    return tmp_path


def test_check_says_what_it_found(command: Command, described: Path) -> None:
    lay(described, SOUND)
    outcome = command("data", "check", "seasons.toml", "--root", described)
    assert outcome.code == 0
    assert "All there." in outcome.out
    (described / "winter/pine/frame_0001.jpg").unlink()
    outcome = command("data", "check", "seasons.toml", "--root", described)
    assert outcome.code == 1
    assert "winter: pine: 1 of 2 rows" in outcome.out
    assert "https://example.org" in outcome.out
    outcome = command("data", "check", "seasons.toml", "--root", described, "--json")
    assert outcome.code == 1
    answer = json.loads(outcome.out)
    assert answer["whole"] is False
    assert [domain["rows"] for domain in answer["domains"]] == [5, 3]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("office13", "--root", "."), "did you mean 'office31'"),
        (("office31", "--root", "nowhere"), "the root nowhere is no folder"),
        (("none.toml", "--root", "."), "none.toml cannot be read"),
    ],
)
def test_check_tells_a_mistake(refused: Callable[..., str], described: Path, arguments: tuple, told: str) -> None:  # noqa: ARG001
    assert told in refused("data", "check", *arguments)


def test_train_takes_a_task_of_a_benchmark(command: Command, described: Path) -> None:
    for season, seed in (("summer", 0), ("winter", 50)):
        for number, name in enumerate(("oak_tree", "pine")):
            for i in range(3):
                draw(described / season / name / f"{i}.png", seed + 10 * number + i)
    task = ("--benchmark", "seasons.toml", "--root", described, "--task", "s2w")
    network = ("--backbone", "squeezenet1_1", "--weights", "none", "--steps", 2, "--batch-size", 2, "--no-report")
    outcome = command("train", *task, *network, "--no-baseline", "--out", "run", "--workers", 0, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["task"] == "summer → winter"
    (described / "run" / "summary.json").unlink()
    assert json.loads(command("train", "--resume", "run", "--json").out)["task"] == "summer → winter"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--benchmark", "seasons.toml"), "--root and --task is missing"),
        (("--task", "s2w"), "--benchmark and --root is missing"),
        (("--benchmark", "seasons.toml", "--root", ".", "--task", "all"), "jointadapt compare"),
        (("--benchmark", "seasons.toml", "--root", ".", "--task", "s2x"), "no task 's2x'"),
        (("--benchmark", "seasons.toml", "--root", ".", "--task", "s2w"), "summer is not in"),
        (("--benchmark", "seasons.toml", "--root", ".", "--task", "s2w", "--source", "x"), "leave --source"),
    ],
)
def test_train_tells_a_mistake(refused: Callable[..., str], described: Path, arguments: tuple, told: str) -> None:  # noqa: ARG001
    assert told in refused("train", *arguments)
