"""Tables as people have them: every separator and encoding, columns by name, gaps, categories, an index among them."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import Command, draw
from pyarrow import feather, parquet

from jointadapt import Model, train
from jointadapt.data import Domain, arrays, read_domain
from jointadapt.data.kinds import Reading
from jointadapt.data.mapped import MappedRows
from jointadapt.data.table_rows import TableRows
from jointadapt.data.tables import from_table
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.table import TableColumns

AGE = [31.5, 47.0, 28.25, 60.0]
COLOUR = ["red", "blue", "red", "blue"]
PLAIN = "age,colour,label\n31.5,red,a\n47,blue,b\n28.25,red,a\n60,blue,b\n"
QUICK = {"steps": 3, "batch_size": 8, "baseline": False, "report": False, "device": "cpu"}
FAST = ("--steps", 3, "--batch-size", 8, "--no-baseline", "--no-report", "--device", "cpu")


def table(domain: Domain) -> pa.Table:
    assert isinstance(domain.content, TableRows)
    return domain.content.table


def numbers(domain: Domain) -> torch.Tensor:
    assert isinstance(domain.content, torch.Tensor)
    return domain.content


def fitted(source: Domain, target: Domain, **options) -> tuple[TableColumns, Domain, Domain]:
    """Return the step for two domains, as a model's file gives it back, and what it makes of both."""
    step = TableColumns.fit(InputOptions(**options), source, target)
    assert step is not None
    kept = TableColumns.restore(json.loads(json.dumps(step.values())), {})
    again = kept.target(target)
    found = step.target(target)
    assert torch.equal(numbers(again), numbers(found))
    assert again.notes == found.notes
    return step, step.source(source), found


