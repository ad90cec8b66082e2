"""An option has one owner, who declares it, and a kind; flags, checks, keys and listings follow from that."""

import inspect
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import torch
from conftest import Command, write_arrays
from safetensors import safe_open

from jointadapt import GaussianKernel, Model, train
from jointadapt.config import (
    MACHINE,
    PLACE,
    RUN_OPTIONS,
    Kind,
    check_names,
    fitting,
    make_config,
    read_config,
    to_toml,
)
from jointadapt.discrepancy import jmmd_biased, jmmd_unbiased
from jointadapt.discrepancy.kernels import jan_kernels
from jointadapt.errors import UserError
from jointadapt.experiment import execute, resume
from jointadapt.experiment.recipes import recipe_names, recipe_options
from jointadapt.methods import METHODS, Method
from jointadapt.methods.build import build_method
from jointadapt.methods.options import all_options, describe, options_of
from jointadapt.methods.registry import AUTO
from jointadapt.runs.folder import RunFolder
from jointadapt.runs.reading import find_runs, read_run
from jointadapt.runtime.options import Count, Positive, options_in_source, options_of_class

QUICK = {"steps": 4, "batch_size": 8, "baseline": False, "report": False}
WIDTHS = (6, 5, 3)


class Shrink(Method):
    """The features' norms, as a test wants them.

    It is no method of anyone's.
    """

    def __init__(self, widths, *, shrink: Annotated[Positive, "What norms are times."] = 0.5, plain=3) -> None:
        super().__init__(widths)
        self.shrink, self.plain = shrink, plain

    def forward(self, source, target):  # noqa: ARG002
        return self.shrink * target.features.square().mean()


