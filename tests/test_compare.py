"""The table of runs: what it holds, that it goes on where it stopped, and the forms it is printed in."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch
import torchvision
from conftest import Command, draw_folder, write_arrays
from safetensors.torch import load_file, save_file

from jointadapt import experiment
from jointadapt.comparison import run as module
from jointadapt.comparison import shared_data
from jointadapt.comparison.plan import Outcome, plan
from jointadapt.comparison.results import ResultStore
from jointadapt.comparison.run import compare
from jointadapt.comparison.table import tabulate
from jointadapt.config import Config, make_config
from jointadapt.data import read_domain
from jointadapt.data.benchmarks import load_benchmark
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment import Run
from jointadapt.experiment.prepare import Prepared
from jointadapt.experiment.recipes import recipe_names, recipe_options
from jointadapt.methods import METHODS
from jointadapt.runs.model import Model
from jointadapt.selection.registry import DEFAULT

THREE = """
title = "Three"
[domains.a]
path = "a.npz"
letter = "A"
[domains.b]
path = "b.npz"
letter = "B"
[domains.c]
path = "c.npz"
letter = "C"
[[published]]
method = "jan"
backbone = "none"
source = "A paper, Table 1"
tasks = { "A→B" = 81.0, "B→A" = 80.0 }
"""
TABLE = ("compare", "--benchmark", "three.toml", "--root", ".")
QUICK = ("--steps", 12, "--batch-size", 8, "--jobs", 1)
BRIEF = {"steps": 12, "batch_size": 8}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with a benchmark of three domains of which one is absent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "three.toml").write_text(THREE)
    write_arrays(tmp_path / "a.npz", seed=1)
    write_arrays(tmp_path / "b.npz", seed=2, shift=0.5)
    return tmp_path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Note every run that is trained."""
    runs: list[Config] = []
    real = module.execute_together

    def count(configs: Sequence[Config], data: Sequence[Prepared]) -> list[Run | UserError]:
        runs.extend(configs)
        return real(configs, data)

    monkeypatch.setattr(module, "execute_together", count)
    return runs


# The numbers


def test_the_table_is_the_mean_of_single_runs(command: Command) -> None:
    outcome = command(*TABLE, *QUICK, "--methods", "source-only,jan", "--seeds", 2, "--json")
    assert outcome.code == 0
    answer = json.loads(outcome.out)
    assert answer["tasks"] == ["a → b", "b → a"]
    assert answer["absent"] == ["c"]
    single = ("--benchmark", "three.toml", "--root", ".", "--task", "a2b", "--method", "jan", *QUICK[:-2])
    single = ("train", *single, "--backbone", "none", "--no-baseline", "--no-report", "--json")
    accuracies = [json.loads(command(*single, "--seed", seed).out)["evaluation"]["accuracy"] for seed in (0, 1)]
    cell = answer["accuracy"]["jan"]["last"]["tasks"]["a → b"]
    assert cell["mean"] == pytest.approx(mean(accuracies))
    assert cell["standard_error"] == pytest.approx(stdev(accuracies) / 2**0.5)
    other = answer["accuracy"]["jan"]["last"]["tasks"]["b → a"]
    assert answer["accuracy"]["jan"]["last"]["mean"]["mean"] == pytest.approx((cell["mean"] + other["mean"]) / 2)
    rules = {rule: answer["accuracy"]["jan"][rule]["mean"]["mean"] for rule in ("last", "chosen", "oracle")}
    assert rules["oracle"] >= max(rules["last"], rules["chosen"])
    assert answer["criterion"] == DEFAULT
    assert set(answer["mean_per_class_accuracy"]) == {"source-only", "jan"}
    published = answer["accuracy"]["jan"]["published"]
    assert published["tasks"]["a → b"]["mean"] == 81
    assert published["mean"]["mean"] == 80.5
    assert published["source"] == "A paper, Table 1"


def test_a_source_free_method_starts_from_source_only_as_in_train(command: Command) -> None:
    answer = json.loads(command(*TABLE, *QUICK, "--methods", "shot", "--tasks", "a2b", "--seeds", 1, "--json").out)
    single = ("--benchmark", "three.toml", "--root", ".", "--task", "a2b", "--method", "shot", *QUICK[:-2])
    alone = json.loads(command("train", *single, "--backbone", "none", "--no-report", "--json").out)
    assert answer["accuracy"]["shot"]["last"]["tasks"]["a → b"]["mean"] == alone["evaluation"]["accuracy"]
    assert alone["evaluation"]["accuracy"] > 60


