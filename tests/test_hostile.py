"""Hostile and broken input: nothing in it runs, nothing grows beyond measure, names are shown as text."""

import csv
import html.parser
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tomli_w
from conftest import Command, draw, draw_folder, write_arrays
from fuzz_parsers import PARSERS, fuzz_pictures, image_list, options, outcome, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from jointadapt.config import RUN_OPTIONS
from jointadapt.data import arrays
from jointadapt.data.reading import read_domain
from jointadapt.errors import UserError
from jointadapt.experiment import train
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pipeline import fit_inputs
from jointadapt.methods.options import all_options

TRIED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TOML_VALUES = st.one_of(
    *(st.integers(), st.floats(), st.booleans(), st.text(max_size=5), st.lists(st.integers() | st.text(max_size=2))),
)


# Parsers


@TRIED
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="replace")))
def test_any_bytes_are_options_or_refused(tmp_path: Path, data: bytes) -> None:
    assert outcome(options, data, tmp_path) in ("read", "refused")


@TRIED
@given(
    given_options=st.dictionaries(st.sampled_from(sorted({**RUN_OPTIONS, **all_options()})), TOML_VALUES, max_size=3)
)
def test_any_values_of_options_are_taken_or_refused(tmp_path: Path, given_options: dict[str, object]) -> None:
    assert outcome(options, tomli_w.dumps(given_options).encode(), tmp_path) in ("read", "refused")


@pytest.mark.parametrize("text", [b"a = " + b"[" * 5000, b"seed = " + b"9" * 5000, b'source = "\xff"'])
def test_toml_that_python_stumbles_over_is_refused(tmp_path: Path, text: bytes) -> None:
    assert outcome(options, text, tmp_path) == "refused"


@TRIED
@given(data=st.binary(max_size=60) | st.text("a.png /\\\n\t 1-\u2028\x00", max_size=60).map(str.encode))
def test_any_bytes_are_an_image_list_or_refused(tmp_path: Path, data: bytes) -> None:
    if not (tmp_path / "a.png").exists():
        draw(tmp_path / "a.png")
    assert outcome(image_list, data, tmp_path) in ("read", "refused")


@pytest.mark.parametrize("name", PARSERS)
def test_seeds_of_the_fuzzing_are_read(tmp_path: Path, name: str) -> None:
    draw(tmp_path / "a.png")
    assert "read" in [outcome(PARSERS[name], data, tmp_path) for data in seeds(name)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("parquet", seeds("parquet")[0].replace(b"label", b"l\xa8bel")),
        ("labels", b"item,label,item,more\n,cat\na,cat\n"),
        ("labels", b"item,label\n" + b"a" * 200_000 + b",cat\n"),
    ],
)
def test_what_the_fuzzing_has_found_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    assert outcome(PARSERS[name], data, tmp_path) == "refused"


def test_table_of_bytes_that_are_no_utf_8_is_read(tmp_path: Path) -> None:
    assert outcome(PARSERS["table"], b"p,\x80\n1,2\n", tmp_path) == "read"
    assert outcome(PARSERS["table"], b"p,\x81\n1,2\n", tmp_path) == "read"  # nor Windows' Latin


def test_table_that_breaks_off_as_it_is_copied_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "IN_MEMORY", 0)
    table, cache = tmp_path / "a.parquet", tmp_path / "cache"
    parquet.write_table(pa.table({"p": np.random.default_rng(0).normal(size=100_000)}), table)
    content = table.read_bytes()
    table.write_bytes(content[:4] + b"\xff" * (len(content) - 1_004) + content[-1_000:])  # its metadata is whole
    with pytest.raises(UserError, match="cannot be read as a table"):
        read_domain(table, cache)
    assert [*cache.glob("*")] == []


def test_image_list_with_a_name_too_long_is_refused(tmp_path: Path) -> None:
    assert outcome(image_list, b"a" * 5000 + b".png 1\n", tmp_path) == "refused"


def test_mutated_pictures_are_found_before_they_are_decoded(tmp_path: Path) -> None:
    counts = fuzz_pictures(600, tmp_path)
    assert counts["skipped"] > 100
    assert counts["decoded"] > 50


