"""Columns of several units: statistics that fill values do not move, tests and trainings in one unit."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from torch import Tensor

from jointadapt import AdaptedClassifier, train
from jointadapt.data import Domain, arrays, from_arrays, read_domain
from jointadapt.data.mapped import MappedRows
from jointadapt.diagnostics.shift import measure_shift
from jointadapt.discrepancy import GaussianKernel
from jointadapt.discrepancy.columns import CLIP, describe_columns, fill_values
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pipeline import fit_inputs
from jointadapt.inputs.standardize import chosen_mode
from jointadapt.runs.model import Model
from jointadapt.two_sample import TwoSampleMethod, check_options, optimal_weights, two_sample_test

EXACT = 1e-12
SINGLE = 1e-5
METHODS: tuple[TwoSampleMethod, ...] = ("permutation", "aggregated", "cross", "fourier")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=seeded(seed))


def test_mean_and_deviation_are_those_of_numpy_in_float64() -> None:
    x = normal(500, 4) * torch.tensor([1e-3, 1.0, 1e3, 1e5]) + torch.tensor([0.0, 5.0, -1e4, 1e6])
    found = describe_columns(x, x.split(64))
    exact = x.double().numpy()
    torch.testing.assert_close(found.mean.numpy(), exact.mean(0), rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(found.deviation.numpy(), exact.std(0), rtol=EXACT, atol=EXACT)
    standardized = found.standardized(x)
    assert standardized.dtype == torch.float32
    torch.testing.assert_close(standardized.mean(0), torch.zeros(4), rtol=SINGLE, atol=SINGLE)
    torch.testing.assert_close(standardized.std(0, correction=0), torch.ones(4), rtol=SINGLE, atol=SINGLE)


@pytest.mark.parametrize("value", [-999.0, 1e6, 1e9, 3.4e38])
def test_a_fill_value_moves_neither_mean_nor_deviation_and_is_told(value: float) -> None:
    x = normal(300, 2)
    spoilt = x.clone()
    spoilt[:30, 1] = value
    clean, found = describe_columns(x, [x]), describe_columns(spoilt, [spoilt])
    assert found.deviation[1] < 6 * clean.deviation[1]
    assert found.standardized(spoilt).abs().max() <= CLIP
    told = fill_values(spoilt, found)
    assert [(fill.column, fill.rows) for fill in told] == [(1, 30)]
    assert fill_values(x, clean) == []


def test_heavy_tails_hold_no_fill_values() -> None:
    generator = np.random.default_rng(0)
    tails = [
        generator.standard_cauchy((400, 3)),
        generator.lognormal(0, 3, (400, 3)),
        generator.poisson(0.1, (400, 3)) * 1.0,
    ]
    for x in map(torch.from_numpy, tails):
        assert fill_values(x, describe_columns(x, [x])) == []


def test_constant_columns_become_zero_also_where_rounding_moves_them() -> None:
    x = torch.cat([normal(50, 1), torch.full((50, 1), 7.0), torch.full((50, 1), 0.1)], dim=1)
    x[::2, 2] = torch.nextafter(x[0, 2], torch.tensor(1.0))
    standardized = describe_columns(x, [x]).standardized(x)
    assert torch.isfinite(standardized).all()
    assert standardized[:, 1:].abs().max() == 0
    assert describe_columns(x, [x]).standardized(x + 3)[:, 1:].abs().max() == 0


def test_columns_are_mixed_where_one_is_far_larger_than_a_small_one() -> None:
    x = normal(200, 10)
    assert not describe_columns(x, [x]).mixed
    for factors in ([1e3, *[1.0] * 9], [*[1e3] * 8, 1.0, 1.0], [*[1.0] * 5, *[100.0] * 5]):
        large = x * torch.tensor(factors)
        assert describe_columns(large, [large]).mixed
    tails = torch.from_numpy(np.random.default_rng(0).standard_cauchy((200, 10)))
    assert not describe_columns(tails, [tails]).mixed


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_in_a_small_column_is_found_beside_large_ones(method: TwoSampleMethod) -> None:
    factors = torch.tensor([1.0, 1e3, 1e3, 1e4])
    x, y = normal(100, 4) * factors, normal(100, 4, 1) * factors
    y[:, 0] += 2
    assert two_sample_test(x, y, method=method).rejected
    assert not two_sample_test(x, y, method=method, standardize="no").rejected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [-999.0, 1e6, 1e9])
def test_a_fill_value_hides_no_shift_and_is_named(method: TwoSampleMethod, dtype: torch.dtype, value: float) -> None:
    x, y = normal(60, 2).to(dtype), normal(60, 2, 1).to(dtype) + 0.8
    x[0] = value
    with pytest.warns(UserWarning, match=f"column 0 holds {value:,.10g} in 1 row, column 1 holds"):
        found = two_sample_test(x, y, method=method)
    assert found.rejected
    assert [fill.column for _, fill in found.fill_values] == [0, 1]


def test_distances_beside_a_far_row_are_formed_in_float64() -> None:
    x, y = normal(60, 2), normal(60, 2, 1) + 0.8
    x[0] = 1e6
    median = GaussianKernel("median")
    single = two_sample_test(x, y, kernels=median, standardize="no")
    double = two_sample_test(x.double(), y.double(), kernels=median, standardize="no")
    assert single.rejected
    torch.testing.assert_close(single.statistic, double.statistic, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("method", ["permutation", "cross"])
def test_the_level_holds_in_one_unit(method: TwoSampleMethod) -> None:
    factors = torch.tensor([1.0, 1e3, 1e5])
    rejected = 0
    for seed in range(200):
        x = normal(80, 3, seed) * factors
        x[seed % 80] = 1e6
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rejected += two_sample_test(x[:40], x[40:], method=method, permutations=99, generator=seeded(seed)).rejected
    assert 1 <= rejected <= 20  # of 200 at 5 %: outside with probability 0.002


def test_columns_of_one_unit_and_layers_with_a_number_for_their_bandwidth_stay_as_they_are() -> None:
    x, y = normal(40, 3), normal(50, 3, 1)
    plain = two_sample_test(x, y, standardize="no")
    assert two_sample_test(x, y).statistic == plain.statistic
    factors = torch.tensor([1.0, 1e3, 1.0])
    fixed = GaussianKernel(1.68)
    kept, as_it_is = (two_sample_test(x * factors, y, kernels=fixed, standardize=s) for s in ("auto", "no"))
    assert kept.statistic == as_it_is.statistic
    assert two_sample_test(x * factors, y * factors, standardize="pooled").statistic == pytest.approx(
        two_sample_test(x, y, standardize="pooled").statistic, rel=1e-4
    )
    with pytest.raises(ValueError, match="standardize must be one of auto, pooled, no"):
        check_options("cross", 0.05, 99, "source")


def test_a_file_is_tested_in_one_unit(tmp_path: Path) -> None:
    factors = torch.tensor([1.0, 1e3, 1e4])
    x, y = normal(6000, 3) * factors, normal(6000, 3, 1) * factors
    y[:, 0] += 0.5
    paths = [tmp_path / "x.npy", tmp_path / "y.npy"]
    for path, rows in zip(paths, (x, y), strict=True):
        np.save(path, rows.numpy())
    on_disk = [MappedRows(np.load(path, mmap_mode="r")) for path in paths]
    found = two_sample_test(*on_disk, method="fourier")
    assert found.rejected
    assert found.statistic == pytest.approx(two_sample_test(x, y, method="fourier").statistic)


def test_kernel_weights_are_learnt_in_one_unit() -> None:
    pooled = torch.cat([normal(400, 2), normal(400, 2, 1) + torch.tensor([2.0, 0.0])]) * torch.tensor([1.0, 1e4])
    same = describe_columns(pooled, [pooled]).standardized(pooled)
    assert optimal_weights(pooled[:400], pooled[400:]) == pytest.approx(optimal_weights(same[:400], same[400:]))


def domains(factors: Tensor, shift: float = 0.5, rows: int = 120) -> tuple[Domain, Domain]:
    """Return two domains of as many columns as factors, their classes told by the first one."""
    x, y = normal(rows, len(factors)), normal(rows, len(factors), 1) + shift
    labels = [torch.where(z[:, 0] > (shift if z is y else 0), 1, 0) for z in (x, y)]
    return from_arrays(x * factors, labels[0], "source"), from_arrays(y * factors, labels[1], "target")


def test_auto_is_chosen_by_the_rows_alone() -> None:
    x, units = normal(300, 6), torch.tensor([1.0, 1.0, 1.0, 1e3, 1e-2, 50.0])
    assert chosen_mode(x, x + 0.5) == "no"
    assert chosen_mode(x * units, (x + 0.5) * units) == "source"
    assert chosen_mode(x * units, x * units * 1000) == "domain"
    counts = torch.poisson(torch.ones(300, 6).cumsum(1) / 40, generator=seeded()) * torch.tensor([1, 1, 1, 1, 1, 90.0])
    assert chosen_mode(counts, counts) == "no"  # sparse
    histograms = x.square() * torch.tensor([1.0, 1.0, 1e-3, 20.0, 20.0, 20.0])
    for p in (1, 2):
        assert chosen_mode(*[histograms / histograms.norm(p, dim=1, keepdim=True)] * 2) == "no"
    pressure = torch.cat([x, 101_325 + 10 * x[:, :1]], dim=1)
    assert (
        chosen_mode(pressure * torch.tensor([*[1e-2] * 6, 1.0]), pressure * torch.tensor([*[1e-2] * 6, 1.0]))
        == "source"
    )
    kinds = torch.cat([torch.eye(30).repeat(10, 1), 50 + 15 * x[:, :1]], dim=1)
    assert chosen_mode(kinds, kinds) == "source"


@pytest.mark.parametrize("mode", ["source", "domain"])
def test_a_model_carries_its_standardisation(mode: str, tmp_path: Path) -> None:
    source, target = domains(torch.tensor([1.0, 1e4, 1e-3]))
    run = train(source, target, tmp_path / "run", method="source-only", steps=40, standardize=mode, report=False)
    assert run.summary.standardized == mode
    loaded = Model.load(tmp_path / "run")
    for model in (run.model, loaded):
        torch.testing.assert_close(model.predict_proba(target), loaded.predict_proba(target), rtol=0, atol=0)
    one = target.select([3])
    torch.testing.assert_close(loaded.predict_proba(one), loaded.predict_proba(target)[3:4], rtol=SINGLE, atol=SINGLE)
    standardized = loaded.inputs.target(target)
    own = describe_columns(target.rows(range(120)), [target.rows(range(120))])
    by = own if mode == "domain" else describe_columns(source.rows(range(120)), [source.rows(range(120))])
    torch.testing.assert_close(standardized.rows(range(120)), by.standardized(target.rows(range(120))))


def test_columns_of_several_units_train_as_well_as_standardised_ones() -> None:
    source, target = domains(torch.tensor([1.0, 1e4, 1e4, 1e5, 1.0, 1.0]), shift=0.0)
    found = {
        how: train(source, target, method="source-only", steps=150, standardize=how, report=False).summary
        for how in ("auto", "no")
    }
    assert found["auto"].standardized == "source"
    assert found["no"].standardized == "no"
    assert (found["auto"].accuracy or 0) > 90 > (found["no"].accuracy or 100)


def test_rows_on_disk_are_standardised_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "IN_MEMORY", 100)
    source, target = domains(torch.tensor([1.0, 1e4, 1e-3]))
    for domain in (source, target):
        np.save(tmp_path / f"{domain.name}.npy", domain.rows(range(len(domain))).numpy())
        np.save(tmp_path / f"{domain.name}.labels.npy", domain.labels.numpy())
    paths = [tmp_path / "source.npy", tmp_path / "target.npy"]
    options = {"method": "jan", "steps": 10, "standardize": "domain", "report": False}
    on_disk, in_memory = train(paths[0], paths[1], **options), train(source, target, **options)
    read = read_domain(paths[1])
    assert isinstance(read.content, MappedRows)
    ready = on_disk.model.inputs.target(read)
    assert isinstance(ready.content, MappedRows)
    assert ready.content.select([1, 5])[:1].shape == (1, 3)
    torch.testing.assert_close(on_disk.model.predict_proba(read), in_memory.model.predict_proba(target))


def test_signals_are_standardised_by_channel() -> None:
    factors = torch.tensor([1.0, 1e4])[None, :, None]
    x = torch.randn(40, 2, 30, generator=seeded()) * factors
    domain = from_arrays(x, [0, 1] * 20, kind="signal")
    inputs, ready, _ = fit_inputs(InputOptions(zscore=False), domain, domain)
    assert inputs.standardized == "source"
    assert ready.shape == (2, 30)
    expected = (x - x.mean((0, 2), keepdim=True)) / x.std((0, 2), keepdim=True, correction=0)
    torch.testing.assert_close(ready.rows(range(40)), expected, rtol=1e-4, atol=1e-4)


def test_pictures_stay_as_they_are_and_an_option_for_them_is_refused() -> None:
    pixels = from_arrays(torch.rand(10, 8, 8, generator=seeded()) * torch.logspace(-2, 0, 8), [0, 1] * 5)
    inputs, ready, _ = fit_inputs(InputOptions(), pixels, pixels)
    assert inputs.standardized == "no"
    torch.testing.assert_close(ready.rows(range(10)), pixels.rows(range(10)))
    with pytest.raises(UserError, match="--standardize source is for features and signals"):
        fit_inputs(InputOptions(standardize="source"), pixels, pixels)


def test_training_names_a_column_with_a_fill_value() -> None:
    source, target = domains(torch.tensor([1.0, 1.0, 1.0]))
    assert isinstance(target.content, Tensor)
    target.content[:4, 2] = -9999
    with pytest.warns(UserWarning, match="target: column 2 holds -9,999 in 4 rows"):
        run = train(source, target, steps=5, report=False)
    assert any("column 2" in note for note in run.summary.warnings)


def test_the_estimator_standardises_as_told() -> None:
    source, target = domains(torch.tensor([1.0, 1e4, 1e4, 1e5]), shift=0.0)
    x, y, x_t, y_t = (z.numpy() for z in (source.content, source.labels, target.content, target.labels))  # pyright: ignore
    assert AdaptedClassifier("source-only", steps=150).fit(x, y, x_t).score(x_t, y_t) > 0.9
    assert AdaptedClassifier("source-only", steps=150, standardize="no").fit(x, y, x_t).score(x_t, y_t) < 0.9


def test_a_test_of_a_run_is_of_the_rows_in_their_own_units(tmp_path: Path) -> None:
    source, target = domains(torch.tensor([1.0, 1e4, 1e-3]), shift=1.0)
    train(source, target, tmp_path / "run", method="jan", steps=20, standardize="domain", report=False)
    shift = measure_shift(source, target, tmp_path / "run", permutations=99)
    assert shift.tests[0].test.rejected  # each by its own columns, the two would be alike
    assert shift.tests[0].test.statistic == measure_shift(source, target, permutations=99).tests[0].test.statistic


def test_the_command_line_tests_in_one_unit_and_names_fill_values(command: Command, tmp_path: Path) -> None:
    factors = torch.tensor([1.0, 1e3, 1e4])
    x, y = normal(60, 3, 2) * factors, normal(60, 3, 3) * factors
    y[:, 0] += 2
    x[0, 2] = 1e6
    for name, rows in (("x", x), ("y", y)):
        np.savez(tmp_path / f"{name}.npz", x=rows.numpy())
    found = command("shift", tmp_path / "x.npz", tmp_path / "y.npz", "--json")
    assert json.loads(found.out)["tests"][0]["rejected"]
    assert "column 2 holds 1,000,000 in 1 row," in found.err
    assert not json.loads(
        command("shift", tmp_path / "x.npz", tmp_path / "y.npz", "--json", "--standardize", "no").out
    )["tests"][0]["rejected"]
