"""Model cards say what is true, and shared folders hold what is whole; what they name is not run."""

import builtins
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.hub_mixin
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from torch import nn

from jointadapt import HubModel, Model, from_arrays, model_card, train
from jointadapt.config import BASELINE
from jointadapt.errors import UserError
from jointadapt.exporting.card import CardFacts, code, render, text
from jointadapt.runs.model_file import ModelFile
from jointadapt.runs.reading import read_run
from jointadapt.runs.summary import TradeOffSearch

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
Y = np.where(X[:, 0] > 0, "up", "down")
X_TARGET = X[:50] + 0.5
DATE = "2026-01-31"
FEW = {"steps": 10, "batch_size": 8, "report": False}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run folder of files in a folder whose name must not get out."""
    place = tmp_path_factory.mktemp("secret-place")
    np.savez(place / "old.npz", x=X, y=Y)
    np.savez(place / "new.npz", x=X_TARGET, y=Y[:50])
    train(place / "old.npz", place / "new.npz", out=place / "run", learning_rate=0.02, seed=3, **FEW)
    return place / "run"


def metadata_of(card: str) -> dict[str, Any]:
    """Return a card's metadata, checked without the hub: a YAML block that its classes read, and write as it is."""
    start, block, body = card.split("---\n", 2)
    assert start == ""
    assert body.strip().startswith("# ")
    found = yaml.safe_load(block)
    read = ModelCard(card, ignore_metadata_errors=False)
    assert read.content == card
    assert read.data.to_dict() == found
    if "model-index" in found:
        name, results = model_index_to_eval_results(found["model-index"])
        assert eval_results_to_model_index(name, results) == found["model-index"]
        for result in results:
            assert result.dataset_type
            assert re.fullmatch(r"[\w.-]+", result.dataset_type)
            assert 0 <= result.metric_value <= 1
    assert set(found) <= {"library_name", "license", "pipeline_tag", "tags", "metrics", "model-index"}
    return found


def test_a_card_says_what_the_run_found(folder: Path) -> None:
    run, card = read_run(folder), model_card(folder, repo="me/mine", license="mit", date=DATE)
    metadata = metadata_of(card)
    assert metadata["library_name"] == "jointadapt"
    assert metadata["license"] == "mit"
    assert metadata["pipeline_tag"] == "tabular-classification"
    evaluation, baseline = run.summary.evaluation, run.summary.baseline
    assert evaluation is not None
    assert baseline is not None
    assert baseline.evaluation is not None
    (index,) = metadata["model-index"]
    assert index["name"] == "me/mine"
    assert index["results"][0]["metrics"][0]["value"] == round(evaluation.accuracy / 100, 4)
    for shown in (
        "# old → new, JAN",
        "`down`, `up`",
        f"| this model | {evaluation.accuracy:.1f} % |",
        f"(source-only) | {baseline.evaluation.accuracy:.1f} % |",
        "| source | old | 80 | trained on |",
        "| target | new | 50 | for evaluation only |",
        "**Not estimated** without target labels",
        "rows of 4 numbers",
        "JAN (`jointadapt ls jan` says what it does), 10 steps, seed 3",
        text(run.summary.verdict),
        "`batch_size = 8`, `learning_rate = 0.02`",
        "**Method**: by whoever trained it.",
        "**Checkpoint**: step 10, the last.",
        "Not tested in this run",
        "one of its 2 classes",
        f"{100 * run.summary.confidence:.1f} % sure on average",
        'from_pretrained("me/mine")',
        f"on {DATE}",
    ):
        assert shown in card.replace("\N{NO-BREAK SPACE}", " "), shown
    assert "No license" not in card
    assert "No license is stated" in model_card(folder)
    assert len(card.splitlines()) < 100


def test_a_card_of_a_run_in_memory_is_that_of_its_folder(folder: Path) -> None:
    place = folder.parent
    run = train(place / "old.npz", place / "new.npz", learning_rate=0.02, seed=3, **FEW)
    assert model_card(run, date=DATE) == model_card(folder, date=DATE) == model_card(read_run(folder), date=DATE)


