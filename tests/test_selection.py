"""Choosing without target labels: each criterion is its paper's formula, a collapsed model is never chosen, and a run
reports what it chose.
"""

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
from conftest import Command, write_arrays
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from jointadapt import train
from jointadapt.config import RUN_OPTIONS, make_config
from jointadapt.data import UNLABELLED, from_arrays
from jointadapt.errors import UserError
from jointadapt.evaluation.metrics import evaluate, oracle
from jointadapt.experiment.summarise import describe_selection
from jointadapt.runs.summary import Selection
from jointadapt.selection import criteria as selection
from jointadapt.selection.checkpoints import Candidate, CheckpointSelection
from jointadapt.selection.criteria import FOLDS, ValidatorInputs, choose, hold_out
from jointadapt.selection.guard import class_proportions, eligible
from jointadapt.selection.registry import CRITERIA, DEFAULT, holds_out, rule_of, scores

EXACT = 1e-12


def probabilities(rows: int, classes: int, seed: int = 0, sharpness: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(rows, classes, generator=generator, dtype=torch.float64)).softmax(1)


def evidence(seed: int = 0, rows: int = 60) -> ValidatorInputs:
    """Two shifted domains of three classes, a model that is mostly right, a fifth of the source held out."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.eye(3, 5)
    labels = torch.arange(rows) % 3
    source = centres[labels] + torch.randn(rows, 5, generator=generator)
    target = centres[labels] + 0.5 + torch.randn(rows, 5, generator=generator)
    p_s, p_t = ((x[:, :3]).softmax(1) for x in (source, target))
    return ValidatorInputs(target, p_t, source, p_s, labels, hold_out(labels))


def collapsed(seed: int = 0, rows: int = 60) -> ValidatorInputs:
    """A model that is certain that every target row is of class 0, in two tight heaps of features."""
    good = evidence(seed, rows)
    p = torch.zeros(rows, 3)
    p[:, 0] = 1
    return ValidatorInputs(
        good.target_features, p, good.source_features, good.source_probabilities, good.source_labels, good.held_out
    )


# The formulas


@pytest.mark.parametrize("classes", [2, 7])
def test_entropy_and_information_are_the_formulas(classes: int) -> None:
    p = probabilities(9, classes)
    p[0] = torch.eye(classes, dtype=p.dtype)[0]  # 0 log 0 is 0
    assert selection.entropy(p) == pytest.approx(reference.target_entropy(p), abs=EXACT)
    assert selection.information(p) == pytest.approx(reference.information(p), abs=EXACT)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_soft_neighbourhood_density_is_the_formula(temperature: float) -> None:
    p = probabilities(11, 4)
    expected = reference.soft_neighbourhood_density(p, temperature)
    assert selection.neighbourhood_density(p, temperature) == pytest.approx(expected, abs=EXACT)


def test_soft_neighbourhood_density_in_blocks_is_that_in_one() -> None:
    p = probabilities(1500, 3)
    rows = torch.nn.functional.normalize(p)
    similarity = (rows @ rows.T / 0.05).fill_diagonal_(-torch.inf).softmax(1)
    expected = torch.special.entr(similarity).sum(1).mean().item()
    assert selection.neighbourhood_density(p) == pytest.approx(expected, abs=EXACT)


def test_deep_embedded_validation_is_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    w, losses = 2 * torch.rand(13, generator=generator), torch.rand(13, generator=generator)
    expected = -reference.dev_risk(w.tolist(), losses.tolist())
    assert selection.deep_embedded_validation(w, losses) == pytest.approx(expected, abs=EXACT)


def test_the_control_variate_takes_the_chance_of_the_weights_away() -> None:
    """With ℓ = 1 the risk is 1 whatever the weights came out as: a weighted mean would say mean(w)."""
    w = torch.rand(50, generator=torch.Generator().manual_seed(1))
    assert selection.deep_embedded_validation(w, torch.ones(50)) == pytest.approx(-1.0, abs=1e-6)
    assert abs(w.mean().item() - 1) > 0.3


def test_clustering_is_the_silhouette() -> None:
    seen = evidence(rows=20)
    classes = seen.predicted.tolist()
    expected = reference.silhouette(seen.target_features.double(), classes)
    assert selection.clustering(seen.target_features, seen.predicted) == pytest.approx(expected, abs=1e-6)
    assert selection.clustering(seen.target_features, torch.zeros(20, dtype=torch.long)) == -1
    assert selection.clustering(seen.target_features, torch.arange(20)) == -1


def test_reverse_risk_is_a_weighted_mean() -> None:
    w, right = torch.tensor([0.5, 2.0, 0.0]), torch.tensor([1.0, 0.25, 0.0])
    assert selection.reverse_risk(w, right) == pytest.approx(-(2 * 0.75) / 2.5, abs=EXACT)


def test_density_ratio_approaches_the_ratio_of_two_gaussians() -> None:
    """N(0, 1) and N(1, 1): P_t(x) / P_s(x) = exp(x − 1/2); the sizes of the samples drop out."""
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(6000, 1, generator=generator), 1 + torch.randn(2000, 1, generator=generator)
    rows = torch.tensor([[-1.0], [0.5], [2.0]])
    found = selection.density_ratio(source, target, rows).log()
    assert (found - (rows[:, 0] - 0.5)).abs().max() < 0.25


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 20), st.integers(2, 6), st.integers(0, 1000))
def test_bounds(rows: int, classes: int, seed: int) -> None:
    p = probabilities(rows, classes, seed)
    assert -np.log(classes) - EXACT <= selection.entropy(p) <= 0
    assert -EXACT <= selection.information(p) <= np.log(classes) + EXACT
    assert -EXACT <= selection.neighbourhood_density(p) <= np.log(rows - 1) + EXACT


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_prefers_a_good_model_to_one_of_chance(name: str) -> None:
    good = evidence()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    chance = ValidatorInputs(
        good.target_features,
        good.target_probabilities[order].sqrt() / good.target_probabilities[order].sqrt().sum(1, keepdim=True),
        good.source_features,
        good.source_probabilities[order],
        good.source_labels,
        good.held_out,
    )
    assert CRITERIA[name](good) > CRITERIA[name](chance)


def test_soft_neighbourhood_density_is_fooled_by_flat_predictions_of_the_first_steps() -> None:
    """Its known weakness, and why a checkpoint of the very beginning can win: all rows are then neighbours of all."""
    p = evidence().target_probabilities
    flat = (p.log() / 100).softmax(1)
    assert torch.equal(flat.argmax(1), p.argmax(1))
    assert selection.neighbourhood_density(flat) > selection.neighbourhood_density(p)
    assert selection.information(flat) < selection.information(p)


def test_criteria_that_hold_rows_out_say_so() -> None:
    seen = evidence()
    blind = ValidatorInputs(seen.target_features, seen.target_probabilities)
    assert set(scores(seen)) == set(CRITERIA)
    assert set(scores(blind)) == {name for name in CRITERIA if not holds_out(name)}
    with pytest.raises(ValueError, match="held out of training"):
        CRITERIA["dev"](blind)


def test_quadratic_criteria_see_a_part_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = evidence(rows=300)
    whole = scores(seen)
    monkeypatch.setattr(selection, "MOST_ROWS", 200)
    part = scores(seen)
    assert part == scores(seen)
    assert part["snd"] < whole["snd"]
    assert part["clustering"] == pytest.approx(whole["clustering"], abs=0.1)
    assert part["entropy"] == whole["entropy"]


# The guard


def test_collapse_fools_criteria_and_not_the_guard() -> None:
    """Without the guard, entropy and SND choose the collapsed model: the guard is what keeps it out."""
    good, bad = evidence(), collapsed()
    even = torch.ones(3) / 3
    models = (good, bad)
    allowed = [eligible(model.predicted, even) for model in models]
    assert allowed == [True, False]
    fooled = {name for name, c in CRITERIA.items() if choose([c(m) for m in models], [True, True]) == 1}
    assert {"entropy", "snd"} <= fooled
    for criterion in CRITERIA.values():
        assert choose([criterion(model) for model in models], allowed) == 0


def test_a_lost_class_is_seen_even_where_the_balance_is_kept() -> None:
    reference_shares = torch.ones(10) / 10
    predicted = torch.arange(100) % 10
    assert eligible(predicted, reference_shares)
    assert not eligible(torch.where(predicted == 3, 4, predicted), reference_shares)


def test_lost_balance_is_seen_even_where_no_class_is_lost() -> None:
    predicted = torch.cat([torch.arange(100) % 10, torch.zeros(200, dtype=torch.long)])
    assert not eligible(predicted, torch.ones(10) / 10)
    assert eligible(predicted, class_proportions(predicted, 10))


def test_few_expected_rows_are_no_loss() -> None:
    expected = torch.tensor([0.5, 0.46, 0.04])
    assert eligible(torch.arange(100) % 2, expected)
    assert not eligible(torch.arange(200) % 2, expected)


# What is chosen


def test_choose_takes_the_last_of_equals_and_no_nan() -> None:
    assert choose([float("nan"), 1.0, 1.0, 0.0], [True] * 4) == 2
    assert choose([float("nan")], [True]) is None
    assert choose([1.0], [False]) is None


def test_oracle_is_the_best_and_unknown_without_labels() -> None:
    assert oracle([None, 3.0, 5.0, 5.0]) == 2
    assert oracle([None]) is None


@pytest.mark.parametrize("sizes", [(20, 20), (3, 50), (7, 1)])
def test_folds_cover_the_source_and_leave_every_class_to_train_on(sizes: tuple[int, ...]) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    folds = [hold_out(labels, fold) for fold in range(FOLDS)]
    for fold in folds:
        assert set(labels[~fold].tolist()) == set(labels.tolist())
        assert fold.any()
    for label, size in enumerate(sizes):
        times = torch.stack(folds).sum(0)[labels == label]
        assert (times == 1).all() if size >= FOLDS else (times <= FOLDS).all()
    assert torch.equal(folds[1], hold_out(labels, 1))


def test_no_row_to_hold_out_is_told() -> None:
    with pytest.raises(UserError, match="every class of the source has one example"):
        hold_out(torch.arange(4))


def test_rules_are_the_registry() -> None:
    assert all(f"{name}, " in RUN_OPTIONS["select"].help for name in CRITERIA)
    assert DEFAULT in CRITERIA
    assert not holds_out(DEFAULT)


TEN = torch.zeros(10, dtype=torch.long)  # the labels of a target


def candidate(step: int, score: float, allowed: bool, right: int = 0) -> Candidate:
    """Return a checkpoint that predicts so many of ten rows rightly."""
    return Candidate(step, allowed, {"snd": score}, (torch.arange(10) >= right).short())


def describe(*candidates: Candidate, labels: torch.Tensor = TEN) -> Selection:
    domain = from_arrays(torch.zeros(4, 1), [0, 1, 0, 1])
    selection = CheckpointSelection("snd", domain, domain.unlabelled(), torch.ones(2) / 2, candidates=[*candidates])
    return describe_selection(selection, labels, evaluate(candidates[-1].predicted, labels, 2), candidates[-1].step)


def test_summary_says_what_other_rules_would_have_given() -> None:
    told = describe(candidate(1, 5.0, False, 9), candidate(2, 4.0, True, 8), candidate(3, 1.0, True, 7))
    assert told.rule == "snd"
    assert told.step == 2
    steps = {rule: choice.step for rule, choice in told.choices.items()}
    assert steps == {"last": 3, "snd": 2, "oracle": 1}
    assert told.choices["last"].accuracy == 70.0


def test_without_an_eligible_candidate_the_last_is_reported() -> None:
    told = describe(candidate(1, 5.0, False), candidate(2, 4.0, False), labels=torch.full((10,), UNLABELLED))
    assert told.step == 2
    assert "oracle" not in told.choices
    assert told.choices["snd"].accuracy is None


# A criterion of one's own


def least_confident(inputs: ValidatorInputs) -> float:
    return -inputs.target_probabilities.max(1).values.mean().item()


def right_on_held_out_rows(inputs: ValidatorInputs) -> torch.Tensor:
    assert inputs.source_probabilities is not None
    return (inputs.source_probabilities.argmax(1) == inputs.source_labels)[inputs.held_out].float().mean()


right_on_held_out_rows.holds_out = True  # pyright: ignore[reportFunctionMemberAccess]


@pytest.mark.parametrize("criterion", [least_confident, right_on_held_out_rows])
def test_a_function_of_one_s_own_chooses_the_checkpoint(tmp_path: Path, criterion: Callable[..., Any]) -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    options = {"backbone": "none", "steps": 20, "batch_size": 8, "baseline": False, "report": False}
    run = train((x, x[:, 0] > 0), (x + 0.5, x[:, 0] > 0), out=tmp_path / "run", select=criterion, **options)
    found, name = run.summary.selection, f"{criterion.__module__}:{criterion.__name__}"
    assert found.rule == run.model.config.select == name
    best = max(found.candidates, key=lambda candidate: (candidate.eligible, candidate.scores[name], candidate.step))
    assert found.step == found.choices[name].step == best.step
    assert ("dev" in found.choices) == holds_out(name)


def test_an_installed_package_brings_a_criterion(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("timid", f"{__name__}:least_confident", CRITERIA.group)
    monkeypatch.setitem(vars(CRITERIA), "installed", {"timid": point})
    assert rule_of("timid") == "timid"
    assert CRITERIA["timid"](evidence()) < 0
    assert set(scores(evidence(), "timid")) == {*CRITERIA.rows, "timid"}


@pytest.mark.parametrize("select", ["no.such:module", "math:no_such", "besst", 3])
def test_a_criterion_that_is_not_there_is_told(select: object) -> None:
    with pytest.raises(UserError, match=r"(cannot be imported|unknown criterion)"):
        make_config({"select": select})


def test_a_criterion_that_is_no_function_is_told() -> None:
    with pytest.raises(UserError, match="the criterion 'math:pi' has to be a function of ValidatorInputs"):
        make_config({"select": "math:pi"})


def test_a_criterion_that_returns_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CRITERIA._own, "own:wordy", lambda inputs: inputs.target_probabilities)
    with pytest.raises(UserError, match="own:wordy has to return one number; it returned Tensor"):
        scores(evidence(), "own:wordy")


# Runs


@pytest.fixture
def arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", 60, seed=1)
    write_arrays(tmp_path / "t.npz", seed=2, shift=0.5)
    return tmp_path


def _train(out: str, *options: object) -> tuple[object, ...]:
    paths = ("--source", "s.npz", "--target", "t.npz", "--backbone", "none", "--no-report", "--out", out)
    return ("train", *paths, "--batch-size", 8, "--steps", 40, *options)


@pytest.mark.parametrize("rule", ["last", *CRITERIA])
def test_the_reported_model_is_the_chosen_checkpoints(command: Command, arrays: Path, rule: str) -> None:
    told = json.loads(command(*_train("run", "--select", rule, "--json", "--no-baseline")).out)
    found = told["selection"]
    assert found["rule"] == rule
    assert [candidate["step"] for candidate in found["candidates"]] == list(range(4, 41, 4))
    assert set(found["candidates"][0]["scores"]) == {n for n in CRITERIA if holds_out(rule) or not holds_out(n)}
    assert set(found["choices"]) == {"last", "oracle", *found["candidates"][0]["scores"]}
    assert found["choices"][rule]["step"] == found["step"]
    assert found["choices"][rule]["accuracy"] == told["evaluation"]["accuracy"]
    assert found["choices"]["oracle"]["accuracy"] == max(c["accuracy"] for c in found["candidates"])
    again = json.loads(command("evaluate", "run", "t.npz", "--json").out)
    assert again["accuracy"] == told["evaluation"]["accuracy"]
    assert arrays.exists()


def test_a_run_cut_short_at_the_chosen_step_is_the_chosen_model(command: Command, arrays: Path) -> None:
    """SND likes the flat predictions of the first steps: what it chose is the model that was there then."""
    found = json.loads(command(*_train("run", "--select", "snd", "--json", "--no-baseline")).out)["selection"]
    assert found["step"] < 40
    weights = load_file(arrays / "run" / "model.safetensors")
    checkpoint = torch.load(sorted((arrays / "run" / "checkpoints").glob("*.pt"))[-1], weights_only=True)
    assert checkpoint["step"] == 40
    last = checkpoint["objective"]
    assert any(not torch.equal(tensor, last[f"network.{name}"]) for name, tensor in weights.items())


@pytest.mark.parametrize("rule", ["snd", "transfer-cv"])
def test_target_labels_choose_nothing(command: Command, arrays: Path, rule: str) -> None:
    with np.load("t.npz") as file:
        x, y = file["x"], file["y"]
    models = []
    for name, labels in (("a", {"y": y}), ("b", {"y": y[::-1]}), ("c", {})):
        np.savez("t.npz", x=x, **labels)
        outcome = command(*_train(name, "--select", rule, "--steps", 8, "--checkpoint-every", 4, "--json"))
        found = json.loads(outcome.out)["selection"]
        assert (found["candidates"][0]["accuracy"] is None) == (name == "c")
        assert ("oracle" in found["choices"]) == (name != "c")
        models.append((arrays / name / "model.safetensors").read_bytes())
    assert models[0] == models[1] == models[2]


def test_held_out_rows_are_not_trained_on(command: Command, arrays: Path) -> None:
    """Rows of noise that are held out leave the weights as they are; noise elsewhere does not."""
    with np.load("s.npz") as file:
        x, y = file["x"], file["y"]
    held = hold_out(torch.from_numpy(np.unique(y, return_inverse=True)[1])).numpy()
    weights = []
    for name, rows in (("a", np.zeros(60, bool)), ("b", held), ("c", ~held)):
        np.savez("s.npz", x=np.where(rows[:, None], 9 * x[::-1], x), y=y)
        assert command(*_train(name, "--select", "dev", "--no-baseline")).code == 0
        checkpoint = torch.load(arrays / name / "checkpoints" / "step-00000040.pt", weights_only=True)
        weights.append(checkpoint["objective"]["network.head.classifier.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("rule", ["snd", "dev"])
def test_resumed_run_chooses_as_an_uninterrupted_one(command: Command, arrays: Path, rule: str) -> None:
    options = ("--select", rule, "--no-baseline")
    assert command(*_train("whole", *options)).code == 0
    assert command(*_train("run", *options)).code == 0
    (arrays / "run" / "summary.json").unlink()
    (arrays / "run" / "checkpoints" / "step-00000040.pt").unlink()
    assert command("train", "--resume", "run").code == 0
    whole, again = (json.loads((arrays / name / "summary.json").read_text()) for name in ("whole", "run"))
    assert whole["selection"] == again["selection"]
    assert (arrays / "whole" / "model.safetensors").read_bytes() == (arrays / "run" / "model.safetensors").read_bytes()


def test_trade_off_is_chosen_by_transfer_cross_validation(
    command: Command, arrays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jointadapt.experiment.trade_off.TRADE_OFFS", (0.1, 1.0))
    told = json.loads(command(*_train("run", "--trade-off", "search", "--steps", 6, "--json")).out)
    found = told["selection"]["trade_off"]
    assert found["rule"] == "transfer-cv"
    assert [(t["trade_off"], t["fold"]) for t in found["trials"]] == [(c, f) for f in range(FOLDS) for c in (0.1, 1.0)]
    mean = {c: np.mean([t["score"] for t in found["trials"] if t["trade_off"] == c]) for c in (0.1, 1.0)}
    assert found["chosen"] == max(mean, key=lambda c: mean[c])
    assert f"trade_off = {found['chosen']}" in (arrays / "run" / "config.toml").read_text()
    assert not (arrays / "run" / "trade-off").exists()
    given = command(*_train("given", "--trade-off", found["chosen"], "--steps", 6, "--json"))
    assert json.loads(given.out)["evaluation"] == told["evaluation"]
    assert json.loads(given.out)["selection"]["trade_off"] is None


def test_an_interrupted_choice_of_the_trade_off_goes_on(
    command: Command, arrays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jointadapt.experiment.trade_off.TRADE_OFFS", (0.1, 1.0))
    monkeypatch.setattr("jointadapt.experiment.trade_off.FOLDS", 2)
    options = ("--trade-off", "search", "--steps", 6, "--no-baseline")
    whole = json.loads(command(*_train("whole", *options, "--json")).out)
    (arrays / "run").mkdir()
    (arrays / "run" / "config.toml").write_bytes((arrays / "whole" / "config.toml").read_bytes())
    first = {**whole["selection"]["trade_off"], "chosen": None}
    first["trials"] = first["trials"][:2]  # a fold's are written at once
    (arrays / "run" / "trade-off.json").write_text(json.dumps(first))
    assert command("train", "--resume", "run").code == 0
    again = json.loads((arrays / "run" / "summary.json").read_text())
    assert again["selection"] == whole["selection"]


def test_images_trained_through_are_looked_at_only_when_asked(command: Command, tmp_path: Path) -> None:
    from conftest import draw_folder

    source, target = draw_folder(tmp_path / "cams", 5), draw_folder(tmp_path / "webs", 5, seed=7)
    options = ("--backbone", "squeezenet1_1", "--weights", "none", "--no-frozen", "--steps", 4, "--batch-size", 2)
    shared = (
        "--source",
        source,
        "--target",
        target,
        *options,
        "--no-report",
        "--no-baseline",
        "--workers",
        0,
        "--json",
    )
    told = json.loads(command("train", *shared, "--checkpoint-every", 2, "--out", tmp_path / "a").out)
    assert told["selection"]["candidates"] == []
    assert told["selection"]["choices"]["last"]["accuracy"] == told["evaluation"]["accuracy"]
    asked = ("--select", "information", "--checkpoint-every", 2)
    told = json.loads(command("train", *shared, *asked, "--out", tmp_path / "b").out)
    assert [candidate["step"] for candidate in told["selection"]["candidates"]] == [2, 4]
    assert told["selection"]["choices"]["information"]["accuracy"] == told["evaluation"]["accuracy"]


def test_the_command_says_which_criterion_chose(command: Command, arrays: Path) -> None:
    out = command(*_train("run", "--select", "snd", "--no-baseline")).out
    assert "selected by 'snd'; target accuracy: last " in out
    assert ", oracle " in out
    assert "(the labels serve evaluation only)" in out
    assert arrays.exists()


def test_unknown_rule_is_refused(command: Command, arrays: Path) -> None:
    outcome = command(*_train("run", "--select", "best"))
    assert outcome.code == 2
    assert "unknown criterion 'best'; known are last, entropy, information" in outcome.err
    assert arrays.exists()