def patients(rows: int = 60, seed: int = 0, shift: float = 0.0) -> dict[str, list]:
    """Return columns of which age and ward say the class."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 2, rows)
    ward = np.where(generator.random(rows) < 0.8, np.array(["north", "south"])[y], "east")
    ages = generator.normal(40 + 20 * y, 4) + shift
    return {
        "age": ages.round(3).tolist(),
        "pulse": generator.normal(70, 5, rows).round(3).tolist(),
        "ward": ward.tolist(),
        "label": np.array(["ill", "well"])[y].tolist(),
    }


def write(path: Path, columns: dict[str, list]) -> Path:
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n", "utf-8")
    return path


# Text with separators


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", PLAIN.encode()),
        ("semicolons.csv", PLAIN.replace(",", ";").encode()),
        ("decimal_commas.csv", PLAIN.replace(",", ";").replace(".", ",").encode()),
        ("tabs.tsv", PLAIN.replace(",", "\t").encode()),
        ("tabs.csv", PLAIN.replace(",", "\t").encode()),
        ("bars.csv", PLAIN.replace(",", "|").encode()),
        ("blanks.data", PLAIN.replace(",", "   ").replace("\n", " \n ").encode()),
        ("blanks_behind_commas.csv", PLAIN.replace(",", ", ").encode()),
        ("quotes.csv", "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in PLAIN.split()).encode()),
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("utf16.csv", PLAIN.encode("utf-16")),
        ("utf16_without_bom.csv", PLAIN.encode("utf-16-le")),
        ("windows.csv", PLAIN.replace("\n", "\r\n").encode()),
        ("old_mac.csv", PLAIN.replace("\n", "\r").encode()),
        ("excel.csv", b"sep=;\n" + PLAIN.replace(",", ";").encode()),
        ("comments.csv", b"# exported, today\n\n" + PLAIN.encode()),
        ("hash_before_header.csv", b"#" + PLAIN.encode()),
        ("blank_lines.csv", PLAIN.replace("\n", "\n\n").encode()),
        ("packed.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),  # the test is named by it
        ("packed.tsv.bz2", bz2.compress(PLAIN.replace(",", "\t").encode())),
        ("packed.csv.xz", lzma.compress(PLAIN.encode())),
    ],
)
def test_a_table_in_any_dress_is_the_table(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    domain = read_domain(tmp_path / name)
    assert table(domain).to_pydict() == {"age": AGE, "colour": COLOUR}
    assert domain.classes == ("a", "b")
    assert domain.labels.tolist() == [0, 1, 0, 1]
    assert domain.name == name.partition(".")[0]
    assert domain.kind == "table"


def test_text_that_is_no_utf_8_is_read_as_windows_latin_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(PLAIN.replace(",a", ",été").encode("latin-1"))
    domain = read_domain(tmp_path / "a.csv")
    assert domain.classes == ("b", "été")
    assert "no UTF-8, and read as Windows' Latin text" in " ".join(domain.notes)


def test_a_file_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PLAIN.partition("\n")[2])
    domain = read_domain(tmp_path / "a.csv", reading=Reading(label_column="c2"))
    assert table(domain).to_pydict() == {"c0": AGE, "c1": COLOUR}
    assert domain.classes == ("a", "b")
    assert "first line (31.5, red, a) holds values and no names" in domain.notes[0]
    (tmp_path / "texts.csv").write_text("p,x,s\ne,x,s\np,y,t\ne,y,t\n")  # letters alone: the first row comes again
    assert len(read_domain(tmp_path / "texts.csv")) == 4


@pytest.mark.parametrize("header", ["400,405,410.5,413,420,433", "0,1,2", "f1,2,f3", "a,b,c", "x,y,?"])
def test_a_header_of_numbers_or_odd_names_is_a_header(tmp_path: Path, header: str) -> None:
    width = header.count(",") + 1
    rows = "\n".join(",".join(f"{row}.{place}7" for place in range(width)) for row in range(5))
    (tmp_path / "a.csv").write_text(f"{header}\n{rows}\n")
    content = read_domain(tmp_path / "a.csv", reading=Reading(label_column="none")).content
    assert isinstance(content, TableRows)
    assert content.names == tuple(header.split(","))
    assert len(content) == 5


@pytest.mark.parametrize(
    ("cells", "expected", "says"),
    [
        (['"1,029"', '"12,345"', "7"], [1029, 12345, 7], "commas are read as grouping digits in a"),
        (['"1,5"', '"2,25"', "7"], [1.5, 2.25, 7], "commas are read as decimal points in a"),
        (["5%", "7.5 %", "1%"], [5, 7.5, 1], ""),
        (["?", "2", "3"], [None, 2, 3], ""),
        (["-", "2", "3"], [None, 2, 3], ""),
        ([" NA", "2", " 3"], [None, 2, 3], ""),
        (["1e3", "-2.5E-1", "+3"], [1000, -0.25, 3], ""),
        (["True", "false", ""], [True, False, None], ""),
        (["1 234", "2", "3"], [1234, 2, 3], ""),
    ],
)
def test_numbers_as_people_write_them(tmp_path: Path, cells: list[str], expected: list, says: str) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{cell},{row}\n" for row, cell in enumerate(cells)))
    domain = read_domain(tmp_path / "a.csv")
    assert table(domain).column("a").to_pylist() == expected
    assert says in " ".join(domain.notes)
    assert bool(says) == bool(domain.notes)


def test_all_rows_say_what_a_column_is_however_many_there_are(tmp_path: Path) -> None:
    rows = ["1"] * 400_000  # a megabyte is no limit
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{cell},2\n" for cell in [*rows, "2.5", "?"]))
    assert table(read_domain(tmp_path / "a.csv")).column("a").to_pylist()[-2:] == [2.5, None]
    names = [f"g{place}" for place in range(20_000)]  # and a row may be longer
    row = ",".join(["0." + 60 * "1"] * len(names))
    (tmp_path / "wide.csv").write_text("\n".join([",".join(names), row, row]))
    assert read_domain(tmp_path / "wide.csv").shape == (20_000,)


def test_a_packed_table_that_would_grow_beyond_measure_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(arrays, "MOST_UNPACKED", 2**16)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 2**18))
    with pytest.raises(UserError, match=r"as a decompression bomb does; if it is none, save it not compressed"):
        read_domain(tmp_path / "a.csv.gz")


# Which column is what


def test_two_columns_that_may_be_the_label_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,label\n1,2,a\n3,4,b\n")
    with pytest.raises(UserError, match=r"'y' and 'label' may each be the label; name it with --label-column"):
        read_domain(tmp_path / "a.csv")
    domain = read_domain(tmp_path / "a.csv", reading=Reading(label_column="label"))
    assert table(domain).column_names == ["x", "y"]


@pytest.mark.parametrize("name", ["label", " label", "Label ", "CLASS", "\ufefflabel", "species"])
def test_the_label_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text(f"{name},p\na,1\nb,2\n", "utf-8")
    reading = Reading(label_column="Species" if name == "species" else "")
    domain = read_domain(tmp_path / "a.csv", reading=reading)
    assert domain.classes == ("a", "b")
    assert table(domain).column_names == ["p"]


def test_columns_of_names_name_the_rows_and_numbers_called_so_are_features() -> None:
    domain = from_table(pa.table({"id": [7, 9], "name": ["u", "v"], "path": [0.5, 1.5], "label": ["a", "b"]}))
    assert domain.items == ("7", "9")
    assert table(domain).column_names == ["name", "path"]


def test_two_columns_of_one_name_and_no_columns_are_refused() -> None:
    with pytest.raises(UserError, match="two columns of one name, 'a'"):
        from_table(pa.table([[1], [2]], names=["a", " a"]))
    with pytest.raises(UserError, match="no columns but for labels and names"):
        from_table(pa.table({"label": ["a"], "name": ["u"]}))


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_one_table_is_split_by_its_domain_column(tmp_path: Path, suffix: str) -> None:
    columns = {"site": ["A", "B", "A", "C"], "p": [1.5, 2.5, 3.5, 4.5], "label": ["a", "b", "b", "a"]}
    path = tmp_path / f"all.{suffix}"
    writers = {"parquet": parquet.write_table, "feather": feather.write_feather}
    write(path, columns) if suffix == "csv" else writers[suffix](pa.table(columns), path)
    only = read_domain(path, reading=Reading(domain_column="site", only="A"))
    assert (only.name, table(only).to_pydict(), only.labels.tolist()) == ("A", {"p": [1.5, 3.5]}, [0, 1])
    rest = read_domain(path, reading=Reading(domain_column="Site", but="A"))
    assert (rest.name, table(rest).to_pydict()) == ("all but A", {"p": [2.5, 4.5]})
    with pytest.raises(UserError, match="no rows of the domain 'D' in site; it has A, B, C"):
        read_domain(path, reading=Reading(domain_column="site", only="D"))
    with pytest.raises(UserError, match="no column 'place' to tell its domains apart"):
        read_domain(path, reading=Reading(domain_column="place", only="A"))


def test_a_table_of_image_names_is_a_list_of_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(tmp_path / "train" / name)
    (tmp_path / "train.csv").write_text("filename,breed\na.png,pug\nb.png,boxer\n")
    domain = read_domain(tmp_path / "train.csv")
    assert domain.holds_images
    assert domain.classes == ("boxer", "pug")
    assert domain.labels.tolist() == [1, 0]
    (tmp_path / "train.csv").write_text("width,filename,label\n32,a.png,pug\n32,c.png,boxer\n")
    with pytest.raises(UserError, match=r"names images, and 1 of 2 are not there, the first is c\.png"):
        read_domain(tmp_path / "train.csv")
    (tmp_path / "train.csv").write_text("filename,kind,site,age\na.png,pug,A,3\nb.png,boxer,B,7\n")
    part = read_domain(tmp_path / "train.csv", reading=Reading("images", "kind", "site", only="B"))
    assert (part.name, part.classes[part.labels.tolist()[0]]) == ("B", "boxer")
    as_table = read_domain(tmp_path / "train.csv", reading=Reading(kind="features"))
    assert table(as_table).column_names == ["filename", "kind", "site", "age"]


# Columns → numbers


def frame(name: str = "frame", **columns) -> Domain:
    return from_table(pa.table(columns), name)


def test_columns_are_matched_by_name() -> None:
    source = frame(a=[1.0, 2.0], b=[3, 4], flag=[True, False], label=["u", "v"])
    target = frame(flag=[0, 1], b=[3, 4], more=["x", "y"], a=[1.0, 2.0])
    _, ours, theirs = fitted(source, target)
    assert ours.columns == theirs.columns == ("a", "b", "flag")
    assert numbers(ours).tolist() == [[1, 3, 1], [2, 4, 0]]
    assert numbers(theirs).tolist() == [[1, 3, 0], [2, 4, 1]]
    assert "more left out, as the source has no such column" in theirs.notes[0]
    with pytest.raises(UserError, match=r"lacks the column b, which the source has \(its own columns: a, flag\)"):
        fitted(source, frame(a=[1.0], flag=[True]))
    respelt = frame(A=[1.0, 2.0], **{"Flag ": [True, False]}, b=[3, 4])
    assert torch.equal(numbers(fitted(source, respelt)[2]), numbers(ours))
    assert "another spelling are read as the source's: A as a, Flag as flag" in fitted(source, respelt)[2].notes[0]


def test_categories_are_one_hot_and_unseen_ones_told() -> None:
    source = frame(colour=["red", "blue", "red", "blue"], a=[1.0, 2.0, 3.0, 4.0])
    target = frame(colour=["Blue", "green", "green", "red"], a=[1.0, 2.0, 3.0, 4.0])
    _, ours, theirs = fitted(source, target)
    assert ours.columns == ("a", "colour = blue", "colour = red")
    assert numbers(ours)[:, 1:].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert numbers(theirs)[:, 1:].tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]
    assert "the source has no colour = green (2 rows)" in theirs.notes[0]
    known = pa.array(["red", "blue", "red", "blue"]).dictionary_encode()
    assert torch.equal(numbers(fitted(frame(colour=known, a=[1.0, 2.0, 3.0, 4.0]), target)[1]), numbers(ours))


def test_missing_values_are_counted_by_column_or_filled_as_the_source() -> None:
    source = frame("s", a=[1.0, None, 3.0, 8.0, 3.0], b=[1, 2, 3, 9, 2], c=["u", "?", "u", "v", "u"])
    target = frame("t", a=[None, None, 5.0], b=[None, 7, 8], c=["v", "", "u"])
    counts = r"s: a \(1 row\), c \(1\); t: a \(2 rows\), b \(1\), c \(1\)"
    with pytest.raises(UserError, match=rf"missing, by column: {counts}\. Fill .* by --missing fill"):
        fitted(source, target)
    _, ours, theirs = fitted(source, target, missing="fill")
    assert ours.columns == ("a", "b", "a is missing", "c = u", "c = v", "c = missing")
    assert numbers(ours)[1].tolist() == [3, 2, 1, 0, 0, 1]
    assert numbers(theirs).tolist() == [[3, 2, 1, 0, 1, 0], [3, 7, 1, 0, 0, 1], [5, 8, 0, 1, 0, 0]]
    assert "values are missing in a (1 row), c (1); they are filled" in " ".join(ours.notes)
    assert "values are missing in a (2 rows), b (1), c (1)" in " ".join(theirs.notes)
    with pytest.raises(UserError, match=r"missing, by column: t: a \(2 rows\), b \(1\)"):
        fitted(frame("s", a=[1.0, 2.0], b=[1, 2]), frame("t", a=[None, None, 5.0], b=[None, 7, 8]))


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("Unnamed: 0", [3, 1, 2, 3] * 3, "an index"),
        ("__index_level_0__", [5, 1, 2, 3] * 3, "an index"),
        ("", [*range(12)], "an index"),
        ("rank", [*range(12)], "an index"),
        ("number", [*range(12, 0, -1)], "an index"),
        ("time", [1_600_000_000 + 60 * row for row in range(12)], "an index"),
        ("user_id", [50, 3, 7, 9, 12, 1, 4, 2, 80, 60, 55, 99], "an index"),
        ("empty", [None] * 12, "empty"),
        ("spaces", [""] * 12, "empty"),
        ("key", [9_007_199_254_740_993 + 2 * (row % 5) for row in range(12)], "integers beyond"),
        ("comment", [f"said {row}" for row in range(12)], "text that differs from row to row"),
        ("unit", ["mm"] * 12, "one text in every row"),
        ("struct", [{"a": 1}] * 12, "of type struct"),
    ],
)
def test_what_is_no_feature_is_left_out_with_its_reason(name: str, values: list, why: str) -> None:
    p = np.random.default_rng(0).normal(size=12)
    source = from_table(pa.table({name: values, "p": p}))
    _, ours, theirs = fitted(source, from_table(pa.table({"p": p})))
    assert ours.columns == theirs.columns == ("p",)
    assert f"{name or 'one without a name'} left out, as {why}" in ours.notes[0]
    assert not theirs.notes


@pytest.mark.parametrize(
    "values", [[50, 3, 7, 9, 12, 1, 4, 2, 80, 60], [*range(9)], [0.5 + row for row in range(12)], [1, 1, 2, 2] * 3]
)
def test_numbers_that_only_look_like_an_index_stay(values: list) -> None:
    domain = from_table(pa.table({"a": values, "p": np.random.default_rng(0).normal(size=len(values))}))
    assert fitted(domain, domain)[1].columns == ("a", "p")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([f"2024-01-{day:02d}" for day in range(1, 13)], r"'day' holds dates or times \(2024-01-01\); make numbers"),
        ([f"{day}/3/2024 10:15" for day in range(1, 13)], "holds dates or times"),
        ([f"{day} Mar 2024" for day in range(1, 13)], "holds dates or times"),
        (pa.array(range(12)).cast(pa.timestamp("s")), "holds dates or times"),
        (pa.array(range(12)).cast(pa.duration("s")), "holds dates or times"),
        ([*(f"{row}.5" for row in range(11)), "oops"], r"'day' holds numbers, but 'oops' in row 11 \(counted from 0\)"),
    ],
)
def test_dates_and_texts_among_numbers_are_refused_by_name(values, says: str) -> None:
    domain = from_table(pa.table({"day": values, "p": np.random.default_rng(0).normal(size=12)}), "clinic")
    with pytest.raises(UserError, match=f"clinic: column {says}" if says.startswith("'") else says):
        fitted(domain, domain)


def test_a_text_where_the_source_has_numbers_is_told_by_row() -> None:
    with pytest.raises(UserError, match=r"t: column 'a' is of numbers in the source, and holds 'heavy' in row 1"):
        fitted(frame(a=[1.5, 2.5]), frame("t", a=["1.5", "heavy"]))
    assert numbers(fitted(frame(a=[1.5, 2.5]), frame(a=["1.5", "7"]))[2]).tolist() == [[1.5], [7]]


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_values_that_are_no_numbers_of_a_network_are_told(value: float) -> None:
    with pytest.raises(UserError, match=r"'a' holds infinite values, or values beyond 3e38, in 1 of 3 rows .*: 1\)"):
        fitted(frame(a=[1.0, value, 2.0]), frame(a=[1.0]))


def test_lists_of_one_length_are_columns_and_decimals_numbers() -> None:
    embedding = pa.array([[1.0, 2.0], [3.0, 5.0]])
    price = pa.array([1.5, 2.25]).cast(pa.decimal128(6, 2))
    domain = from_table(pa.table({"e": embedding, "price": price, "half": np.array([1, 2], np.float16)}))
    assert fitted(domain, domain)[1].columns == ("e[0]", "e[1]", "price", "half")
    assert numbers(fitted(domain, domain)[1]).tolist() == [[1, 2, 1.5, 1], [3, 5, 2.25, 2]]


def test_columns_without_names_are_taken_in_order_and_said() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    table_, plain = frame(a=[1.0, 3.0], b=[2.0, 5.0]), arrays.from_arrays(x, name="plain")
    for source, target in ((table_, plain), (plain, table_)):
        _, ours, theirs = fitted(source, target)
        assert torch.equal(numbers(ours), x)
        assert torch.equal(numbers(theirs), x)
        assert "its 2 columns have no names, and are taken in their order" in " ".join(ours.notes + theirs.notes)
    assert TableColumns.fit(InputOptions(), plain, plain) is None


def test_a_table_on_disk_is_matched_by_name(tmp_path: Path, monkeypatch) -> None:
    columns = {f"f{place}": np.random.default_rng(place).normal(size=30) for place in range(3)}
    labels = ["a", "b"] * 15
    parquet.write_table(pa.table({**columns, "row": range(30), "label": labels}), tmp_path / "s.parquet")
    parquet.write_table(pa.table({**dict(reversed(columns.items())), " f3": labels}), tmp_path / "t.parquet")
    expected = fitted(read_domain(tmp_path / "s.parquet"), read_domain(tmp_path / "t.parquet"))
    monkeypatch.setattr(arrays, "IN_MEMORY", 1)
    source, target = read_domain(tmp_path / "s.parquet"), read_domain(tmp_path / "t.parquet")
    assert isinstance(target.content, MappedRows)
    step = TableColumns.fit(InputOptions(), source, target)
    assert step is not None
    ours, theirs = step.source(source), step.target(target)
    assert ours.columns == expected[1].columns == ("f0", "f1", "f2")
    for found, known in ((ours, expected[1]), (theirs, expected[2])):
        assert torch.equal(found.rows(range(30)), numbers(known))
    assert "row left out, as an index" in " ".join(ours.notes)
    assert torch.equal(theirs.select([3, 1]).rows([1]), numbers(expected[2])[[1]])


# Trained on, and used


def test_a_run_on_tables_takes_columns_in_any_order(tmp_path: Path, command: Command) -> None:
    source, columns = patients(), patients(40, 1, shift=1.0)
    shuffled = {name: columns[name] for name in ("ward", "label", "age", "pulse")}
    paths = [write(tmp_path / f"{name}.csv", columns) for name, columns in (("s", source), ("t", columns))]
    other = write(tmp_path / "other.csv", shuffled)
    predictions = []
    for target in (paths[1], other):
        out = tmp_path / f"run-{target.stem}"
        outcome = command("train", "--source", paths[0], "--target", target, "--out", out, *FAST)
        assert (outcome.code, outcome.err.count("warning")) == (0, 0)
        predictions.append((out / "predictions.csv").read_text())
    assert predictions[0] == predictions[1]
    told = [command("predict", tmp_path / "run-t", path).out for path in (paths[1], other)]
    assert told[0] == told[1]
    accuracies = [command("evaluate", tmp_path / "run-t", path, "--json").out for path in (paths[1], other)]
    assert accuracies[0] == accuracies[1]
    found = json.loads(command("shift", paths[1], other, "--permutations", 99, "--json").out)
    assert found["tests"][0]["p_value"] > 0.9
    (tmp_path / "odd.csv").write_text("pulse,age,ward,room\n70,44,west,3\n")
    outcome = command("predict", tmp_path / "run-t", tmp_path / "odd.csv")
    assert outcome.code == 0
    assert "odd: room left out, as the source has no such column" in outcome.err
    assert "the source has no ward = west (1 row)" in outcome.err


def test_a_run_is_refused_for_columns_that_are_missing(tmp_path: Path, refused) -> None:
    source = write(tmp_path / "s.csv", patients())
    target = write(tmp_path / "t.csv", {name: values for name, values in patients().items() if name != "pulse"})
    line = refused("train", "--source", source, "--target", target, "--out", tmp_path / "run", *FAST)
    assert "t lacks the column pulse, which the source has" in line
    assert "lacks 3 columns age, pulse, ward" in refused(
        "shift", source, write(tmp_path / "u.csv", {"label": [1, 0], "p": [3, 4]})
    )
    assert "name the column that holds them with --label-column (its columns: age, pulse, ward)" in refused(
        *("train", "--source", write(tmp_path / "n.csv", {k: v for k, v in patients().items() if k != "label"})),
        *("--target", target, "--out", tmp_path / "run"),
    )


def test_one_table_is_both_domains(tmp_path: Path, command: Command, refused) -> None:
    columns = patients()
    path = write(tmp_path / "all.csv", {"site": ["A", "B", "C"] * 20, **columns})
    run, table_options = tmp_path / "run", ("--domain-column", "site", "--target-domain", "B")
    assert command("train", "--source", path, *table_options, "--out", run, *FAST).code == 0
    assert len((run / "predictions.csv").read_text().splitlines()) == 21
    assert len(command("predict", run, path).out.splitlines()) == 61
    assert len(command("predict", run, path, "--target-domain", "C").out.splitlines()) == 21
    assert "row 1," in command("suggest-labels", run, "--budget", 20).out
    assert command("train", "--resume", run).code == 0
    found = json.loads(command("shift", path, *table_options, "--permutations", 19, "--json").out)
    assert (found["source"]["examples"], found["target"]["examples"]) == (40, 20)
    in_memory = train(path, domain_column="site", source_domain="A", target_domain="B", **QUICK)
    assert in_memory.summary.task == "A → B"
    options = ("--source", path, "--domain-column", "site", "--out", tmp_path / "other")
    assert "it has A, B, C" in refused("train", *options, "--target-domain", "D")
    assert "no target is given; name one with --target, or, where one table" in refused("train", *options)
    assert "no target is given; where one table holds both" in refused("shift", path)


def test_gaps_are_refused_or_filled_and_the_model_fills_alike(tmp_path: Path, command: Command, refused) -> None:
    source, columns = patients(), patients(40, 1)
    columns["age"][3], columns["ward"][4], source["age"][5] = "?", "NA", ""
    paths = [write(tmp_path / f"{name}.csv", columns) for name, columns in (("s", source), ("t", columns))]
    arguments = ("train", "--source", paths[0], "--target", paths[1], "--out", tmp_path / "run", *FAST)
    assert "by column: s: age (1 row); t: age (1 row), ward (1)" in refused(*arguments)
    outcome = command(*arguments, "--missing", "fill")
    assert outcome.code == 0
    assert "t: values are missing in age (1 row), ward (1); they are filled by the source's" in outcome.err
    model = Model.load(tmp_path / "run")
    (step,) = model.inputs.steps[:1]
    assert isinstance(step, TableColumns)
    assert step.gaps == ("age",)
    written = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    assert len(written) == len(command("predict", tmp_path / "run", paths[1]).out.splitlines()) == 41


def test_an_index_leaks_no_class(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    y = np.sort(generator.integers(0, 3, 90)).tolist()
    paths = []
    for name in ("s", "t"):
        noise = {f"f{place}": generator.normal(size=90).tolist() for place in range(3)}
        paths.append(write(tmp_path / f"{name}.csv", {"": [*range(90)], **noise, "label": y}))
    with pytest.warns(UserWarning, match="s: one without a name left out, as an index"):
        run = train(*paths, steps=60, baseline=False, method="source-only", report=False)
    assert run.summary.evaluation is not None
    assert run.summary.evaluation.accuracy < 55  # 72 where the index is a feature