def test_no_path_of_the_machine_enters_a_card_or_a_shared_folder(folder: Path, tmp_path: Path) -> None:
    (folder.parent / "few.csv").write_text("item,label\nrow 0,up\nrow 1,down\n")
    run = train(
        folder.parent / "old.npz",
        folder.parent / "new.npz",
        target_labels=folder.parent / "few.csv",
        out=tmp_path / "run",
        **FEW,
    )
    assert b"secret-place" in (tmp_path / "run" / "model.safetensors").read_bytes()
    noted = replace(run, summary=replace(run.summary, warnings=("in /home/secret-place/x", r"C:\secret-place", "kept")))
    card = model_card(noted)
    assert "- kept" in card
    assert "2 trained on" in card
    assert "of whose labels it saw 2." in card
    HubModel.of(tmp_path / "run").save_pretrained(tmp_path / "shared")
    for file in (tmp_path / "shared").iterdir():
        assert b"secret-place" not in file.read_bytes(), file
    assert "secret-place" not in card
    assert ModelFile.read(tmp_path / "shared").config.target_labels == "few.csv"


def test_without_target_labels_nothing_is_called_measured() -> None:
    run = train((X, Y), X_TARGET, **FEW)
    card = model_card(run)
    assert "whether that helped cannot be measured without target labels" in card
    assert "model-index" not in metadata_of(card)
    assert "**Not measured**: the target came without labels." in card
    assert "the target, arrays" not in card
    assert "Measured calibration" not in card
    assert "| this model |" not in card


def test_a_card_of_auto_says_how_it_chose_and_what_it_expects() -> None:
    run = train((X, Y), X_TARGET, method="auto", **FEW)
    estimate, diagnosis = run.summary.accuracy_estimate, run.summary.diagnosis
    assert estimate is not None
    assert diagnosis is not None
    card = model_card(run)
    metadata_of(card)
    assert "**Method**: by `auto`" in card
    assert text(diagnosis.words) in card
    assert text(estimate.words) in card
    assert text(run.summary.verdict) in card


def test_a_model_alone_has_a_card_that_says_so() -> None:
    model = train((X, Y), X_TARGET, **FEW).model
    card = model_card(model)
    assert "written from the model alone" in card
    assert "model-index" not in metadata_of(card)
    assert "10 steps" in card


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (
            {"method": BASELINE, "backbone": "mlp"},
            ["(the source), and not adapted to **", "backbone `mlp`, trained along"],
        ),
        (
            {"unknown": True},
            ["It may also answer `unknown`", "its nearest class, none as `unknown`", "examples of its training data**"],
        ),
        ({"label_shift": "estimate"}, ["The share of each class", "| `down` |"]),
        ({"select": "snd"}, ["chosen by snd, which sees no target label"]),
    ],
)
def test_what_else_a_run_did_is_told(options: dict[str, Any], shown: list[str]) -> None:
    card = model_card(train((X, Y), (X_TARGET, Y[:50]), **{**FEW, **options}))
    metadata_of(card)
    for words in shown:
        assert words in card


def test_a_searched_trade_off_is_told(folder: Path) -> None:
    facts = CardFacts.of(folder)
    assert facts.summary is not None
    selection = replace(facts.summary.selection, trade_off=TradeOffSearch("snd", 0.5))
    card = render(replace(facts, summary=replace(facts.summary, selection=selection)))
    assert "**Trade-off** λ = 0.5: searched for by `snd`, without target labels." in card


def test_a_model_that_auto_left_as_it_was_is_not_called_adapted(folder: Path) -> None:
    facts = CardFacts.of(folder)
    assert facts.summary is not None
    config = replace(facts.config, method="auto")
    for chosen, words in (
        (BASELINE, "and not adapted to **new** (the target): `auto` chose the model without adaptation."),
        ("mcc", "and adapted to **new** (the target), whose labels it never saw."),
    ):
        assert words in render(replace(facts, config=config, summary=replace(facts.summary, chosen=chosen)))


def test_several_sources_are_listed() -> None:
    run = train({"A": (X, Y), "B|C": (X[::-1] + 1, Y[::-1])}, (X_TARGET, Y[:50]), **FEW)
    card = model_card(run)
    assert r"- Source `A`: 80 examples, counts for" in card
    assert r"- Source `B\|C`: 80 examples" in card


