"""Choosing without target labels: the two criteria, the refusals, and a whole `--method auto`."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, draw_folder, write_arrays
from torch import Tensor

from jointadapt.diagnostics.shift_kind import diagnose, estimated_priors
from jointadapt.evaluation.calibration import calibration_error, softening_temperature, tempered
from jointadapt.experiment import train
from jointadapt.experiment.candidates import CORRECTED
from jointadapt.methods.registry import CANDIDATES
from jointadapt.runs.model import Model
from jointadapt.runs.reading import read_run
from jointadapt.selection.models import (
    CAUTIOUS,
    COMBINATION,
    choose_model,
    class_geometry,
    nearest,
    score_models,
    seems_one_class,
)

CORNERS = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 4.0]])
FAST = {"backbone": "mlp", "bottleneck": 32, "dropout": 0.0, "steps": 150, "report": False}
ROUNDING = 1e-9
PER_MILLE = 0.1
FEW_ROWS = 0.12  # how far shares estimated from 200 rows may lie from the truth


def clouds(rows: int = 300, seed: int = 0, shares: tuple[float, ...] = (1, 1, 1)) -> tuple[Tensor, Tensor]:
    """Return three Gaussian clouds in the plane, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.multinomial(torch.tensor(shares, dtype=torch.float32), rows, True, generator=generator)
    return CORNERS[y] + torch.randn(rows, 2, generator=generator), y


def turned(x: Tensor, degrees: float) -> Tensor:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return x @ torch.tensor([[c, s], [-s, c]], dtype=x.dtype)


def scrambled(y: Tensor, share: float, seed: int = 0) -> Tensor:
    """Return the classes with a share of the rows given a class by chance."""
    generator = torch.Generator().manual_seed(seed)
    other = torch.randint(3, y.shape, generator=generator)
    return torch.where(torch.rand(len(y), generator=generator) < share, other, y)


# The criteria


def test_nearest_rows_are_those_of_a_sort():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double() + 1000
    for row, found in enumerate(nearest(x, 4).tolist()):
        distances = [((x[row] - x[other]) ** 2).sum().item() for other in range(40)]
        assert found == sorted((o for o in range(40) if o != row), key=distances.__getitem__)[:4]


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_few_rows_have_few_neighbours(rows):
    assert nearest(torch.arange(float(rows))[:, None]).shape == (rows, rows - 1)


def test_geometry_is_blind_to_isometries_and_scale_and_sees_permutations():
    x, y = clouds()
    for moved in (x, x + 9, -3 * x, turned(x, 70), x * torch.tensor([1.0, -1.0])):
        assert class_geometry(x, y, moved, y) == pytest.approx(1, abs=ROUNDING)
    for permutation in ([1, 2, 0], [1, 0, 2], [0, 2, 1]):
        assert class_geometry(x, y, x, torch.tensor(permutation)[y]) < 0.6


def test_geometry_follows_its_formula():
    (x, y), (u, v) = clouds(), clouds(200, 1, (5, 2, 1))
    v = scrambled(v, 0.2)
    pairs = [(0, 1), (0, 2), (1, 2)]

    def lengths(rows: Tensor, classes: Tensor) -> np.ndarray:
        return np.array([float((rows[classes == a].mean(0) - rows[classes == b].mean(0)).norm()) for a, b in pairs])

    weights = np.array([int((v == a).sum()) * int((v == b).sum()) for a, b in pairs])
    covariance = np.cov(np.stack([lengths(x, y), lengths(u, v)]), aweights=weights, ddof=0)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert class_geometry(x, y, u, v) == pytest.approx(expected, abs=1e-5)


def test_geometry_is_zero_where_fewer_than_three_of_several_classes_are_predicted():
    x, y = clouds()
    assert class_geometry(x, y, x, y.clamp_max(1)) == 0
    assert class_geometry(x, y, x, torch.zeros_like(y)) == 0
    assert class_geometry(x, y, x[:6], torch.tensor([0, 0, 0, 1, 1, 2])) == 0


# The choice


def test_agreement_beyond_chance_is_cohens():
    (x, y), (u, v) = clouds(), clouds(seed=1, shares=(6, 2, 1))
    found = score_models(x, y, u, {"source-only": v, "one class": torch.zeros_like(v)})
    near = nearest(u)
    agreeing = (v[near] == v[:, None]).double().mean().item()
    chance = sum(((v == c).double().mean().item()) ** 2 for c in range(3))
    assert found["source-only"].neighbours == pytest.approx(agreeing)
    assert found["source-only"].beyond_chance == pytest.approx((agreeing - chance) / (1 - chance))
    assert (found["one class"].neighbours, found["one class"].beyond_chance) == (1, 0)