@pytest.mark.slow
def test_jobs_change_no_number(command: Command) -> None:
    methods = ("--methods", "source-only,dann", "--seeds", 2, "--json")
    one = json.loads(command(*TABLE, *QUICK, *methods, "--out", "one").out)
    two = json.loads(command(*TABLE, *QUICK[:-1], 2, *methods, "--out", "two").out)
    assert {**one, "out": None} == {**two, "out": None}


def test_a_run_of_the_table_is_a_run_folder(command: Command, here: Path) -> None:
    assert command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 1, "--tasks", "a2b", "--out", "kept").code == 0
    (run,) = (here / "kept" / "runs").iterdir()
    assert {file.name for file in run.iterdir()} >= {
        "config.toml",
        "summary.json",
        "model.safetensors",
        "predictions.csv",
    }
    assert not (run / "report.html").exists()
    assert command("predict", run, "b.npz").code == 0
    assert {file.name for file in (here / "kept").glob("table.*")} == {
        f"table.{s}" for s in ("md", "tex", "csv", "html")
    }


def test_without_out_only_numbers_are_kept(command: Command, here: Path, cache: Path) -> None:
    command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 1)
    assert [*(cache / "compare" / "runs").iterdir()] == []
    assert {path.name for path in here.iterdir()} == {"a.npz", "b.npz", "three.toml"}


def test_images_pass_a_frozen_backbone_once_and_runs_keep_the_new_layers_only(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed in (("a", 0), ("b", 7)):
        draw_folder(here / "pictures" / name, 5, seed=seed)
    (here / "pictures.toml").write_text("[domains.a]\npath = 'a'\n[domains.b]\npath = 'b'\n")
    torch.manual_seed(0)
    save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), here / "w.safetensors")
    built = []
    real = shared_data.build_backbone
    monkeypatch.setattr(shared_data, "build_backbone", lambda *given: built.append(given) or real(*given))
    network = ("--backbone", "squeezenet1_1", "--weights", here / "w.safetensors", "--steps", 4, "--batch-size", 4)
    table = ("compare", "--benchmark", "pictures.toml", "--root", "pictures", "--methods", "source-only,jan")
    outcome = command(*table, *network, "--seeds", 1, "--jobs", 1, "--workers", 0, "--out", "kept", "--json")
    assert outcome.code == 0
    assert len(built) == 1
    (run,) = (here / "kept" / "runs").glob("a-b-jan-0-*")
    assert not any(name.startswith("backbone.") for name in load_file(run / "model.safetensors"))
    task = ("--source", "pictures/a", "--target", "pictures/b", "--method", "jan", "--no-baseline", "--no-report")
    summary = json.loads(command("train", *task, *network, "--workers", 0, "--out", "alone", "--json").out)
    table_says = json.loads(outcome.out)["accuracy"]["jan"]["last"]["tasks"]["a → b"]["mean"]
    assert table_says == summary["evaluation"]["accuracy"]
    domain = read_domain(here / "pictures" / "b")
    assert torch.equal(Model.load(run).predict_proba(domain), Model.load(here / "alone").predict_proba(domain))
    written_otherwise = (*network[:3], "w.safetensors", *network[4:])
    command(*table, *written_otherwise, "--seeds", 1, "--jobs", 1, "--workers", 0, "--out", "kept")
    assert len(built) == 1


# Going on


def test_a_finished_table_is_printed_again_without_a_run(command: Command, counted: list[Config]) -> None:
    first = command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 2)
    assert len(counted) == 4
    again = command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 2)
    assert len(counted) == 4
    assert again.out == first.out


def test_only_what_decides_a_run_s_numbers_trains_it_again(command: Command, counted: list[Config]) -> None:
    table = (*TABLE, *QUICK, "--methods", "source-only,jan,mcc", "--tasks", "a2b", "--seeds", 1)
    command(*table)
    assert len(counted) == 3
    assert command(*table, "--channels-last", "--workers", 0, "--select", "information").code == 0
    assert len(counted) == 3
    assert command(*table, "--mcc-temperature", 2).code == 0
    assert [config.method for config in counted[3:]] == ["mcc"]