class Narrow(Shrink):
    """The same, and one option more."""

    def __init__(self, widths, *, narrow: Annotated[Count, "How narrow."] = 2, **options) -> None:
        super().__init__(widths, **options)
        self.narrow = narrow


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a labelled s.npz and a shifted t.npz, which is the current one."""
    monkeypatch.chdir(tmp_path)
    write_arrays(Path("s.npz"), seed=1)
    write_arrays(Path("t.npz"), seed=2, shift=0.5)
    return tmp_path


def arrays() -> tuple:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator)
    return (x, x[:, 0] > 0), x + 1


def layers(rows: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator, dtype=torch.float64) for width in WIDTHS]


# Owners


@pytest.mark.parametrize("name", METHODS)
def test_a_class_and_its_source_declare_the_same(name: str) -> None:
    row = METHODS.row(name)
    assert row is not None
    assert options_in_source(row) == options_of_class(METHODS[name])
    assert describe(name) == inspect.cleandoc(METHODS[name].__doc__ or "")


def test_a_name_means_one_thing() -> None:
    assert not {*all_options()} & {*RUN_OPTIONS}
    for name, option in all_options().items():
        declared = [options_of(owner)[name] for owner in option.owners]
        assert len({(repr(own.hint), own.default, own.help) for own in declared}) == 1
        assert option.help or option.python_only


def test_every_option_of_a_run_says_what_it_decides() -> None:
    kinds = {name: option.kind for name, option in RUN_OPTIONS.items()}
    assert {name for name, kind in kinds.items() if kind == PLACE} == {
        *("source", "target", "benchmark", "root", "task", "out", "cache")
    }
    assert {name for name, kind in kinds.items() if kind == MACHINE} == {
        *("baseline", "report", "device", "devices", "num_nodes", "recompute_chunks", "channels_last", "compile"),
        *("workers", "checkpoint_every", "estimate"),
    }
    assert all(option.help for option in RUN_OPTIONS.values())


def test_options_are_inherited_where_the_constructor_passes_them_on() -> None:
    assert [option.name for option in options_of_class(Narrow)] == ["shrink", "plain", "narrow"]
    assert options_of_class(Narrow)[0].help == "What norms are times."
    assert options_of_class(Narrow)[1].default == 3


@pytest.mark.usefixtures("here")
def test_an_option_of_another_method_names_its_owners(refused: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="mcc has no option 'scales': it is one of dan, jan, jan-a, rtn, ujmmd, lmmd"):
        make_config({"method": "mcc", "scales": [1.0]})
    with pytest.raises(UserError, match=r"trade_off = .*should have at least 1 item"):
        make_config({"trade_off": []})
    with pytest.raises(UserError, match="unknown option 'scale'; did you mean 'scales'"):
        make_config({"scale": [1.0]})
    told = refused("train", "--source", "s.npz", "--target", "t.npz", "--margin", 3)
    assert "jan has no option 'margin': it is one of mdd; leave it out" in told
    assert "mcc_temperature = -1: input should be greater than 0" in refused(
        *("train", "--source", "s.npz", "--target", "t.npz", "--method", "mcc", "--mcc-temperature", -1)
    )


def test_auto_has_the_options_of_its_candidates() -> None:
    assert {*options_of(AUTO)} == {*options_of("jan+mcc+shot")}
    config = make_config({"method": AUTO, "mcc_temperature": 2})
    assert config.but(method="im").method_options == {}
    assert config.but(method="mcc").method_options == {"mcc_temperature": 2.0}


def test_options_of_the_former_method_are_left_out() -> None:
    config = make_config({"method": "jan", "estimator": "biased", "steps": 7})
    plain = config.but(method="source-only")
    assert (plain.steps, plain.method_options, plain.given) == (7, {}, {"method": "source-only", "steps": 7})


# A method of one's own


def test_a_class_is_taken_where_a_name_is() -> None:
    run = train(*arrays(), method=Shrink, shrink=2, **QUICK)
    assert run.summary.method == f"{__name__}:Shrink"
    assert run.model.config.method_options == {"shrink": 2.0, "plain": 3}
    assert METHODS.name_of(METHODS["jan"]) == "jan"
    assert METHODS[f"{__name__}:Shrink"] is Shrink
    with pytest.raises(UserError, match="shrink = 0: input should be greater than 0"):
        train(*arrays(), method=Shrink, shrink=0, **QUICK)


@pytest.mark.parametrize("method", [3, dict, list.append, "collections:OrderedDict"])
def test_what_is_no_method_is_told_before_anything_is_trained(method: object) -> None:
    with pytest.raises(UserError, match=r"has to be a subclass of .*Method, or the name of one"):
        train(*arrays(), method=method, **QUICK)


def test_the_verdict_names_a_class_and_not_where_it_is() -> None:
    run = train(*arrays(), method=Shrink, shrink=2, **{**QUICK, "baseline": True})
    assert run.summary.verdict.startswith("Shrink predicts another class ")


def test_an_option_named_as_a_run_s_is_refused() -> None:
    class Seeded(Method):
        def __init__(self, widths, *, seed=0) -> None:  # noqa: ARG002
            super().__init__(widths)

    with pytest.raises(UserError, match="has an option 'seed', as every run has; name it otherwise"):
        make_config({"method": Seeded})


MODULE = '''
from jointadapt.methods import Method

class Mine(Method):
    """A method of a package beside ours: it does nothing."""

    def __init__(self, widths, *, factor: int = 2) -> None:
        super().__init__(widths)
        self.factor = factor

    def forward(self, source, target):
        return self.factor * target.features.mean()
'''


@pytest.fixture
def beside(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that is found by its name."""
    (here / "beside_ours.py").write_text(MODULE)
    monkeypatch.syspath_prepend(here)
    yield here
    sys.modules.pop("beside_ours", None)


@pytest.mark.usefixtures("beside")
def test_an_import_path_is_a_name_and_brings_its_flags(command: Command) -> None:
    paths = ("--source", "s.npz", "--target", "t.npz", "--no-baseline", "--no-report", "--steps", 4)
    outcome = command("train", *paths, "--method", "beside_ours:Mine", "--factor", 5, "--out", "run", "--json")
    assert outcome.code == 0, outcome.err
    assert read_config("run/config.toml")["factor"] == 5
    assert command("train", "run/config.toml", "--out", "again").code == 0
    assert Model.load("run").config.method_options == {"factor": 5}
    assert "cannot be imported" in command("train", *paths, "--method", "beside_ours:None").err
    assert "A method of a package beside ours" in command("ls", "beside_ours:Mine").out
    assert "\nOptions of beside_ours:Mine:\n" in command("train", "--method", "beside_ours:Mine", "--help").out


