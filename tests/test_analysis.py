"""Analyses: the A-distance is not fooled, every figure draws the numbers beside it, bad input is one line."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES, SPLITS, Command, draw_folder, write_arrays
from matplotlib.figure import Figure
from PIL import Image

from jointadapt import train
from jointadapt.analysis import analyze, charts
from jointadapt.analysis.outputs import Observer
from jointadapt.discrepancy import jmmd_unbiased
from jointadapt.discrepancy.a_distance import FEWEST_PER_DOMAIN, STRENGTHS, _split, a_distance
from jointadapt.errors import UserError
from jointadapt.runs.model import Model
from jointadapt.runs.reading import read_run
from jointadapt.runtime.progress import silent

Refused = Callable[..., str]
FIGURES = ("tsne", "a-distance", "jmmd", "convergence", "discrepancy")


def normal(rows: int, columns: int, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return shift + torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


# The A-distance


def test_a_distance_of_one_distribution_is_near_0() -> None:
    found = a_distance(normal(300, 5), normal(300, 5, seed=1))
    assert found.distance < 0.25
    assert found.error == pytest.approx(0.5, abs=0.06)


def test_a_distance_of_separable_samples_is_2() -> None:
    found = a_distance(normal(60, 5), normal(60, 5, shift=10, seed=1))
    assert found.distance == 2
    assert found.error == 0


def test_a_distance_of_two_gaussians_is_that_of_their_best_classifier() -> None:
    """N(0, I) and N(μ, I): the best error is Φ(−‖μ‖/2), that of a linear classifier."""
    best = torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(-1.0)).item()
    x, y = normal(2000, 3), normal(2000, 3, seed=1)
    y[:, 0] += 2
    assert a_distance(x, y).distance == pytest.approx(2 * (1 - 2 * best), abs=0.08)


def test_few_rows_and_many_columns_are_no_difference() -> None:
    """The trap: one distribution, 40 rows in 256 columns. Rows that were fitted to say 2, held-out rows do not."""
    found = a_distance(normal(40, 256), normal(40, 256, seed=1))
    assert found.seen > 1.99
    assert found.distance < 0.6


def test_unequal_sizes_are_no_difference() -> None:
    """Naming the larger domain is right for 19 of 20 rows; of as many rows of both, for half."""
    found = a_distance(normal(1000, 4), normal(50, 4, seed=1))
    assert found.rows == 50
    assert found.distance < 0.6


def test_a_distance_is_the_same_on_every_call_and_of_either_order() -> None:
    x, y = normal(80, 4), normal(80, 4, shift=0.5, seed=1)
    assert a_distance(x, y) == a_distance(x, y)
    assert a_distance(x, y).distance == pytest.approx(a_distance(y, x).distance, abs=0.3)


@pytest.mark.parametrize("splits", [1, 2, 3])
def test_the_standard_error_is_that_of_the_mean_over_splits(splits: int) -> None:
    x, y = normal(40, 3), normal(50, 3, shift=0.7, seed=1)
    errors = np.array([_split(((x, None), (y, None)), 40, number) for number in range(splits)])
    held, seen = 2 * (1 - 2 * errors.T)
    found = a_distance(x, y, splits)
    assert found.error == pytest.approx(errors[:, 0].mean())
    assert found.distance == pytest.approx(held.mean())
    assert found.seen == pytest.approx(seen.mean())
    expected = held.std(ddof=1) / np.sqrt(splits) if splits > 1 else 0.0
    assert found.standard_error == pytest.approx(expected)


def test_of_equally_good_strengths_the_most_careful_is_held_against_new_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x, tried = normal(60, 3), []

    def error(fitted: list[torch.Tensor], judged: list[torch.Tensor], strength: float) -> float:
        tried.append(([len(part) for part in (*fitted, *judged)], strength))
        return 0.2 if strength in STRENGTHS[1:3] else 0.3

    monkeypatch.setattr("jointadapt.discrepancy.a_distance._domain_error", error)
    assert _split(((x, None), (x + 1, None)), 60, 0) == (0.2, 0.3)
    *choice, held, seen = tried
    assert choice == [([20, 20, 10, 10], strength) for strength in STRENGTHS]
    assert held == ([30, 30, 30, 30], STRENGTHS[1])
    assert seen == ([30, 30, 30, 30], STRENGTHS[-1])


def test_too_few_rows_are_told() -> None:
    assert a_distance(normal(FEWEST_PER_DOMAIN, 2), normal(60, 2), splits=1).rows == FEWEST_PER_DOMAIN
    with pytest.raises(UserError, match="half of them to be held out; got 11 and 60"):
        a_distance(normal(FEWEST_PER_DOMAIN - 1, 2), normal(60, 2))


# Figures


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two methods on files, two seeds each, with their source-only runs within."""
    folder = tmp_path_factory.mktemp("runs")
    write_arrays(folder / "s.npz", 60, seed=1)
    write_arrays(folder / "t.npz", seed=2, shift=0.7)
    options = {"backbone": "none", "bottleneck": 8, "steps": 30, "batch_size": 8, "report": False}
    for method in ("dan", "jan"):
        for seed in (0, 1):
            out = folder / f"{method}-{seed}"
            train(folder / "s.npz", folder / "t.npz", out, method=method, seed=seed, **options)
    return folder