@pytest.mark.parametrize("name", ["*new*_[x](y)", "<script>", "`tick`", "a|b", "line\nbreak", "---", "‮rtl", "$x$ #1"])
def test_a_name_shows_as_it_is_and_breaks_nothing(name: str) -> None:
    domain = replace(from_arrays(X_TARGET, Y[:50]), name=name)
    classes = np.where(X[:, 0] > 0, name, "other")
    source = from_arrays(X, classes)
    card = model_card(train(source, replace(domain, labels=torch.full((50,), -1)), baseline=False, **FEW))
    metadata_of(card)
    body = card.split("---\n", 2)[2]
    assert "<script>" not in re.sub(r"`[^`\n]+`", "", body).replace(r"\<script\>", "")
    assert "\nbreak" not in card
    assert "‮" not in card
    assert len(re.findall(r"(?m)^# ", body)) == 1
    assert re.search(r"(?m)^[^|]*$", text(name).replace(r"\|", ""))
    assert code(name) in body


def test_the_card_s_example_runs(folder: Path, tmp_path: Path) -> None:
    """Taken out of the card, its placeholders filled in, in a new process."""
    HubModel.of(folder).save_pretrained(tmp_path / "shared")
    card = (tmp_path / "shared" / "README.md").read_text("utf-8")
    (example,) = re.findall(r"(?ms)^```python\n(.*?)^```", card)
    example = example.replace("your-name/your-model", str(tmp_path / "shared"))
    given = "import numpy as np\nx = np.load('rows.npy')\n"
    np.save(tmp_path / "rows.npy", X_TARGET)
    found = subprocess.run(
        [sys.executable, "-c", given + example],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"},
    ).stdout
    assert found.startswith("['")
    assert "tensor(" in found