def test_a_model_loads_where_its_method_is_not_installed(command: Command, beside: Path) -> None:
    paths = ("--source", "s.npz", "--target", "t.npz", "--no-baseline", "--no-report", "--steps", 4)
    assert command("train", *paths, "--method", "beside_ours:Mine", "--out", "run").code == 0
    (beside / "beside_ours.py").unlink()
    sys.modules.pop("beside_ours")
    METHODS._own.clear()
    assert Model.load("run").config.method == "beside_ours:Mine"
    assert [run.method for run in find_runs(["run"])] == ["beside_ours:Mine"]


def test_an_installed_package_registers_its_methods(command: Command, beside: Path) -> None:
    about = beside / "beside_ours-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: beside-ours\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[jointadapt.methods]\nmine = beside_ours:Mine\njan = beside_ours:Mine\n")
    vars(METHODS).pop("installed", None)
    try:
        assert METHODS["mine"].__name__ == "Mine"
        assert METHODS["jan"].__name__ == "JAN"
        assert "mine         A method of a package beside ours: it does nothing." in command("ls", "methods").out
        assert "--factor N" in command("train", "--help").out
        assert [*options_of("jan+mine")][-1] == "factor"
    finally:
        vars(METHODS).pop("installed")


# Kernels of one's own


@pytest.mark.parametrize("scales", [[1.0, 2.0], (1.0, 2.0)])
def test_scales_may_be_a_list(scales: list) -> None:
    source, target = layers(8, 0), layers(6, 1)
    expected = jmmd_unbiased(source, target, jan_kernels(3, "mean", (1.0, 2.0)))
    for method in (METHODS["jan"](WIDTHS, scales=scales), build_method("jan", WIDTHS, {"scales": scales})):
        torch.testing.assert_close(method._jmmd(source, target), expected)
    for name in ("dan", "rtn", "ujmmd", "lmmd", "jan-a"):
        METHODS[name](WIDTHS, scales=scales)


def test_own_kernels_take_the_place_of_the_methods() -> None:
    source, target = layers(8, 0), layers(6, 1)
    own, last = GaussianKernel(3.0, (1.0,)), GaussianKernel(0.7, (1.0,))
    one, each = (METHODS["jan"](WIDTHS, estimator="biased", kernels=given) for given in (own, [own, own, last]))
    torch.testing.assert_close(one._jmmd(source, target), jmmd_biased(source, target, [own, own, jan_kernels(2)[-1]]))
    torch.testing.assert_close(each._jmmd(source, target), jmmd_biased(source, target, [own, own, last]))
    with pytest.raises(UserError, match="2 kernels are given for 3 layers; give one a layer, or one alone"):
        METHODS["jan"](WIDTHS, kernels=[own, own])
    run = train(*arrays(), method="jan", kernels=own, kernel_weights="optimal", **QUICK)
    assert run.model.config.method_options["kernels"] == own


def test_own_kernels_are_no_flag(command: Command) -> None:
    assert "--kernels" not in command("train", "--help").out
    assert "kernels (Python only)" in command("ls", "jan").out
    with pytest.raises(UserError, match="kernels = 'mean': it is an object, which only Python can give"):
        make_config({"kernels": "mean"})


@pytest.mark.usefixtures("here")
def test_a_run_with_kernels_of_one_s_own_is_resumed_with_them() -> None:
    own = GaussianKernel(3.0, (1.0,))
    run = train("s.npz", "t.npz", kernels=own, out="run", **QUICK)
    Path("run/summary.json").unlink()
    with pytest.raises(UserError, match="run was begun with kernels that only Python can give; give them again"):
        resume("run")
    assert resume("run", options={"kernels": own}).summary.evaluation == run.summary.evaluation