@pytest.fixture(scope="module")
def written(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysis")
    analyze([runs]).write(folder)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_has_its_files_and_a_place_on_the_page(written: Path) -> None:
    page = (written / "analysis.html").read_text("utf-8")
    for name in FIGURES:
        assert len(table(written / f"{name}.csv")) >= 3
        assert (written / f"{name}.svg").read_text("utf-8").startswith("<?xml")
        with Image.open(written / f"{name}.png") as picture:
            assert min(picture.size) > 300
        assert f'href="{name}.csv"' in page
    assert page.count("<svg") == len(FIGURES)
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert "--sweep trade_off makes them" in page
    assert "--sweep bandwidth makes them" in page


def test_source_only_runs_count_once(runs: Path) -> None:
    """Each method's run holds a source-only run of the same seed: two seeds, so two of them."""
    found = [(run.method, run.config.seed) for run in analyze([runs]).runs]
    assert sorted(found) == [(m, s) for m in ("dan", "jan", "source-only") for s in (0, 1)]


def test_auto_is_a_run_like_others(tmp_path: Path) -> None:
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2, shift=0.7)
    options = {"backbone": "none", "bottleneck": 8, "steps": 12, "batch_size": 8, "report": False}
    train(tmp_path / "s.npz", tmp_path / "t.npz", tmp_path / "run", method="auto", **options)
    analysis = analyze([tmp_path / "run"])
    trained = [(run.method, run.config.align) for run in analysis.runs]
    plain = [("auto", "no"), ("source-only", "no"), ("jan+mcc", "no"), ("mcc", "no"), ("shot", "no")]
    assert sorted(trained) == sorted([*plain, ("mcc", "columns"), ("source-only", "columns")])
    assert {row["method"] for row in analysis.specs[-1].rows} == {run.method for run in analysis.runs}