def test_an_option_that_no_method_of_the_table_has_is_told(refused: Callable[..., str]) -> None:
    told = refused(*TABLE, *QUICK, "--methods", "source-only,jan", "--margin", 3)
    assert "none of source-only, jan has an option 'margin': it is one of mdd; leave it out" in told


def test_the_rows_of_a_task_are_prepared_once_for_runs_that_read_them_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Config] = []
    real = module.prepare

    def count(config: Config, *given) -> Prepared:
        seen.append(config)
        return real(config, *given)

    monkeypatch.setattr(module, "prepare", count)
    options = {**BRIEF, "backbone": "none"}
    compare(plan("three.toml", ".", ["a2b"], methods=["jan", "mcc"], seeds=2, **options)[0])
    assert len(seen) == 1
    compare(plan("three.toml", ".", ["a2b"], methods=["jan"], seeds=2, **{**options, "backbone": "mlp"})[0])
    assert [config.seed for config in seen[1:]] == [0, 1]  # whose weights are drawn


def test_an_interrupted_table_goes_on(counted: list[Config]) -> None:
    comparison, _ = plan("three.toml", ".", methods=["source-only", "jan"], seeds=2, **BRIEF)

    def stop_after(number: int):
        def track(items, total, description, start=0):  # noqa: ARG001
            for done, item in enumerate(items, 1):
                yield item
                if done == number and description == "runs":
                    raise KeyboardInterrupt

        return track

    with pytest.raises(Interrupted, match="stopped after 4 of 8 runs; the same command goes on") as stop:
        compare(comparison, track=stop_after(4))
    assert stop.value.number == signal.SIGINT
    outcomes, failures = compare(comparison)
    assert len(counted) == 8
    assert len(outcomes) == 8
    assert not failures


def test_a_table_may_grow_and_other_options_are_other_runs(command: Command, counted: list[Config]) -> None:
    command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 1)
    command(*TABLE, *QUICK, "--methods", "dan,jan", "--seeds", 2)
    assert len(counted) == 2 + 6
    command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 1, "--trade-off", 1)
    assert len(counted) == 10
    command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 1, "--recipe", "paper")
    assert len(counted) == 12


def test_other_data_are_other_runs(command: Command, counted: list[Config], here: Path) -> None:
    command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 1)
    write_arrays(here / "b.npz", seed=3, rows=41)
    command(*TABLE, *QUICK, "--methods", "jan", "--seeds", 1)
    assert len(counted) == 4


def test_a_line_cut_off_is_run_again(command: Command, here: Path) -> None:
    table = (*TABLE, *QUICK, "--methods", "jan", "--seeds", 2, "--out", "kept")
    whole = command(*table).out
    results = here / "kept" / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-30])
    assert command(*table).out == whole
    assert len(ResultStore(results).read()) == 4
    assert len(results.read_text().splitlines()) == 5