def test_mutated_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    draw_folder(tmp_path, 20)
    content = draw(tmp_path / "cat" / "whole.jpg").read_bytes()
    for number in range(5):
        (tmp_path / "cat" / f"broken-{number}.jpg").write_bytes(content[: 100 * number])
    domain = read_domain(tmp_path)
    assert (len(domain), domain.skipped) == (41, 5)
    assert "5 of 46 images cannot be read" in domain.notes[0]


# Run folders edited or damaged by hand


BROKEN = (b"", b"[]", b"{}", b"null", b"\xff", b'{"task": "a')


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run on files, and beside it `kept`, the same on arrays in memory."""
    for name, seed in (("s", 1), ("t", 2)):
        write_arrays(tmp_path / f"{name}.npz", seed=seed)
    options = {"backbone": "mlp", "steps": 3, "baseline": False}
    source, target = read_domain(tmp_path / "s.npz"), read_domain(tmp_path / "t.npz")
    train(source, target, out=tmp_path / "kept", **options)
    train(tmp_path / "s.npz", tmp_path / "t.npz", out=tmp_path / "run", **options)
    return tmp_path / "run"


def test_broken_summary_is_told_and_written_again(run: Path, refused: Callable[..., str], command: Command) -> None:
    whole = json.loads((run / "summary.json").read_text("utf-8"))
    for content in BROKEN:
        (run / "summary.json").write_bytes(content)
        for verb in (("train", "--resume", run), ("analyze", run, "--out", run.parent / "figures")):
            assert "summary.json is no summary of a run" in refused(*verb)
    (run / "summary.json").unlink()
    assert command("train", "--resume", run).code == 0
    again = json.loads((run / "summary.json").read_text("utf-8"))
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}


def test_broken_features_and_records_are_told(run: Path, refused: Callable[..., str], command: Command) -> None:
    for content in (b"", b"\xff"):
        (run / "features.npz").write_bytes(content)
        assert command("train", "--resume", run).code == 0  # its report does without
        (run.parent / "kept" / "features.npz").write_bytes(content)
        assert "holds no features of a run" in refused("analyze", run.parent / "kept", "--out", run.parent / "figures")
    for content in (b"null\n", b"\xff\n"):
        (run / "metrics.jsonl").write_bytes(content)
        assert "holds no records of a training" in refused("analyze", run, "--out", run.parent / "figures")


def test_config_edited_into_nonsense_is_told(run: Path, refused: Callable[..., str]) -> None:
    whole = (run / "config.toml").read_bytes()
    for content in (b"\xff[[[", b"", whole + b"\nfoo = 1\n", whole.replace(b"steps = 3", b'steps = "many"')):
        (run / "config.toml").write_bytes(content)
        refused("train", "--resume", run)


# What grows, what loops


def test_decompression_bomb_is_skipped_and_counted(tmp_path: Path) -> None:
    draw_folder(tmp_path, 4)
    bomb = tmp_path / "cat" / "bomb.png"
    Image.new("1", (12_000, 12_000)).save(bomb)  # 144 million pixels
    assert bomb.stat().st_size < 100_000
    domain = read_domain(tmp_path)
    assert domain.skipped == 1
    assert "could be decompression bomb" in domain.notes[0]


def test_archive_that_would_grow_beyond_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((300_000, 4)))
    assert len(read_domain(tmp_path / "a.npz")) == 300_000  # a gigabyte may always be unpacked
    monkeypatch.setattr(arrays, "MOST_UNPACKED", 2**20)
    with pytest.raises(UserError, match=r"would unpack to 9,600,\d+, as a decompression bomb does; .* by np\.savez"):
        read_domain(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((300_000, 4)))
    assert len(read_domain(tmp_path / "a.npz")) == 300_000


@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_table_that_would_grow_beyond_measure_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(arrays, "IN_MEMORY", in_memory)  # 0: its features are copied to the cache, batch by batch
    bomb, cache = tmp_path / "a.parquet", tmp_path / "cache"
    parquet.write_table(pa.table({"p": np.zeros(300_000), "label": np.zeros(300_000)}), bomb)
    assert len(read_domain(bomb, cache)) == 300_000  # a gigabyte may always be unpacked
    read = {*cache.glob("*")}
    monkeypatch.setattr(arrays, "MOST_UNPACKED", 2**20)
    with pytest.raises(UserError, match=r"would unpack to 4,800,000, as a decompression bomb does; .* it as \.npy"):
        read_domain(bomb, cache)
    pages = pa.table({"p": np.repeat(np.arange(1000.0), 300), "label": np.zeros(300_000)})
    parquet.write_table(pages, bomb, use_dictionary=False, compression="zstd", compression_level=19)
    with pytest.raises(UserError, match="would unpack to 4,8"):
        read_domain(bomb, cache)
    assert {*cache.glob("*")} == read
    parquet.write_table(pa.table({"p": np.random.default_rng(0).normal(size=300_000)}), bomb)
    assert len(read_domain(bomb, cache)) == 300_000


@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_text_that_a_table_repeats_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(arrays, "IN_MEMORY", in_memory)
    size, rows = 2**20, 100_000  # 100 GB of names, were each row given its own
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["a" * size]))
    columns = {"p": np.arange(rows) % 7.0, "label": names, "item": names, "note": names}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet", store_schema=False)
    domain = read_domain(tmp_path / "a.parquet", tmp_path / "cache")
    assert domain.classes == ("a" * size,)
    assert domain.items[0] is domain.items[-1]
    _, domain, _ = fit_inputs(InputOptions(), domain, domain)
    assert "note left out" in " ".join(domain.notes)


def test_array_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "a.npy"
    np.save(whole, np.zeros((1_000_000, 1), np.float32))
    header = whole.read_bytes()[:128]
    whole.write_bytes(header.replace(b"(1000000, 1)", b"(9000000000)").replace(b"00)", b",)") + bytes(16))
    with pytest.raises(UserError, match="cannot be read as a NumPy array"):
        read_domain(whole)


def test_archive_writes_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("../escaped.npy", b"no array")
        archive.writestr("/tmp/escaped.npy", b"no array")
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(UserError):
        read_domain(tmp_path / "a.npz")
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_links_that_loop_are_left_alone(tmp_path: Path) -> None:
    draw_folder(tmp_path / "a", 3)
    (tmp_path / "a" / "cat" / "up").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a" / "dog" / "self.png").symlink_to(tmp_path / "a" / "dog" / "self.png")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    domain = read_domain(tmp_path / "a")
    assert (len(domain), domain.skipped) == (6, 1)
    with pytest.raises(UserError, match="does not exist"):
        read_domain(tmp_path / "a" / "self")


# Names


NAMES = (
    *("two\nlines", "a\rreturn", 'say "this", please', "<script>alert(1)</script>", "&amp;", "'; drop"),
    *("\u202egpj.exe", "=1+1", "{{ 7 * 7 }}"),
)


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.text = 0, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_of_rows_and_classes_are_shown_as_text(tmp_path: Path, command: Command) -> None:
    generator = np.random.default_rng(0)
    for role in ("s", "t"):
        columns = {"p": generator.normal(size=len(NAMES)), "q": generator.normal(size=len(NAMES))}
        parquet.write_table(pa.table({**columns, "item": NAMES, "label": NAMES}), tmp_path / f"{role}.parquet")
    outcome = command(
        *("train", "--source", tmp_path / "s.parquet", "--target", tmp_path / "t.parquet", "--out", tmp_path / "run"),
        *("--backbone", "none", "--steps", 2, "--batch-size", 4, "--no-baseline"),
    )
    assert outcome.code == 0
    with (tmp_path / "run" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows] == [row["label"] for row in rows] == [*NAMES]
    page = _Page()
    page.feed((tmp_path / "run" / "report.html").read_text("utf-8"))
    assert page.scripts == 0
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\u202e" not in page.text
    assert "\\u202egpj.exe" in page.text
