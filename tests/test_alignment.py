"""`--align`: the source's moments become the target's, and only the source moves."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, draw_folder, write_arrays
from scipy.linalg import fractional_matrix_power
from torch import Tensor

from jointadapt.discrepancy.moments import RIDGE, find_moments, match_columns, match_covariances
from jointadapt.errors import UserError
from jointadapt.experiment import train

ROUNDING = 1e-9
SINGLE = 1e-5
CORNERS = torch.tensor([[0.0, 0.0, 0.0], [6.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
FAST = {"steps": 60, "report": False, "standardize": "no", "batch_size": 16}


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    u = torch.randn(150, 3, generator=generator, dtype=torch.float64) @ torch.randn(3, 3, generator=generator).double()
    return x * 5 + 1e6, u - 40


@pytest.mark.parametrize("whole", [False, True])
def test_moments_are_numpys_however_the_rows_come(whole: bool):
    x, _ = samples()
    for tiles in (x.split(7), [x]):
        found = find_moments(tiles, whole)
        covariance = np.cov(x.numpy().T, ddof=0)
        np.testing.assert_allclose(found.mean, x.numpy().mean(0), rtol=ROUNDING)
        np.testing.assert_allclose(found.spread, covariance if whole else covariance.diagonal(), rtol=1e-8)


def test_moved_columns_have_the_targets_mean_and_deviation():
    x, u = samples()
    moved = match_columns(find_moments([x]), find_moments([u]))(x)
    torch.testing.assert_close(moved.mean(0), u.mean(0))
    torch.testing.assert_close(moved.std(0, correction=0), u.std(0, correction=0))


def test_constant_columns_become_the_targets_mean():
    x = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    moved = match_columns(find_moments([x]), find_moments([x + 2]))(x)
    torch.testing.assert_close(moved, x + 2)


def test_coral_follows_its_algorithm():
    x, u = samples()
    x = x - 1e6
    c_s, c_t = (np.cov(rows.numpy().T, ddof=0) for rows in (x, u))
    ridge = RIDGE * (np.trace(c_s) + np.trace(c_t)) / 6 * np.eye(3)
    white = (x - x.mean(0)).numpy() @ fractional_matrix_power(c_s + ridge, -0.5)
    expected = white @ fractional_matrix_power(c_t + ridge, 0.5) + u.mean(0).numpy()
    moved = match_covariances(find_moments([x], True), find_moments([u], True))(x)
    np.testing.assert_allclose(moved, expected, rtol=1e-6)


@pytest.mark.parametrize(("match", "whole"), [(match_columns, False), (match_covariances, True)])
def test_equal_moments_move_nothing(match, whole: bool):
    x, _ = samples()
    moments = find_moments([x], whole)
    torch.testing.assert_close(match(moments, moments)(x), x)
    assert match(moments, moments)(x.float()).dtype == torch.float32


def test_covariances_of_constant_rows_are_no_fault():
    x = torch.ones(4, 2)
    moments = find_moments([x], True)
    torch.testing.assert_close(match_covariances(moments, moments)(x), x)
    with pytest.raises(ValueError, match="no rows are given"):
        find_moments([])


def clouds(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % 3
    return CORNERS[y] + torch.randn(rows, 3, generator=generator), y


@pytest.mark.parametrize("how", ["columns", "covariance"])
def test_a_source_moved_onto_the_target_serves_it_and_the_baseline_is_not_moved(how: str, tmp_path: Path):
    (x, y), (u, v) = clouds(120, 0), clouds(120, 1)
    u = 3 * u + torch.tensor([20.0, -30.0, 5.0])
    run = train((x, y), (u, v), method="source-only", align=how, **FAST)
    assert run.summary.evaluation.accuracy > 95
    run = train((x, y), (u, v), method="mcc", align=how, **FAST, out=tmp_path / "run")
    assert run.summary.evaluation.accuracy > 95 > run.summary.baseline.evaluation.accuracy
    assert run.summary.source_accuracy > 95  # of the moved rows


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_images_that_the_network_is_trained_on_are_not_moved():
    with pytest.raises(UserError, match="--align columns moves rows of features"):
        train((torch.rand(20, 1, 8, 8), torch.arange(20) % 2), torch.rand(20, 1, 8, 8), align="columns", steps=2)
    wide = torch.rand(4, 5000)
    with pytest.raises(UserError, match="for up to 4,096 columns, and source has 5,000; use --align columns"):
        train((wide, torch.arange(4) % 2), wide, align="covariance", steps=2, batch_size=2)


def test_a_frozen_backbones_features_are_moved(tmp_path: Path):
    domains = draw_folder(tmp_path / "cams", 5), draw_folder(tmp_path / "webs", 5, seed=7)
    options = {"backbone": "squeezenet1_1", "weights": "none", "steps": 2, "batch_size": 4, "workers": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        run = train(*domains, method="mcc", align="covariance", report=False, **options)
    assert run.summary.baseline is not None


def test_align_at_the_command_line(command: Command, refused, tmp_path: Path):
    source, target = write_arrays(tmp_path / "s.npz", seed=1), write_arrays(tmp_path / "t.npz", seed=2, shift=0.5)
    options = ("train", "--source", source, "--target", target, "--steps", 5, "--batch-size", 8, "--json")
    moved = json.loads(command(*options, "--align", "columns", "--out", tmp_path / "moved").out)
    plain = json.loads(command(*options, "--out", tmp_path / "plain").out)
    assert moved["baseline"] == plain["baseline"]
    assert moved["confidence"] != plain["confidence"]
    assert "align" in refused(*options, "--align", "rows", "--out", tmp_path / "none")