# What was given, and what it came to


@pytest.mark.usefixtures("here")
def test_a_run_keeps_what_was_given_and_what_it_came_to(command: Command) -> None:
    outcome = command("train", "--source", "s.npz", "--target", "t.npz", "--out", "run", "--steps", 4, "--no-report")
    assert outcome.code == 0
    config = RunFolder(Path("run")).read_config()
    given = {"source": "s.npz", "target": "t.npz", "out": "run", "steps": 4, "report": False}
    assert config.given == given == read_config("run/config.toml")
    assert (config.backbone, config.method, config.method_options["estimator"]) == ("none", "jan", "unbiased")


def test_a_run_begun_with_a_search_is_resumed_with_its_own_options(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jointadapt.experiment.trade_off.TRADE_OFFS", (0.1, 1.0))
    options = ("--source", "s.npz", "--target", "t.npz", "--steps", 6, "--trade-off", "search", "--no-report")
    assert command("train", *options, "--out", "run").code == 0
    told = json.loads((here / "run" / "summary.json").read_text())
    (here / "run" / "summary.json").unlink()
    outcome = command("train", "--resume", "run", *options)
    assert outcome.code == 0, outcome.err
    again = json.loads((here / "run" / "summary.json").read_text())
    assert again["selection"] == told["selection"]
    assert RunFolder(here / "run").read_config().trade_off == told["selection"]["trade_off"]["chosen"]


def test_machine_and_places_may_change_on_resuming_and_numbers_may_not(here: Path) -> None:
    options = {"source": "s.npz", "target": "t.npz", "method": "mcc", **QUICK}
    execute(make_config({**options, "out": "run"}))
    (here / "run" / "summary.json").unlink()
    for name, value, told in (
        ("mcc_temperature", 2, "mcc_temperature = 2.5, and now it is 2.0"),
        ("method", "dan", "method = 'mcc', and now it is 'dan'"),
        ("batch_size", 9, "batch_size = 8, and now it is 9"),
    ):
        with pytest.raises(UserError, match=f"begun with {told}"):
            resume("run", options={**options, name: value})
    with pytest.raises(UserError, match="mcc has no option 'margin'"):
        resume("run", options={"margin": 2.0})
    resume("run", options={**options, "channels_last": True, "workers": 1, "checkpoint_every": 2})
    assert read_run("run").config.channels_last


def test_a_file_of_weights_counts_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"1")
    (tmp_path / "b.pth").write_bytes(b"1")
    (tmp_path / "c.pth").write_bytes(b"2")
    a, b, c = (make_config({"weights": str(tmp_path / f"{name}.pth")}).identity() for name in "abc")
    assert a == b != c


@pytest.mark.usefixtures("here")
def test_a_recipe_serves_a_single_run(command: Command) -> None:
    options = ("--source", "s.npz", "--target", "t.npz", "--steps", 4, "--no-baseline", "--no-report")
    assert command("train", *options, "--recipe", "paper", "--out", "run").code == 0
    config = RunFolder(Path("run")).read_config()
    assert (config.steps, config.trade_off, config.method_options["estimator"]) == (4, 1.0, "biased")
    run = train(*arrays(), recipe="tllib", method="dann", **QUICK)
    assert (run.model.config.lr_alpha, run.model.config.learning_rate) == (10.0, 0.01)
    assert "estimator" not in run.model.config.method_options
    assert "did you mean 'paper'" in command("train", *options, "--recipe", "papers").err


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_options_only(name: str) -> None:
    for method in METHODS:
        check_names(recipe_options(name, method), [method])
    everything = recipe_options(name, "+".join(METHODS))
    assert fitting(everything, "source-only").keys() <= RUN_OPTIONS.keys()


# What makes two runs equal