def test_a_shared_folder_is_read_again_by_everything_that_reads_a_model(
    folder: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    shared = tmp_path / "shared"
    HubModel.of(folder).save_pretrained(shared)
    assert sorted(path.name for path in shared.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert json.loads((shared / "config.json").read_text())["id2label"] == {"0": "down", "1": "up"}
    rows, own = from_arrays(X_TARGET), Model.load(folder)
    for model in (
        HubModel.from_pretrained(shared),
        Model.load(shared),
        HubModel.of(own),
        HubModel.of(read_run(folder)),
    ):
        assert torch.equal(model.predict_proba(rows), own.predict_proba(rows))
    outcome = command("predict", shared, folder.parent / "new.npz")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 51


def test_a_frozen_backbone_goes_along(tmp_path: Path) -> None:
    """A module of one's own has to be given again, but for its weights."""
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    run = train((X, Y), X_TARGET, backbone=module, frozen=True, baseline=False, **FEW)
    HubModel.of(run).save_pretrained(tmp_path)
    rows = from_arrays(X_TARGET)
    with pytest.raises(UserError, match="give it again"):
        HubModel.from_pretrained(tmp_path)
    other = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    again = HubModel.from_pretrained(tmp_path, backbone=other)
    assert torch.equal(again.predict_proba(rows), run.model.predict_proba(rows))
    assert "backbone=YourBackbone()" in (tmp_path / "README.md").read_text()


def test_a_card_that_somebody_has_mended_stays(folder: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    HubModel.of(folder).save_pretrained(shared)
    with (shared / "README.md").open("a") as file:
        file.write("\nMade for the mill in the valley.\n")
    HubModel.of(folder).save_pretrained(shared)
    HubModel.from_pretrained(shared).save_pretrained(tmp_path / "other")
    for place in (shared, tmp_path / "other"):
        assert "the mill in the valley" in (place / "README.md").read_text()


class FolderHub:
    """Stands for the hub: what is pushed is copied into a folder, from which it is fetched."""

    root: Path

    def __init__(self, **_: Any) -> None:
        pass

    def create_repo(self, repo_id: str, **_: Any) -> Any:
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)
        return type("Made", (), {"repo_id": repo_id})()

    def upload_folder(self, *, repo_id: str, folder_path: Path, **_: Any) -> str:
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return f"https://example.org/{repo_id}"

    def fetch(self, repo_id: str, filename: str, **_: Any) -> str:
        path = self.root / repo_id / filename
        if not path.is_file():
            raise FileNotFoundError(f"{repo_id} has no {filename}")
        return str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderHub:
    monkeypatch.setattr(FolderHub, "root", tmp_path / "hub", raising=False)
    monkeypatch.setattr(huggingface_hub.hub_mixin, "HfApi", FolderHub)
    fetch = lambda repo_id, filename, **options: FolderHub().fetch(repo_id, filename, **options)  # noqa: E731
    monkeypatch.setattr(huggingface_hub.hub_mixin, "hf_hub_download", fetch)
    monkeypatch.setattr("jointadapt.exporting.hub.hf_hub_download", fetch)
    return FolderHub()


def test_what_is_pushed_is_what_is_fetched(folder: Path, hub: FolderHub) -> None:
    model = HubModel.of(folder)
    assert model.push_to_hub("me/mine", private=True, model_card_kwargs={"license": "mit"}).endswith("me/mine")
    card = (hub.root / "me/mine/README.md").read_text()
    assert metadata_of(card)["license"] == "mit"
    assert 'from_pretrained("me/mine")' in card
    again = HubModel.from_pretrained("me/mine", revision="main")
    rows = from_arrays(X_TARGET)
    assert torch.equal(again.predict_proba(rows), model.predict_proba(rows))
    assert again.card == card


@pytest.mark.usefixtures("hub")
def test_what_is_not_there_is_told_in_one_line(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"^nobody/nothing cannot be read as a shared model \(.*\)\.$"):
        HubModel.from_pretrained("nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no trained model"):
        HubModel.from_pretrained(tmp_path / "empty")
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"is no model of jointadapt"):
        HubModel.from_pretrained(tmp_path / "run")


def test_no_code_that_a_file_names_is_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone, a method and a criterion at an import path are names, and nothing more."""
    (tmp_path / "evil_parts.py").write_text("raise SystemExit('run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = Model.load(folder)
    for name in ("backbone", "method", "select"):
        config = replace(model.config, **{name: "evil_parts:Thing"})
        (tmp_path / name).mkdir()
        replace(model, config=config).save(tmp_path / name / "model.safetensors")
        if name == "backbone":
            with pytest.raises(UserError, match="a backbone of one's own"):
                HubModel.from_pretrained(tmp_path / name)
        else:
            loaded = HubModel.from_pretrained(tmp_path / name)
            assert loaded.classes == model.classes
            model_card(loaded)
    assert "evil_parts" not in sys.modules


def test_without_the_extra_one_line_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def lacking(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(UserError, match=r"^a model card needs huggingface_hub; .*pip install 'jointadapt\[hub\]'$"):
        model_card(folder)
    monkeypatch.delitem(sys.modules, "jointadapt.exporting.hub")
    with pytest.raises(UserError, match=r"^sharing needs huggingface_hub; .*pip install 'jointadapt\[hub\]'$"):
        real("jointadapt.exporting.hub", fromlist=["HubModel"])


def test_card_on_the_command_line(
    folder: Path, tmp_path: Path, command: Callable[..., Any], refused: Callable[..., str]
) -> None:
    printed = command("card", folder, "--license", "mit")
    assert printed.code == 0
    assert metadata_of(printed.out)["license"] == "mit"
    assert json.loads(command("card", folder, "--json").out)["card"].startswith("---\n")
    written = command("card", folder, "--out", tmp_path / "shared", "--repo", "me/mine")
    assert written.code == 0
    assert 'from_pretrained("me/mine")' in (tmp_path / "shared" / "README.md").read_text()
    assert "is there already" in refused("card", folder, "--out", tmp_path / "shared")
    assert "no finished run" in refused("card", tmp_path)
    assert "is no license" in refused("card", folder, "--license", "MIT\nevil: true")
    assert "is no name for the hub" in refused("card", folder, "--repo", "a/b/c")
    assert "give that, or leave them" in refused("card", folder, "--backbone", "x:y")
    (tmp_path / "file").write_text("")
    assert "is there already" in refused("card", folder, "--out", tmp_path / "file")


def test_facts_of_a_method_that_is_not_installed_are_what_the_run_kept(folder: Path) -> None:
    facts = CardFacts.of(folder)
    config = replace(facts.config, method="somewhere:Own", method_options={"strength": 3.0})
    assert replace(facts, config=config).options["strength"] == "3.0"


def test_the_page_on_sharing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the block that needs the hub; each round trip says that it gave the same answers."""
    page = (ROOT / "docs/guides/sharing.md").read_text("utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", page):
        if "push_to_hub" not in block:
            exec(compile(block, "docs/guides/sharing.md", "exec"), names)
    assert capsys.readouterr().out.count("True\n") == 2