@pytest.mark.slow
def test_a_terminated_table_ends_its_processes_and_goes_on(here: Path) -> None:
    arguments = [*map(str, TABLE), "--methods", "jan,jan-a", "--seeds", "2", "--steps", "1500", "--jobs", "2"]
    command = [sys.executable, "-m", "jointadapt", *arguments, "--out", "kept"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    results = here / "kept" / "results.jsonl"
    deadline = time.monotonic() + 120
    while not (results.is_file() and results.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(r"stopped after \d of 8 runs; the same command goes on from there", errors)
    assert _gone(process.pid, within=30)


def _gone(group: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_run_that_diverges_leaves_the_others(command: Command) -> None:
    outcome = command(*TABLE, *QUICK, "--methods", "source-only", "--seeds", 1, "--learning-rate", 1e30, "--json")
    assert outcome.code == 1
    answer = json.loads(outcome.out)
    assert len(answer["failures"]) == 2
    assert "diverged" in answer["failures"][0]
    assert answer["accuracy"]["source-only"]["last"]["mean"] is None


# The forms


def outcomes_of(numbers: dict[str, dict[str, list[float]]]) -> list[Outcome]:
    return [
        Outcome(("a", "b"), method, seed, "none", {rule: {"step": 1, "accuracy": v, "mean_per_class_accuracy": v - 1}
                for rule, v in zip(rules, values, strict=True)}, 1.0)
        for method, rules in numbers.items()
        for seed, values in enumerate(zip(*rules.values(), strict=True))
    ]  # fmt: skip


@pytest.fixture
def table():
    comparison, absent = plan("three.toml", ".", ["a2b"], ["dan", "jan"], 2)
    numbers = {
        "dan": {"last": [70.0, 72.0], DEFAULT: [73.0, 73.0], "oracle": [75.0, 75.0]},
        "jan": {"last": [80.0, 84.0], DEFAULT: [81.0, 85.0], "oracle": [90.0, 92.0]},
    }
    return tabulate(comparison, outcomes_of(numbers), absent)


def test_three_rules_a_method_and_what_was_published(table) -> None:
    shown = [(method, rule, cells) for method, rule, cells in table.texts("accuracy")]
    assert shown == [
        ("dan", "last", ["71.0 ± 1.0", "71.0 ± 1.0"]),
        ("dan", DEFAULT, ["73.0 ± 0.0", "73.0 ± 0.0"]),
        ("dan", "oracle", ["75.0 ± 0.0", "75.0 ± 0.0"]),
        ("jan", "last", ["82.0 ± 2.0", "82.0 ± 2.0"]),
        ("jan", DEFAULT, ["83.0 ± 2.0", "83.0 ± 2.0"]),
        ("jan", "oracle", ["91.0 ± 1.0", "91.0 ± 1.0"]),
        ("jan", "published", ["81.0", "–"]),
    ]
    assert any("A paper, Table 1" in note for note in table.notes)
    assert any("left out" in note and "c" in note for note in table.notes)


def test_markdown(table) -> None:
    text = table.markdown()
    assert "| accuracy, % | checkpoint | A→B | mean |\n|:---|:---|---:|---:|\n| dan | last | 71.0 ± 1.0 |" in text
    assert "| jan | last | **82.0 ± 2.0** | **82.0 ± 2.0** |" in text


def test_latex(table) -> None:
    text = table.latex()
    assert r"\textbf{82.0\,$\pm$\,2.0}" in text
    assert r"A$\to$B" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert all(line.count("&") == 3 for line in body)


def test_csv(table) -> None:
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    (row,) = (
        r
        for r in rows
        if (r["measure"], r["method"], r["checkpoint"], r["task"]) == ("accuracy", "jan", "last", "mean")
    )
    assert float(row["mean"]) == 82
    assert float(row["standard_error"]) == 2
    (row,) = (r for r in rows if r["checkpoint"] == "published")
    assert (row["task"], row["mean"], row["source"]) == ("a → b", "81.0000", "A paper, Table 1")


def test_html_is_one_page_without_a_second_file(table) -> None:
    page = table.html()
    assert page.count("<tbody>") == page.count("</tbody>") == 4
    assert '<td class="best">82.0 ± 2.0</td>' in page
    assert not re.search(r"""(src|href)=|<script|url\(""", page)


def test_a_wide_table_is_not_cut_where_no_terminal_is(command: Command, here: Path) -> None:
    names = [f"a-domain-with-a-long-name-{i}" for i in range(4)]
    (here / "wide.toml").write_text("\n".join(f"[domains.{name}]\npath = 'a.npz'" for name in names))
    wide = ("compare", "--benchmark", "wide.toml", "--root", ".", "--methods", "source-only", "--seeds", 1)
    outcome = command(*wide, "--steps", 1, "--batch-size", 8, "--jobs", 1)
    assert "…" not in outcome.out
    assert f"{names[0]}→{names[3]}" in outcome.out


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "html"])
def test_every_form_is_printed(command: Command, form: str) -> None:
    outcome = command(*TABLE, *QUICK, "--methods", "source-only", "--seeds", 1, "--format", form)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "source-only" in outcome.out


# Recipes


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_is_a_configuration(name: str, method: str) -> None:
    make_config({**recipe_options(name, method), "method": method})


def test_recipes_say_where_each_constant_comes_from() -> None:
    for name in recipe_names():
        lines = (Path(experiment.__file__).parent / "recipes" / f"{name}.toml").read_text("utf-8").splitlines()
        assert lines[0].startswith("# ")
        own = [line for line in lines if "=" in line and not line.startswith("#")]
        assert all("#" in line or line.split()[0] in ("trade_off_warm_up", "scales") for line in own), name


def test_modern_is_our_default_and_others_are_as_published() -> None:
    assert recipe_options("modern", "jan") == {}
    authors, tllib, paper = (make_config(recipe_options(n, "jan")) for n in ("authors-pytorch", "tllib", "paper"))
    assert authors.lr_alpha == pytest.approx(3e-4 * authors.steps)
    assert tllib.lr_alpha == pytest.approx(3e-4 * tllib.steps)
    assert (authors.trade_off_warm_up, tllib.trade_off_warm_up, paper.trade_off_warm_up) == (False, False, True)
    assert (paper.flat()["estimator"], paper.flat()["bandwidth"], paper.trade_off) == ("biased", "median", 1)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--methods", "jam"), "did you mean 'jan'"),
        (("--tasks", "a2x"), "no task 'a2x'"),
        (("--tasks", "a2c"), "c is not in"),
        (("--recipe", "papers"), "did you mean 'paper'"),
        (("--root", "nowhere"), "nowhere is no folder"),
        (("--benchmark", "office13"), "did you mean 'office31'"),
        (("--steps", 0), "steps = 0"),
        (("--seeds", 0), "--seeds"),
        (("--out", "a.npz/x"), "choose another --out"),
        (("--methods", ","), "no method"),
        (("--select", "informatio"), "did you mean 'information'"),
    ],
)
def test_a_mistake_is_told(refused: Callable[..., str], arguments: tuple, told: str) -> None:
    assert told in refused(*TABLE, *QUICK, *arguments)


