"""The command line: what each verb gives, and that a user's mistake is one line, exit code 2, nothing touched."""

import csv
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import Command, draw, draw_folder, write_arrays
from PIL import Image
from safetensors.torch import load_file, save_file

from jointadapt.config import RUN_OPTIONS, make_config
from jointadapt.methods.options import all_options
from jointadapt.runs.model import Model

ARRAYS = ("--backbone", "none", "--steps", 20, "--no-report", "--batch-size", 8)
IMAGES = ("--backbone", "squeezenet1_1", "--weights", "none", "--steps", 4, "--no-report", "--batch-size", 4)
PLAIN = ("--no-baseline", "--workers", 0)

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with two domains of arrays, and two of pictures."""
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2, shift=0.5)
    draw_folder(tmp_path / "cams", 5)
    draw_folder(tmp_path / "webs", 5, seed=7)
    return tmp_path


def _train(*options: object, source: str = "s.npz", target: str = "t.npz") -> tuple[object, ...]:
    defaults = IMAGES if source in ("cams", "webs") else ARRAYS
    first = () if "--source" in options else ("--source", source)  # given twice it would be two sources
    return ("train", *first, "--target", target, "--out", "run", *defaults, *options)


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


# What the verbs give


def test_train_leaves_a_run_folder(command: Command, here: Path) -> None:
    outcome = command(*_train("--json"))
    assert outcome.code == 0
    assert outcome.err == ""
    summary = json.loads(outcome.out)
    assert summary["classes"] == ["cat", "dog"]
    assert summary["evaluation"]["rows"] == 40
    assert summary["report"] is None
    assert {path.name for path in (here / "run").iterdir()} == {
        *("config.toml", "metrics.jsonl", "summary.json", "model.safetensors", "checkpoints", "predictions.csv"),
        *("features.npz", "source-only"),
    }
    steps = [json.loads(line)["step"] for line in (here / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 21))
    assert len(_rows((here / "run" / "predictions.csv").read_text())) == 40


def test_train_prints_a_verdict_and_names_no_report_that_is_not_there(command: Command) -> None:
    outcome = command(*_train())
    assert "target accuracy" in outcome.out
    assert "Run folder: run" in outcome.out
    assert "report.html" not in outcome.out


def test_train_writes_a_report(command: Command, here: Path) -> None:
    outcome = command(*_train("--report", "--steps", 5))
    assert outcome.code == 0
    assert "Report: run/report.html" in outcome.out
    assert (here / "run" / "report.html").is_file()


def test_file_gives_options_and_flags_win(command: Command, here: Path) -> None:
    (here / "run.toml").write_text('source = "s.npz"\ntarget = "t.npz"\nsteps = 3\nscales = [1, 2]\nbackbone = "mlp"\n')
    assert command("train", "run.toml", "--steps", 5, "--out", "run", "--no-report").code == 0
    resolved = (here / "run" / "config.toml").read_text()
    assert "steps = 5" in resolved
    assert 'backbone = "mlp"' in resolved
    (here / "again.toml").write_text(resolved.replace('out = "run"', 'out = "again"'))
    assert command("train", "again.toml").code == 0
    assert (here / "again" / "predictions.csv").read_bytes() == (here / "run" / "predictions.csv").read_bytes()


def test_folder_is_named_and_numbered_when_none_is_given(command: Command, here: Path) -> None:
    for name in ("s-t-jan", "s-t-jan-2"):
        assert command("train", "--source", "s.npz", "--target", "t.npz", *ARRAYS, *PLAIN).code == 0
        assert (here / "runs" / name / "summary.json").is_file()


def test_seed_repeats_a_run_and_another_seed_does_not(command: Command, here: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert command(*_train("--out", name, "--seed", seed, *PLAIN)).code == 0
    a, b = ((here / name / "model.safetensors").read_bytes() for name in "ab")
    assert a == b
    assert (here / "a" / "metrics.jsonl").read_bytes() == (here / "b" / "metrics.jsonl").read_bytes()
    tensors = load_file(here / "a" / "model.safetensors"), load_file(here / "c" / "model.safetensors")
    assert any(not torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize("method", ["jan", "jan-a", "dan", "ddc", "dann", "mcd", "lmmd", "shot"])
def test_target_labels_never_reach_training(command: Command, here: Path, method: str) -> None:
    with np.load("t.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    np.savez("t.npz", x=x, y=np.random.default_rng(0).permutation(y))
    assert command(*_train("--out", "a", "--method", method, *PLAIN)).code == 0
    np.savez("t.npz", x=x)
    assert command(*_train("--out", "b", "--method", method, *PLAIN)).code == 0
    np.savez("t.npz", x=x, y=y)
    assert command(*_train("--out", "c", "--method", method, *PLAIN)).code == 0
    a, b, c = ((here / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b == c


def test_a_sum_of_methods_trains_and_repeats_from_its_file(command: Command, here: Path) -> None:
    options = ("--method", "jan+mcc", "--trade-off", "0.3,1", "--mcc-temperature", 2, *PLAIN)
    assert command(*_train("--out", "a", *options)).code == 0
    assert command("train", "a/config.toml", "--out", "b").code == 0
    assert command(*_train("--out", "c", *options, "--trade-off", "0.3,0")).code == 0
    a, b, c = (here / name / "model.safetensors" for name in "abc")
    assert a.read_bytes() == b.read_bytes()
    assert not torch.equal(*(load_file(file)["head.classifier.weight"] for file in (a, c)))


def test_predict_repeats_the_predictions_of_the_run(command: Command, here: Path) -> None:
    command(*_train(*PLAIN))
    outcome = command("predict", "run", "t.npz")
    assert outcome.code == 0
    predicted, written = _rows(outcome.out), _rows((here / "run" / "predictions.csv").read_text())
    assert [list(row.values()) for row in predicted] == [list(row.values())[:3] for row in written]
    assert json.loads(command("predict", "run", "t.npz", "--json").out)["predictions"][0]["item"] == "row 0"
    assert command("predict", "run", "t.npz", "--out", "p.csv").out == ""
    assert (here / "p.csv").read_text() == outcome.out


def test_evaluate_measures(command: Command) -> None:
    summary = json.loads(command(*_train("--json", *PLAIN)).out)
    measured = json.loads(command("evaluate", "run", "t.npz", "--json").out)
    assert measured["accuracy"] == summary["evaluation"]["accuracy"]
    assert np.sum(measured["confusion"]) == measured["rows"] == 40
    text = command("evaluate", "run", "t.npz").out
    assert "mean per-class accuracy" in text
    assert "confusion matrix" in text


def test_evaluate_counts_rows_of_unknown_classes_apart(command: Command) -> None:
    command(*_train(*PLAIN))
    np.savez("new.npz", x=np.zeros((4, 4)), y=["cat", "cat", "owl", "dog"])
    outcome = command("evaluate", "run", "new.npz", "--json")
    assert json.loads(outcome.out)["not_counted"] == 1
    assert outcome.err == "jointadapt: warning: not counted, as the model does not know them: owl\n"


def test_ls_lists_methods_and_backbones(command: Command) -> None:
    listed = json.loads(command("ls", "--json").out)
    assert listed["methods"]["dann"] == ["discriminator_width"]
    assert {"none", "resnet50"} <= set(listed["backbones"])
    assert "jan-a" in command("ls", "methods").out
    assert "squeezenet1_1\n" in command("ls", "backbones").out


@pytest.mark.parametrize("verb", ["train", "predict", "evaluate", "ls", "demo"])
def test_every_verb_has_help(command: Command, verb: str) -> None:
    outcome = command(verb, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out


def test_every_option_is_a_flag_with_help(command: Command) -> None:
    text = command("train", "--help").out
    options = [option for option in (*RUN_OPTIONS.values(), *all_options().values()) if not option.python_only]
    assert all(f" {option.flag}" in text and option.help.split()[0] in text for option in options)


def test_pictures_are_trained_on_and_predicted(command: Command, here: Path) -> None:
    outcome = command(*_train(source="cams", target="webs"))
    assert outcome.code == 0
    for mode in ("L", "P", "CMYK", "I;16"):
        path = here / "new" / f"{mode[0]}.tif"
        if mode == "I;16":
            Image.fromarray(np.full((32, 32), 40000, dtype=np.uint16)).save(path)
        else:
            draw(path, mode=mode)
    for paths in (["new"], sorted((here / "new").iterdir())):
        assert len(_rows(command("predict", "run", *paths).out)) == 4


def test_frozen_backbone_runs_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = torchvision.models.SqueezeNet.forward
    monkeypatch.setattr(
        torchvision.models.SqueezeNet, "forward", lambda self, x: seen.append(len(x)) or forward(self, x)
    )
    for out, options, images in (
        ("a", (), 20),
        ("b", ("--method", "dan"), 20),  # the cache is shared by methods…
        ("c", ("--seed", 1), 40),  # …but other weights, here random ones of another seed, are extracted anew
    ):
        assert command(*_train("--out", out, *options, source="cams", target="webs")).code == 0
        assert sum(seen) == images


@pytest.mark.skipif(os.name != "posix", reason="needs file names of any bytes")
def test_file_names_of_any_bytes_survive(command: Command, here: Path) -> None:
    names = {f"webs/cat/{name}.png" for name in ("a\nb", "a\rb", 'say "a", b', "<script>", os.fsdecode(b"\xff\xfe"))}
    for name in names:
        draw(here / name)
    assert command(*_train("--report", *PLAIN, source="cams", target="webs")).code == 0
    raw = (here / "run" / "predictions.csv").read_bytes()
    assert names <= {row["item"] for row in _rows(raw.decode(errors="surrogateescape"))}
    outcome = command("predict", "run", "webs")
    assert outcome.code == 0
    assert names <= {row["item"] for row in _rows(outcome.out)}
    assert command("predict", "run", "webs", "--out", "p.csv").code == 0
    assert (here / "p.csv").read_bytes() == outcome.out.encode(errors="surrogateescape")
    assert command("predict", "run", *names, "--json").code == 0


def test_class_names_are_no_markup(command: Command) -> None:
    with np.load("s.npz") as arrays:
        np.savez("[red]s.npz", x=arrays["x"], y=np.where(arrays["y"] == "cat", "[/red]", "[bold]\n<b>"))
    assert command(*_train(source="[red]s.npz", target="[red]s.npz")).code == 0
    assert "[/red]" in command("evaluate", "run", "[red]s.npz").out


# Warn and go on


def test_class_in_one_domain_only_warns_and_goes_on(command: Command) -> None:
    with np.load("t.npz") as arrays:
        np.savez("t.npz", x=arrays["x"], y=np.where(arrays["y"] == "cat", "owl", "dog"))
    outcome = command(*_train())
    assert outcome.code == 0
    missing, surplus = outcome.err.splitlines()
    assert "not in the target (cat): matching the distributions may push target rows into such classes" in missing
    assert "not in the source (owl): their rows get the nearest known class" in surplus


def test_unreadable_picture_is_skipped_with_a_count(command: Command, here: Path) -> None:
    (here / "cams" / "cat" / "bad\n.jpg").write_bytes(b"no picture")
    outcome = command(*_train("--json", *PLAIN, source="cams", target="webs"))
    assert outcome.code == 0
    (warning,) = outcome.err.splitlines()
    assert "1 of 11 images cannot be read" in warning
    assert "bad\\n.jpg" in warning
    assert json.loads(outcome.out)["source"]["skipped"] == 1
    for verb in ("predict", "evaluate"):
        assert "1 of 11 images cannot be read" in command(verb, "run", "cams").err


def test_fewer_rows_than_a_batch_warn_and_repeat(command: Command) -> None:
    outcome = command(*_train("--batch-size", 64))
    assert outcome.code == 0
    assert "s has 40 and t has 40 rows, fewer than a batch of 64: they repeat within a batch" in outcome.err


# Refuse


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: None, "bad does not exist; "),
        (lambda path: path.mkdir(), "holds no images; give a folder of class folders"),
        (lambda path: (path / "cat").mkdir(parents=True), "holds no images"),
        (lambda path: draw(path / "1.png"), "has no labels; give a folder with one subfolder a class"),
        (lambda path: draw(path / "images" / "cat" / "1.png"), "is there an extra folder level?"),
        (lambda path: draw(draw_folder(path, 1) / "stray.png"), "put every image into a class folder, or none"),
        (lambda path: draw(path / "cat" / "1.png").write_bytes(b"no picture"), "mend or remove them"),
        (lambda path: path.write_text("what is this"), "is of no known kind; give a folder"),
    ],
)
def test_bad_source_is_refused(refused: Refused, here: Path, make: Callable[[Path], object], says: str) -> None:
    make(here / "bad")
    assert says in refused(*_train(*IMAGES, source="bad", target="webs"))


def test_target_without_common_class_is_refused(refused: Refused, here: Path) -> None:
    draw_folder(here / "level", 1, ("images",))
    assert "no class in common" in refused(*_train(source="cams", target="level"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["s.npz", "t.npz"])
def test_features_that_are_not_finite_are_refused(refused: Refused, which: str, value: float) -> None:
    with np.load(which) as arrays:
        x, y = arrays["x"], arrays["y"]
    x[5, 2] = value
    np.savez(which, x=x, y=y)
    assert "1 of 40 rows hold NaN or infinite values (counted from 0: rows 5); remove or impute" in refused(*_train())


def test_domains_of_different_kinds_are_refused(refused: Refused) -> None:
    assert "give both as images or both as arrays" in refused(*_train(source="s.npz", target="webs"))
    np.savez("wide.npz", x=np.zeros((9, 5)))
    assert "give both the same features" in refused(*_train(target="wide.npz"))


class _Trap:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (os.mkdir, ("trapped",))


def _wrong_weights(path: Path) -> None:
    match path.stem:
        case "trap":
            path.write_bytes(pickle.dumps({"a": _Trap()}))
        case "trap_in_zip":
            torch.save({"a": _Trap()}, path)
        case "text" | "empty":
            path.write_text("no weights" if path.stem == "text" else "")
        case "other":
            save_file({"fc.weight": torch.zeros(2, 2)}, path)
        case "other_net":
            torch.save(torchvision.models.squeezenet1_0(weights=None).state_dict(), path)
        case "list":
            torch.save([1, 2], path)
        case "numbered":
            torch.save({1: torch.zeros(2)}, path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.pth", "do not exist; give a .safetensors or .pth file"),
        ("trap.pth", "holds more than tensors, or none"),
        ("trap_in_zip.pth", "holds more than tensors, or none"),
        ("text.pth", "give a .safetensors or .pth state_dict"),
        ("text.safetensors", "give a .safetensors or .pth state_dict"),
        ("empty.pth", "give a .safetensors or .pth state_dict"),
        ("empty.safetensors", "give a .safetensors or .pth state_dict"),
        ("list.pth", "is no state_dict"),
        ("numbered.pth", "is no state_dict"),
        ("other.safetensors", "does not fit the backbone squeezenet1_1"),
        ("other_net.pth", "does not fit the backbone squeezenet1_1"),
        ("cams", "do not exist; give a .safetensors or .pth file"),
    ],
)
def test_wrong_weights_are_refused_and_no_code_in_them_runs(refused: Refused, here: Path, name: str, says: str) -> None:
    _wrong_weights(here / name)
    assert says in refused(*_train("--weights", name, source="cams", target="webs"))
    assert not (here / "trapped").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--method", "jam"), "unknown method 'jam'; did you mean 'jan'"),
        (("--method", "jan+mc"), "unknown method 'mc'; did you mean"),
        (("--method", "jan", "--trade-off", "1,2"), "trade_off has 2 values and jan 1 part; give one for each part"),
        (
            ("--trade-off", "-1"),
            "trade_off = -1: input should be 'auto' or 'search', or input should be greater",
        ),
        (("--backbone", "resnet5o"), "unknown backbone 'resnet5o'; did you mean 'resnet50'"),
        (("--backbone", "timm/resnet5o"), "unknown backbone 'resnet5o'; did you mean 'resnet50'"),
        (
            ("--source", "cams", "--target", "webs", "--backbone", "timm/resnet18.nothing", "--weights", "none"),
            "timm has no backbone 'resnet18.nothing'",
        ),
        (("--backbone", "resnet18", "--weights", "none"), "needs images of three channels, and rows have shape (4,)"),
        (("--backbone", "cnn"), "the backbone 'cnn' needs images"),
        (("--backbone", "mlp", "--weights", "s.npz"), "takes no weights; leave --weights out"),
        (("--stps", 3), "Did you mean one of: '--steps', '--task'?) See: jointadapt train --help"),
        (("--steps", "many"), "steps = 'many'"),
        (("--steps", 0), "steps = 0: input should be greater than or equal to 1"),
        (("--steps",), "requires an argument"),
        (("--learning-rate", "nan"), "learning_rate = nan"),
        (("--bandwidth", "middle"), "bandwidth = 'middle'"),
        (("--scales", "1,x"), "scales"),
        (("--scales", ""), "scales = (): value should have at least 1 item"),
        (("--scales", ","), "scales = ()"),
        (("--scales", "inf"), "scales = (inf,): input should be a finite number"),
        (("--bandwidth", "inf"), "bandwidth = inf: input should be a finite number"),
        (("--trade-off", "inf"), "trade_off = inf"),
        (
            ("--estimator", "linear", "--batch-size", 35),
            "batch_size has to be even; got 35. Give 36, or another estimator.",
        ),
        (("--method", "jan+mcc", "--estimator", "linear", "--batch-size", 7), "batch_size has to be even; got 7"),
        (("--seed", 2**40), "seed = "),
        (
            ("--estimator", "unbased"),
            "estimator = 'unbased': input should be 'unbiased', 'biased', 'linear' or 'fourier'",
        ),
        (("--device", "gpu0"), "try --device auto"),
        (("--out", "s.npz"), "s.npz cannot be written to (File exists); choose another --out"),
        (("--out", "s.npz/run"), "cannot be written to (Not a directory); choose another --out"),
        (("--out", "webs"), "webs is not empty; choose another --out, or go on with: jointadapt train --resume webs"),
        (("--cache", "s.npz/cache", *IMAGES, "--source", "cams", "--target", "webs"), "or --cache for features"),
        (("--resume", "run"), "--resume names the run folder; leave --out out"),
    ],
)
def test_wrong_option_is_refused(refused: Refused, options: tuple[object, ...], says: str) -> None:
    assert says.lower() in refused(*_train(*options)).lower()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_absent_device_is_refused(refused: Refused) -> None:
    assert "--device cuda" in refused(*_train("--device", "cuda"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("trian",), "unknown command 'trian'; did you mean 'train'?"),
        (("ls", "method"), "unknown method 'method'; did you mean 'methods'"),
        (("train",), "no source is given; name one with --source"),
        (("train", "--source", "s.npz"), "no target is given; name one with --target"),
        (("train", "absent.toml"), "absent.toml cannot be read"),
        (("train", "cams"), "is a directory"),
        (("train", "--resume", "cams"), "cams holds no run (config.toml)"),
        (("predict", "absent", "t.npz"), "absent holds no trained model"),
        (("predict", "cams", "t.npz"), "cams holds no trained model"),
        (("predict", "s.npz", "t.npz"), "s.npz is no model of jointadapt"),
        (("predict", "run"), "Missing argument 'PATHS...'"),
        (("evaluate", "absent", "t.npz"), "absent holds no trained model"),
    ],
)
def test_wrong_command_is_refused(refused: Refused, arguments: tuple[str, ...], says: str) -> None:
    assert says.lower() in refused(*arguments).lower()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stps = 3", "unknown option 'stps'; did you mean 'steps'?"),
        ("[train]\nsteps = 3", "unknown option 'train'"),
        ("steps = [3]", "steps = [3]: "),
        ("source = 3", "source = 3: "),
        ("scales = 'wide'", "scales = 'wide': "),
        ("frozen = 'perhaps'", "frozen = 'perhaps': "),
        ("steps = ", "is no valid TOML"),
        ("\udcff", "is no valid TOML"),
    ],
)
def test_wrong_file_of_options_is_refused(refused: Refused, here: Path, text: str, says: str) -> None:
    (here / "run.toml").write_bytes(text.encode(errors="surrogateescape"))
    assert says in refused("train", "run.toml")


@pytest.fixture
def trained(command: Command) -> None:
    """A finished run on arrays."""
    assert command(*_train(*PLAIN)).code == 0


@pytest.mark.usefixtures("trained")
def test_finished_run_is_not_overwritten(refused: Refused) -> None:
    assert "run is not empty; choose another --out" in refused(*_train())


@pytest.mark.usefixtures("trained")
def test_prediction_that_cannot_be_written_or_read_is_refused(refused: Refused, here: Path) -> None:
    assert "s.npz cannot be written (File exists); choose another --out" in refused(
        "predict", "run", "t.npz", "-o", "s.npz"
    )
    assert "cannot be written" in refused("predict", "run", "t.npz", "-o", "s.npz/p.csv")
    assert "webs' holds image files" in refused("predict", "run", "webs")
    np.savez("wide.npz", x=np.zeros((9, 5)))
    assert "rows of shape (4,), and 'wide' holds arrays with rows of shape (5,)" in refused(
        "predict", "run", "wide.npz"
    )
    assert "does not exist" in refused("predict", "run", "absent.jpg")
    np.savez("plain.npz", x=np.zeros((9, 4)))
    assert "has no labels to evaluate on" in refused("evaluate", "run", "plain.npz")
    model = here / "run" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-9])
    assert "is no model of jointadapt" in refused("predict", "run", "t.npz")
    model.write_bytes(b"")
    assert "is no model of jointadapt" in refused("predict", "run", "t.npz")


def test_training_that_diverges_is_told(command: Command) -> None:
    outcome = command(*_train("--learning-rate", 1e30))
    assert outcome.code == 2
    assert "Try a smaller --learning-rate or --trade-off" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_precision_is_free(command: Command, precision: str) -> None:
    assert command(*_train("--precision", precision, "--device", "cpu")).code == 0


def test_model_says_nothing_of_where_it_was_trained(command: Command, here: Path) -> None:
    command(*_train("--cache", here / "elsewhere", *PLAIN))
    assert Model.load(here / "run").config.out == ""
    assert b"elsewhere" not in (here / "run" / "model.safetensors").read_bytes()
    assert make_config({}).seed == 0


def test_bare_command_shows_help(command: Command) -> None:
    outcome = command()
    assert outcome.code == 2
    assert "Usage: jointadapt" in outcome.out + outcome.err