def test_the_combination_is_taken_unless_one_is_clearly_better():
    (x, y), (u, v) = clouds(), clouds(seed=1)
    predicted = {"source-only": scrambled(v, 0.5), "fair": scrambled(v, 0.4), "good": v}
    choice = choose_model(x, y, u + 3, {**predicted, COMBINATION: scrambled(v, 0.02)})
    assert choice.chosen == COMBINATION
    assert choice.reason.startswith("Took the mean of source-only, fair, good: none alone is clearly better")
    assert list(choice.scores) == ["source-only", "fair", "good", COMBINATION]
    assert choice.scores["good"].total() > choice.scores[COMBINATION].total()
    choice = choose_model(x, y, u + 3, {**predicted, COMBINATION: scrambled(v, 0.3)})
    assert choice.chosen == "good"
    assert choice.reason.startswith("Chose good without target labels: neighbours ")


def test_a_combination_that_permutes_the_classes_is_refused():
    (x, y), (u, v) = clouds(), clouds(seed=1)
    swapped = torch.tensor([1, 0, 2])[v]
    choice = choose_model(x, y, u, {"source-only": scrambled(v, 0.7), "a": swapped, COMBINATION: swapped})
    assert choice.chosen == "source-only"
    assert choice.scores[COMBINATION].neighbours > choice.scores["source-only"].neighbours
    assert "as when classes are matched to wrong ones" in choice.reason


def test_a_candidate_that_permutes_the_classes_is_passed_over_for_one_that_does_not():
    (x, y), (u, v) = clouds(), clouds(seed=1)
    swapped = torch.tensor([1, 0, 2])[v]
    predicted = {"source-only": scrambled(v, 0.7), "permuted": swapped, "fair": scrambled(v, 0.1)}
    choice = choose_model(x, y, u, {**predicted, COMBINATION: scrambled(swapped, 0.1)})
    assert choice.chosen == "fair"


def test_a_combination_that_parts_a_class_is_refused():
    (x, y), (u, v) = clouds(), clouds(seed=1)
    one = u[v == 1]
    quarters = scrambled((one > one.median(0).values).long() @ torch.tensor([2, 1]) % 3, 0.3)
    predicted = {"source-only": torch.ones_like(quarters), "a": quarters, COMBINATION: quarters}
    choice = choose_model(x, y, one, predicted)
    assert choice.chosen == "source-only"
    assert "as when classes are missing in the target" in choice.reason


def test_caution_takes_the_combinations_place():
    (x, y), (u, v) = clouds(), clouds(seed=1)
    predicted = {"source-only": scrambled(v, 0.2), "mcc": v, "im": scrambled(v, 0.2), COMBINATION: scrambled(v, 0.1)}
    choice = choose_model(x, y, u + 3, {**predicted, CAUTIOUS: scrambled(v, 0.05)})
    assert choice.chosen == CAUTIOUS
    assert choice.reason.startswith("Took the mean of source-only and MCC: the others move the class shares")


def test_without_a_combination_the_best_candidate_is_taken():
    (x, y), (u, v) = clouds(), clouds(seed=1)
    choice = choose_model(x, y, u + 3, {"source-only": scrambled(v, 0.5), "worse": scrambled(v, 0.8), "good": v})
    assert choice.chosen == "good"


def test_without_candidates_source_only_stays():
    x, y = clouds()
    assert choose_model(x, y, x, {"source-only": y}).chosen == "source-only"


def test_geometry_of_two_classes_is_the_cosine_of_the_turn():
    x, y = clouds(shares=(1, 1, 0))
    for degrees in (0, 30, 90, 120, 180):
        expected = float(np.cos(np.radians(degrees)))
        assert class_geometry(x, y, 2 * turned(x, degrees) + 5, y) == pytest.approx(expected, abs=1e-6)
        assert class_geometry(x, y, turned(x, degrees), 1 - y) == pytest.approx(-expected, abs=1e-6)
    assert class_geometry(x, y, x, torch.zeros_like(y)) == 0