def test_a_criterion_that_holds_rows_out_is_asked_for(command: Command) -> None:
    table = (*TABLE, *QUICK, "--methods", "jan", "--seeds", 1, "--select", "dev", "--json")
    answer = json.loads(command(*table).out)
    assert answer["criterion"] == "dev"
    assert answer["accuracy"]["jan"]["chosen"]["mean"] is not None


def test_all_domains_absent_is_told(refused: Callable[..., str], here: Path) -> None:
    (here / "b.npz").unlink()
    assert "b is not in" in refused(*TABLE, *QUICK)


def test_listed_by_name(command: Command) -> None:
    answer = json.loads(command("ls", "--json").out)
    assert "office31" in answer["benchmarks"]
    assert "tllib" in answer["recipes"]
    assert load_benchmark(answer["benchmarks"][0]).domains


@pytest.mark.slow
def test_runs_on_several_devices_have_the_numbers_of_one(command: Command) -> None:
    options = ("--tasks", "a → b", "--methods", "source-only,jan", "--seeds", 1, "--steps", 8, "--device", "cpu")
    tables = [
        command(*TABLE, *options, "--jobs", number, "--devices", number, "--out", f"on-{number}", "--json")
        for number in (1, 2)
    ]
    assert [table.code for table in tables] == [0, 0], [table.err for table in tables]
    one, two = [json.loads(table.out)["accuracy"] for table in tables]
    assert one == two


def test_a_table_is_not_spread_over_machines(refused: Callable[..., str]) -> None:
    assert "--launcher ray" in refused(*TABLE, "--num-nodes", 2)


def test_target_labels_are_trained_on_where_the_tasks_have_one_target(
    command: Command, refused: Callable[..., str], here: Path
) -> None:
    (here / "few.csv").write_text("item,label\nrow 0,cat\nrow 1,dog\n")
    options = (*QUICK, "--seeds", 1, "--target-labels", "few.csv")
    assert "these tasks have 2 (a, b); give tasks of one target with --tasks" in refused(*TABLE, *options)
    table = command(*TABLE, *options, "--tasks", "a → b", "--methods", "jan", "--out", "table", "--json")
    assert table.code == 0, table.err
    (summary,) = (json.loads(path.read_text()) for path in (here / "table").rglob("summary.json"))
    assert (summary["target_labels"], summary["evaluation"]["rows"]) == (2, 38)