@pytest.mark.usefixtures("here")
def test_an_auto_run_is_analysed_with_others(command: Command) -> None:
    options = {"source": "s.npz", "target": "t.npz", "steps": 6, "batch_size": 8, "report": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        execute(make_config({**options, "method": AUTO, "out": "runs/auto"}))
        execute(make_config({**options, "method": "dan", "out": "runs/dan"}))
    outcome = command("analyze", "runs/auto", "runs/dan", "--out", "figures", "--json")
    assert outcome.code == 0, outcome.err
    found = find_runs(["runs/auto", "runs/dan"])
    assert {"auto", "mcc", "jan+mcc", "shot", "dan", "source-only"} == {run.method for run in found}
    assert len(found) == 8  # two of them are trained on the moved source


@pytest.mark.usefixtures("here")
def test_what_decides_no_number_of_a_run_makes_none_other() -> None:
    def identity(method: str, **options: object) -> dict:
        return make_config({**fitting(options, method), "method": method}).identity()

    for method in ("source-only", "jan", "mcc"):
        assert identity(method, channels_last=True, workers=3, cache="elsewhere") == identity(method)
    assert identity("jan", mcc_temperature=1.0) == identity("jan")
    assert identity("mcc", mcc_temperature=1.0) != identity("mcc")
    assert identity("jan", seed=1) != identity("jan")
    execute(make_config({"source": "s.npz", "target": "t.npz", "out": "a", **QUICK}))
    execute(make_config({"source": "s.npz", "target": "t.npz", "out": "b", "channels_last": True, **QUICK}))
    assert len(find_runs(["a", "b"])) == 1


@pytest.mark.usefixtures("here")
def test_a_model_keeps_what_decided_its_numbers() -> None:
    execute(make_config({"source": "s.npz", "target": "t.npz", "out": "run", **QUICK}))
    with safe_open("run/model.safetensors", framework="pt") as opened:
        kept = json.loads(opened.metadata()["jointadapt"])["config"]
    numbers = {name for name, option in RUN_OPTIONS.items() if option.kind == Kind.NUMBER}
    assert {*kept} == (numbers | {*options_of("jan")}) - {"kernels"}


def test_toml_and_back(tmp_path: Path) -> None:
    config = make_config({"method": "jan+mcc", "trade_off": [0.1, 1], "scales": [1.0], "mcc_temperature": 2})
    (tmp_path / "config.toml").write_text(to_toml(config))
    again = RunFolder(tmp_path).read_config()
    assert again.identity() == config.identity()
    assert make_config(again.given) == config


# Listings


def test_ls_tells_of_one_method(command: Command) -> None:
    text = command("ls", "jan").out
    assert text.startswith("jan: JMMD² of all layers jointly")
    option = (
        "  --output-bandwidth mean|median|NUMBER",
        "      Bandwidth γ of the softmax layer. [1.68]",
        "      Of jan, jan-a.",
    )
    assert "\n".join(option) in text
    told = json.loads(command("ls", "jan+mcc", "--json").out)
    assert {*told["about"]} == {"jan", "mcc"}
    row = next(row for row in told["options"] if row["name"] == "mcc_temperature")
    assert row["owners"] == ["mcc"]
    assert row["default"] == "2.5"
    assert "unknown method 'jam'; did you mean 'jan'" in command("ls", "jam").err


def test_ls_does_not_cut_what_a_method_is(command: Command) -> None:
    lines = {line.split()[0]: line[13:] for line in command("ls", "methods").out.splitlines()}
    assert {*lines} == {*METHODS, AUTO}
    for name in METHODS:
        assert lines[name].rstrip(".") == (METHODS[name].__doc__ or "").splitlines()[0].rstrip(":.")
    assert lines["ddc"] == "MMD² with one kernel on one layer, the features: MMD²(f_s, f_t)."
    assert not any(line.endswith((":.", ":")) for line in lines.values())


def test_ls_as_json_has_auto(command: Command) -> None:
    told = json.loads(command("ls", "methods", "--json").out)
    assert told["methods"][AUTO] == [*options_of("mcc+jan+shot")]