def test_two_classes_that_changed_places_are_refused():
    (x, y), (u, v) = clouds(shares=(1, 1, 0)), clouds(seed=1, shares=(1, 1, 0))
    for degrees in (0, 30):
        plain = scrambled(v, 0.5).clamp_max(1)
        predicted = {"source-only": plain, "swapped": 1 - v, COMBINATION: 1 - v}
        choice = choose_model(x, y, turned(u, degrees), predicted)
        assert choice.chosen == "source-only"
        assert choice.scores["swapped"].neighbours > choice.scores["source-only"].neighbours
    assert choose_model(x, y, u + 9, {"source-only": plain, "right": v, "swapped": 1 - v}).chosen == "right"


# Calibration


@pytest.mark.parametrize("believed", [0.5, 0.7, 0.9, 1.0])
def test_a_model_is_made_no_surer_than_it_is_believed_and_never_surer(believed):
    p = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).mul(4).softmax(1)
    confidence = p.max(1).values.mean().item()
    temperature = softening_temperature(p, believed)
    softened = tempered(p, temperature)
    assert softened.max(1).values.mean().item() == pytest.approx(min(believed, confidence), abs=1e-5)
    assert (softened.argmax(1) == p.argmax(1)).all()
    assert (temperature == 1) == (believed >= confidence)


def test_tempered_probabilities_are_those_of_divided_logits():
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(tempered(logits.softmax(1), 3.0), (logits / 3).softmax(1))


def test_calibration_error_follows_its_formula():
    generator = torch.Generator().manual_seed(0)
    p, y = torch.rand(300, 3, generator=generator).softmax(1), torch.randint(-1, 3, (300,), generator=generator)
    confidence, right = p.max(1).values.double().numpy(), (p.argmax(1) == y).numpy()
    known, total = (y >= 0).numpy(), 0.0
    for b in range(10):
        rows = known & (confidence > b / 10) & (confidence <= (b + 1) / 10)
        if rows.any():
            total += rows.sum() * abs(right[rows].mean() - confidence[rows].mean())
    assert calibration_error(p, y) == pytest.approx(100 * total / known.sum(), abs=ROUNDING)
    assert calibration_error(p, torch.full((300,), -1)) is None


