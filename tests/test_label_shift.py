"""Class shares of the target, estimated without its labels: found, and used for risk, discrepancy and prior."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Command
from test_docs import blocks

from jointadapt import AdaptedClassifier, train
from jointadapt.data import from_arrays
from jointadapt.diagnostics.class_shares import (
    ClassShares,
    estimate_class_shares,
    held_out_probabilities,
    mean_predictions,
    shares_by_confusion,
)
from jointadapt.methods import Method
from jointadapt.runs.reading import read_summary
from jointadapt.runs.summary import Summary

FEW_POINTS = 0.04
"""Of a share that some hundred examples of overlapping clouds let be found."""
QUICK = {"steps": 150, "report": False, "baseline": False}
CENTRES = torch.tensor([[0.0, 0.0], [1.6, 0.0], [0.0, 1.6]])


def clouds(counts: tuple[int, ...], seed: int, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    noise = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(seed))
    return CENTRES[labels] + 0.8 * noise + shift, labels


@pytest.fixture(scope="module")
def domains() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    (x_s, y_s), (x_t, y_t) = clouds((150, 150, 150), 0), clouds((320, 100, 30), 1)
    return (x_s.numpy(), y_s.numpy()), (x_t.numpy(), y_t.numpy())


def true_shares(labels: torch.Tensor) -> torch.Tensor:
    return torch.bincount(labels, minlength=3) / len(labels)


def test_shares_are_found_where_label_shift_is_all_there_is():
    (x_s, y_s), (x_t, y_t) = clouds((150, 150, 150), 0), clouds((320, 100, 30), 1)
    found = estimate_class_shares(x_s, y_s, x_t, 3)
    true = true_shares(y_t).double()
    torch.testing.assert_close(found.target, true, rtol=0, atol=FEW_POINTS)
    assert (found.low <= found.target).all()
    assert (found.target <= found.high).all()
    held, of_target, own = held_out_probabilities(x_s, y_s, x_t, 3)
    torch.testing.assert_close(shares_by_confusion(held, own, of_target), true, rtol=0, atol=FEW_POINTS)
    blurred = mean_predictions(x_s, y_s, x_t, 3).target
    assert 1 / 3 < blurred[0] < true[0]


def test_the_interval_covers_the_true_shares_as_often_as_it_says():
    covered = []
    for seed in range(20):
        (x_s, y_s), (x_t, _) = clouds((100, 100, 100), seed), clouds((140, 40, 20), seed + 100)
        found, true = estimate_class_shares(x_s, y_s, x_t, 3, seed), torch.tensor([0.7, 0.2, 0.1])
        covered.append(((found.low <= true) & (true <= found.high)).double().mean())
    assert torch.stack(covered).mean() > 0.75  # 0.9, but that the source's examples are taken for all there are


def test_held_out_probabilities_are_calibrated_and_of_examples_that_were_not_seen():
    x, y = clouds((60, 60, 60), 3)
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]  # nothing can be learnt
    held, _, own = held_out_probabilities(x, y, x, 3)
    assert (held.argmax(1) == own).double().mean() < 0.5
    assert held.max(1).values.mean() < 0.5


def test_recordings_are_held_out_whole():
    x, y = clouds((30, 30, 30), 4)
    x = torch.cat([x, torch.randn(90, 60, generator=torch.Generator().manual_seed(1))], 1)
    twice = torch.cat([x, x]), torch.cat([y, y])
    apart = held_out_probabilities(*twice, x, 3, groups=torch.arange(90).repeat(2))
    together = held_out_probabilities(*twice, x, 3)
    loss = [-held[torch.arange(len(own)), own].log().mean() for held, _, own in (apart, together)]
    assert loss[1] < loss[0]


@pytest.mark.parametrize("method", ["source-only", "jan", "mcc", "im"])
def test_estimated_shares_make_a_model_better(domains, method):
    plain, corrected = (train(*domains, method=method, label_shift=mode, **QUICK) for mode in ("no", "estimate"))
    assert corrected.summary.accuracy > plain.summary.accuracy + 0.5
    assert plain.summary.class_shares is None
    assert corrected.summary.class_shares.target[0] == pytest.approx(100 * 320 / 450, abs=100 * FEW_POINTS)


def test_the_prior_of_source_only_is_moved_by_the_log_ratio_and_nothing_else(domains):
    plain, corrected = (
        train(*domains, method="source-only", label_shift=mode, **QUICK).model for mode in ("no", "estimate")
    )
    before, after = (model.network.state_dict() for model in (plain, corrected))
    bias = "head.classifier.bias"
    assert all(torch.equal(before[name], after[name]) for name in before if name != bias)
    (x_s, y_s), (x_t, _) = domains
    shares = estimate_class_shares(*map(torch.from_numpy, (x_s, y_s, x_t)), 3)
    torch.testing.assert_close((after[bias] - before[bias]).double(), shares.ratio.log(), rtol=0, atol=0.05)


def test_auto_leaves_a_covariate_shift_alone_and_corrects_a_label_shift(domains):
    source, target = domains
    moved = (target[0][:, ::-1] * 1.5 + 1).copy(), target[1]
    left, plain = (train(source, moved, label_shift=mode, **QUICK) for mode in ("auto", "no"))
    assert left.summary.class_shares is None
    for a, b in zip(*(run.model.network.state_dict().values() for run in (left, plain)), strict=True):
        assert torch.equal(a, b)
    assert train(source, target, label_shift="auto", method="source-only", **QUICK).summary.class_shares is not None


def test_the_baseline_is_not_corrected(domains, tmp_path):
    both = [
        train(*domains, label_shift=mode, out=tmp_path / mode, steps=20, report=False).summary.baseline
        for mode in ("no", "estimate")
    ]
    assert both[0] == both[1]


def test_missing_classes_lose_weight_and_none_gains():
    (x_s, y_s), (x_t, y_t) = clouds((100, 100, 100), 0), clouds((100, 100, 0), 1)
    seen = []

    class Weights(Method):
        def forward(self, source, target):  # noqa: ARG002
            seen.append((source.labels, source.weights))
            return source.logits.new_zeros(())

    with pytest.warns(UserWarning, match="--label-shift missing takes weight off them"):
        train((x_s, y_s), (x_t, y_t), method=Weights, label_shift="missing", **{**QUICK, "steps": 3})
    labels, weights = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert weights.max() <= 1
    assert weights[labels == 2].max() < 0.5
    assert weights[labels == 0].min() > 0.8


def test_weights_are_the_ratio_to_the_shares_in_a_batch(domains):
    shares = ClassShares(*torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0, 0, 0], [1, 1, 1]]).double())
    torch.testing.assert_close(shares.ratio, torch.tensor([0.2, 1.0, 3.0]).double())
    even = train(*domains, label_shift="estimate", class_balance="batches", method="jan", **QUICK).summary
    assert even.accuracy > train(*domains, method="jan", **QUICK).summary.accuracy


def test_shares_are_in_the_summary_the_report_and_what_is_printed(domains, tmp_path, command: Command):
    for name, (x, y) in zip(("s", "t"), domains, strict=True):
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    paths = ("--source", tmp_path / "s.npz", "--target", tmp_path / "t.npz", "--out", tmp_path / "run")
    outcome = command("train", *paths, "--method", "source-only", "--steps", 30, "--label-shift", "estimate")
    assert outcome.code == 0
    assert "Class shares, source → target as estimated: 0 33 → 7" in outcome.out
    summary = read_summary(tmp_path / "run")
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Class shares of the target" in page
    assert page.count("<meter") == 3


def test_the_estimator_takes_the_option(domains):
    (x, y), (x_t, y_t) = domains
    options = {"random_state": 0, "method": "source-only", "steps": 150}
    plain, own = (AdaptedClassifier(**options, options={"label_shift": mode}) for mode in ("no", "estimate"))
    assert own.fit(x, y, x_t).score(x_t, y_t) > plain.fit(x, y, x_t).score(x_t, y_t)


def test_weights_given_with_the_source_multiply(domains):
    (x, y), target = domains
    source = from_arrays(x, y, "s")
    given = replace(source, weights=torch.ones(len(source)))
    runs = [train(each, target, label_shift="estimate", **QUICK) for each in (source, given)]
    assert runs[0].summary.accuracy == runs[1].summary.accuracy


def test_the_page_of_label_shift_runs():
    (code,) = blocks("docs/guides/label-shift.md", "python")
    names: dict[str, object] = {}
    exec(compile(code.replace("steps=200", "steps=20"), "docs/guides/label-shift.md", "exec"), names)
    assert names["shares"].target[0] > 60