def points(figure: Figure) -> set[tuple[float, float]]:
    """Return every point that is drawn, as a line or as a mark."""
    found = set()
    for axes in figure.axes:
        for line in axes.lines:
            found |= {(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}  # pyright: ignore
        for marks in axes.collections:
            found |= {(float(x), float(y)) for x, y in np.ma.getdata(marks.get_offsets())}
    return found


def test_maps_draw_their_table(written: Path) -> None:
    rows = table(written / "tsne.csv")
    assert [row["method"] for row in rows] == ["source-only"] * 100 + ["dan"] * 100 + ["jan"] * 100
    numbers = [{**row, "x": float(row["x"]), "y": float(row["y"])} for row in rows]
    assert points(charts.draw_maps(numbers)) == {(row["x"], row["y"]) for row in numbers}


def test_curves_draw_their_table(written: Path) -> None:
    rows = [{**r, "step": int(r["step"]), "value": float(r["value"])} for r in table(written / "convergence.csv")]
    assert points(charts.draw_curves(rows)) == {(row["step"], row["value"]) for row in rows}
    assert {row["quantity"] for row in rows} == {"target error, %", "risk on the source", "transfer"}
    assert not [row for row in rows if row["method"] == "source-only" and row["quantity"] == "transfer"]


def test_scatter_draws_its_table(written: Path) -> None:
    keys = ("jmmd", "a_distance", "accuracy")
    rows = [{**row, **{key: float(row[key]) for key in keys}} for row in table(written / "discrepancy.csv")]
    drawn = points(charts.draw_scatter(rows, [("jmmd", "j"), ("a_distance", "a")]))
    assert drawn == {(row[key], row["accuracy"]) for row in rows for key in keys[:2]}


@pytest.mark.parametrize(("name", "value"), [("a-distance", "a_distance"), ("jmmd", "jmmd")])
def test_bars_draw_their_table(written: Path, name: str, value: str) -> None:
    rows = [
        {**r, value: float(r[value]), "standard_error": float(r["standard_error"])}
        for r in table(written / f"{name}.csv")
    ]
    (axes,) = charts.draw_bars(rows, value, "").axes
    assert sorted(bar.get_height() for bar in axes.patches) == sorted(row[value] for row in rows)  # pyright: ignore


def test_numbers_are_those_of_the_model_on_the_whole_domains(runs: Path, written: Path) -> None:
    row = next(r for r in table(written / "discrepancy.csv") if r["method"] == "jan" and r["seed"] == "1")
    model = Model.load(row["run"])
    from jointadapt import read_domain

    source, target = (list(model.outputs(read_domain(runs / name))) for name in ("s.npz", "t.npz"))
    assert float(row["jmmd"]) == pytest.approx(jmmd_unbiased(source, target).item(), abs=1e-6)
    assert float(row["a_distance"]) == a_distance(source[0], target[0], SPLITS).distance
    summary = json.loads((Path(row["run"]) / "summary.json").read_text())
    assert float(row["accuracy"]) == summary["evaluation"]["accuracy"]


def test_means_and_errors_are_over_runs(written: Path) -> None:
    one = [float(r["jmmd"]) for r in table(written / "discrepancy.csv") if r["method"] == "dan"]
    (row,) = [r for r in table(written / "jmmd.csv") if r["method"] == "dan"]
    assert float(row["jmmd"]) == pytest.approx(np.mean(one))
    assert float(row["standard_error"]) == pytest.approx(np.std(one, ddof=1) / 2**0.5)


def test_the_same_runs_give_the_same_files(runs: Path, written: Path, tmp_path: Path) -> None:
    analyze([runs]).write(tmp_path)
    for path in written.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_unlabelled_targets_have_no_accuracy(tmp_path: Path) -> None:
    x, y = normal(40, 4).numpy(), np.arange(40) % 2
    np.savez(tmp_path / "s.npz", x=x, y=y)
    np.savez(tmp_path / "t.npz", x=x + 1)
    train(tmp_path / "s.npz", tmp_path / "t.npz", tmp_path / "run", steps=12, report=False)
    analysis = analyze([tmp_path / "run"])
    names = [spec.name for spec in analysis.specs]
    assert names == ["tsne", "a-distance", "jmmd", "convergence"]
    assert any(text.startswith("discrepancy against accuracy") for text in analysis.absent)
    assert {row["quantity"] for row in analysis.specs[-1].rows} == {"risk on the source", "transfer"}
    analysis.write(tmp_path / "out")


def test_runs_of_a_benchmark_of_pictures_are_seen_by_their_own_backbone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features come from the cache that the training filled; what is seen is what the run predicted."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab"):
        draw_folder(tmp_path / name, 12, seed=number)
    (tmp_path / "two.toml").write_text("[domains.a]\npath = 'a'\n[domains.b]\npath = 'b'\n")
    shared = ("train", "--benchmark", "two.toml", "--root", ".", "--task", "a2b", "--out", "run", "--no-report")
    images = ("--backbone", "squeezenet1_1", "--weights", "none", "--steps", 4, "--batch-size", 8, "--workers", 0)
    assert command(*shared, *images).code == 0

    def forbidden(*_: object) -> None:
        raise AssertionError("an image was read again")

    monkeypatch.setattr("jointadapt.data.feature_cache._Pictures.__getitem__", forbidden)
    found = Observer(silent).see(read_run("run"))
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        predicted = [row["class"] for row in csv.DictReader(file)]
    assert [CLASSES[c] for c in found.target.probabilities.argmax(1).tolist()] == predicted
    assert len(analyze(["run"]).specs) >= 4


def test_few_rows_have_no_a_distance_and_other_figures(tmp_path: Path) -> None:
    x = normal(FEWEST_PER_DOMAIN - 1, 4).numpy()
    train((x, x[:, 0] > 0), (x + 1, x[:, 0] > 0), tmp_path / "run", steps=4, batch_size=8, report=False)
    analysis = analyze([tmp_path / "run"])
    assert [spec.name for spec in analysis.specs] == ["tsne", "jmmd", "convergence"]
    assert analysis.absent[0].startswith("proxy A-distance: 12 rows or more of each domain")
    analysis.write(tmp_path / "out")


def test_runs_on_arrays_in_memory_show_the_rows_they_kept(tmp_path: Path) -> None:
    x = normal(40, 4).numpy()
    train((x, x[:, 0] > 0), (x + 1, x[:, 0] > 0), tmp_path / "run", steps=12, report=False)
    analysis = analyze([tmp_path / "run"])
    assert "arrays in memory keep features of up to 300 rows" in analysis.notes[0]
    assert "jmmd" in [spec.name for spec in analysis.specs]