# The diagnosis


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (clouds(200, 1), "none found"),
        (clouds(200, 1, (10, 3, 1)), "label shift"),
        ((clouds(200, 1)[0] + 1, None), "covariate shift"),
        ((clouds(5, 1)[0], None), "too few examples"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_the_kind_of_shift_is_told(target, kind):
    found = diagnose(*clouds(), target[0])
    assert found.kind == kind
    assert found.to_dict()["words"] == str(found)


def test_proportions_are_estimated_where_only_they_differ():
    u, v = clouds(400, 1, (10, 3, 1))
    found = diagnose(*clouds(), u)
    truth = torch.bincount(v, minlength=3).double() / len(v)
    assert np.abs(np.array(found.proportions) / 100 - truth.numpy()).max() < FEW_ROWS


def test_estimated_priors_maximise_the_likelihood():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(200, 2, generator=generator).double().softmax(1)
    shares = torch.tensor([0.3, 0.7]).double()
    found = estimated_priors(p, shares, 5000)

    def likelihood(share: float) -> float:
        pi = torch.tensor([share, 1 - share])
        return (p * pi / shares).sum(1).log().mean().item()

    grid = [index / 1000 for index in range(1001)]
    assert found[0].item() == pytest.approx(max(grid, key=likelihood), abs=0.01)


def test_no_shift_is_rarely_mistaken_for_one():
    alarms = sum(diagnose(*clouds(150, seed), clouds(150, seed + 100)[0]).kind != "none found" for seed in range(20))
    assert alarms <= 4


# The whole


def test_auto_adapts_where_adapting_helps(tmp_path: Path):
    (x, y), (u, v) = clouds(), clouds(seed=1)
    run = train((x, y), (turned(u, 30), v), out=tmp_path / "run", method="auto", **FAST)
    summary = run.summary
    assert summary.chosen == COMBINATION
    assert summary.method == f"auto: {summary.chosen}"
    assert summary.baseline is not None
    assert summary.accuracy > summary.baseline.evaluation.accuracy
    moved = ["source-only moved", "mcc moved"]
    assert list(summary.candidates) == ["source-only", *CANDIDATES, *moved, COMBINATION]
    assert summary.candidates[summary.chosen].evaluation == summary.evaluation
    assert summary.verdict.startswith(
        "Took the mean of source-only, MCC, JAN+MCC, SHOT, source-only moved, MCC moved: "
    )
    assert run.model.members == 6
    own, candidate = (read_run(path) for path in (run.folder, tmp_path / "run" / "candidates" / summary.chosen))
    assert [row.predicted for row in own.predictions] == [row.predicted for row in candidate.predictions]
    assert summary.calibration.temperature == run.model.temperature >= 1
    assert Model.load(run.folder).temperature == run.model.temperature
    believed = summary.calibration.believed_accuracy
    assert 100 * summary.confidence <= believed + PER_MILLE or run.model.temperature == 1


def test_auto_moves_the_prior_where_shares_alone_differ():
    (x, y), (u, v) = clouds(600), clouds(600, 1, (12, 3, 1))
    summary = train((1.2 * x, y), (1.2 * u, v), method="auto", **FAST).summary
    assert summary.diagnosis.kind == "label shift"
    assert summary.chosen == CORRECTED
    assert list(summary.candidates) == ["source-only", CORRECTED]
    assert summary.verdict.startswith("Took source-only with its prior moved to the target's estimated class shares: ")
    assert summary.accuracy >= summary.baseline.evaluation.accuracy - PER_MILLE


def test_one_class_is_seen_where_another_classifier_agrees():
    (x, y), (u, v) = clouds(), clouds(seed=1)
    one = u[v == 1]
    ones = torch.ones(len(one), dtype=torch.long)
    assert seems_one_class(x, y, one, ones)
    assert not seems_one_class(x, y, one, 2 * ones)  # source-only has collapsed: it is not agreed with
    assert not seems_one_class(x, y, u, torch.ones_like(v))
    assert not seems_one_class(x, y, u, v)
    assert not seems_one_class(x, torch.ones_like(y), one, ones)


def test_auto_trains_nothing_where_the_target_holds_one_class():
    (x, y), (u, v) = clouds(), clouds(seed=1)
    one = v == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(.*)not in the target", UserWarning)
        run = train((x, y), (u[one] + 1, v[one]), method="auto", **FAST)
    assert run.summary.chosen == "source-only"
    assert run.summary.verdict.startswith("Kept source-only: it gives nearly all target examples one class, and ")
    assert run.summary.candidates == {}


@pytest.mark.parametrize("case", ["five rows", "as they are"])
def test_auto_keeps_source_only_where_adapting_would_not_help(case: str):
    (x, y), (u, v) = clouds(), clouds(seed=1)
    target = {"five rows": (u[:5] + 2, v[:5]), "as they are": (u, v)}[case]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(.*)(fewer than a batch|not in the target)", UserWarning)
        summary = train((x, y), target, method="auto", **FAST).summary
    assert summary.chosen == "source-only"
    assert summary.verdict.startswith("Kept source-only: ")
    assert summary.evaluation == summary.baseline.evaluation


def test_auto_at_the_command_line_resumes_and_reports(command: Command, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2, shift=0.5)
    options = ("--source", "s.npz", "--target", "t.npz", "--method", "auto", "--steps", 20, "--batch-size", 8)
    whole = json.loads(command("train", *options, "--out", "whole", "--json").out)
    assert command("train", *options, "--out", "cut").code == 0
    for file in ("summary.json", "model.safetensors", "candidates/shot/summary.json"):
        (tmp_path / "cut" / file).unlink()
    assert command("train", "--resume", "cut").code == 0
    again = json.loads((tmp_path / "cut" / "summary.json").read_text())
    assert again["candidates"] == whole["candidates"]
    assert again["verdict"] == whole["verdict"]
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "How it was chosen" in page
    assert all(name in page for name in CANDIDATES)


def test_auto_refuses_trade_offs_it_cannot_use(refused, tmp_path: Path):
    source, target = write_arrays(tmp_path / "s.npz"), write_arrays(tmp_path / "t.npz", seed=2)
    options = ("train", "--source", source, "--target", target, "--out", tmp_path / "run", "--method", "auto")
    assert "search it for one method" in refused(*options, "--trade-off", "search")
    assert "trade_off has 2 values and mcc 1 part" in refused(*options, "--trade-off", "1,2")


def test_auto_of_fine_tuned_images_looks_at_the_untrained_features(tmp_path: Path):
    domains = draw_folder(tmp_path / "cams", 5), draw_folder(tmp_path / "webs", 5, seed=7)
    options = {"backbone": "squeezenet1_1", "weights": "none", "steps": 1, "batch_size": 4, "workers": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        summary = train(*domains, method="auto", frozen=False, report=False, **options).summary
    assert summary.diagnosis.rows == 10
    assert summary.chosen in ("source-only", *CANDIDATES, COMBINATION)