# The command


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Path:
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", 30, seed=1)
    write_arrays(tmp_path / "t.npz", 30, seed=2, shift=0.7)
    shared = ("train", "--source", "s.npz", "--target", "t.npz", "--backbone", "none", "--no-report", "--steps", 6)
    assert command(*shared, "--batch-size", 8, "--out", "run").code == 0
    return tmp_path / "run"


def test_a_sweep_trains_and_draws_and_is_not_trained_twice(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jointadapt.analysis.TRADE_OFFS", (0.1, 0.2, 0.4))
    monkeypatch.setattr("jointadapt.analysis.BANDWIDTH_MULTIPLES", (0.25, 1.0, 4.0))
    monkeypatch.setattr("jointadapt.analysis.SEEDS", 1)
    outcome = command("analyze", "run", "--sweep", "trade_off", "--sweep", "bandwidth", "--json")
    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert [row["trade_off"] for row in told["figures"]["trade-off"]] == [0.1, 0.2, 0.4, 0.5]
    assert [row["runs"] for row in told["figures"]["trade-off"]] == [1, 1, 1, 1]  # JAN's own λ: the run given
    widths = [row["bandwidth"] for row in told["figures"]["bandwidth"]]
    assert [round(width / widths[0]) for width in widths] == [1, 4, 16]
    assert {row["method"] for row in told["figures"]["jmmd"]} == {"jan", "source-only"}
    assert {row["runs"] for row in told["figures"]["jmmd"]} == {1}
    drawn = points(charts.draw_sensitivity(told["figures"]["trade-off"], "trade_off", "λ"))
    assert {(row["trade_off"], row["accuracy"]) for row in told["figures"]["trade-off"]} <= drawn
    made = sorted((run / "analysis" / "sweep").iterdir())
    assert len(made) == 3 + 3
    times = [path.stat().st_mtime_ns for folder in made for path in folder.iterdir()]
    again = json.loads(command("analyze", "run", "--sweep", "trade_off", "--sweep", "bandwidth", "--json").out)
    assert again == told
    assert [path.stat().st_mtime_ns for folder in made for path in folder.iterdir()] == times


def test_the_command_names_what_it_drew_and_what_is_missing(command: Command, run: Path) -> None:
    out = command("analyze", run, "--out", "figures").out
    assert "2 runs: tsne, a-distance, jmmd, convergence" in out
    assert "Not shown: discrepancy against accuracy: three runs or more" in out
    assert "Page: figures/analysis.html" in out
    assert Path("figures/analysis.html").is_file()


def test_mistakes_are_one_line(refused: Refused, run: Path) -> None:
    assert "nowhere is no folder" in refused("analyze", "nowhere", "--out", "out")
    Path("empty").mkdir()
    assert "empty holds no finished run" in refused("analyze", "empty", "--out", "out")
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("text")
    assert "full is not empty and holds no earlier analysis" in refused("analyze", run, "--out", "full")
    assert "s.npz is a file" in refused("analyze", run, "--out", "s.npz")
    assert "has no trade_off" in refused("analyze", run / "source-only", "--sweep", "trade_off", "--out", "out")
    assert "full itself holds no finished run" in refused("analyze", "full", "--sweep", "trade_off", "--out", "out")
    assert "'seed' is not one of" in refused("analyze", run, "--sweep", "seed")


def test_a_run_that_cannot_be_read_is_named_and_left_out(command: Command, run: Path) -> None:
    whole = command("analyze", run, "--out", "figures", "--json")
    shutil.copytree(run, "others/a")
    for name, part in (("summary", "summary.json"), ("records", "metrics.jsonl"), ("model", "model.safetensors")):
        shutil.copytree(run, f"others/{name}", ignore=shutil.ignore_patterns("source-only"))
        Path("others", name, part).write_text("{}\n")
        config = Path("others", name, "config.toml")
        config.write_text(config.read_text("utf-8").replace("seed = 0", f"seed = {len(name)}"), "utf-8")
    some = command("analyze", "others", "--out", "others-figures", "--json")
    assert (whole.code, some.code) == (0, 1)
    told, all_told = json.loads(some.out), json.loads(whole.out)
    assert told["runs"] == all_told["runs"]
    assert told["figures"]["a-distance"] == all_told["figures"]["a-distance"]
    for name, says in (("summary", "no summary"), ("records", "no records"), ("model", "no model")):
        assert [text for text in told["unread"] if f"others/{name}" in text and says in text]
        assert f"left out: others/{name}" in some.err
    shutil.rmtree("others/a")
    assert command("analyze", "others", "--out", "none").code == 2
