"""Signals: how they come in, how they are cut and represented, the networks for them, and what carries it all."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from pyarrow import parquet
from scipy.io import savemat

from jointadapt import AdaptedClassifier, Model, from_arrays, read_domain, train
from jointadapt.cli import cli
from jointadapt.comparison.plan import plan
from jointadapt.comparison.run import compare
from jointadapt.data import synthetic_bearings
from jointadapt.data.benchmarks import load_benchmark, read
from jointadapt.data.domain import thumbnail
from jointadapt.data.kinds import Reading
from jointadapt.diagnostics.label_suggestion import suggest_labels
from jointadapt.diagnostics.shift import measure_shift
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pipeline import fit_inputs, restore_inputs
from jointadapt.inputs.signals import alignment, log_spectrograms, magnitudes, standardised
from jointadapt.networks.backbones import SIGNAL, build_backbone

SMALL = {"steps": 4, "batch_size": 8, "baseline": False, "report": False}
EXACT = 1e-5


@pytest.fixture
def recordings():
    """Ten recordings of two channels and 200 samples, and their classes."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(10, 2, 200)).astype(np.float32), np.arange(10) % 2


def ready(options, x, y=None):
    """Return the source's rows as the network gets them, and the steps."""
    inputs, source, _ = fit_inputs(InputOptions(**options), *(from_arrays(x, y, kind="signal") for _ in range(2)))
    return inputs, source


# How they come in


def test_arrays_are_signals_when_said_so(recordings):
    x, y = recordings
    assert from_arrays(x, y, kind="signal").shape == (2, 200)
    assert from_arrays(x[:, 0], y, kind="signal").shape == (1, 200)


def test_whole_numbers_are_counts_of_a_sensor_and_no_pixels():
    x = np.arange(12, dtype=np.int16).reshape(2, 6)
    assert torch.equal(from_arrays(x, kind="signal").content[:, 0], torch.from_numpy(x).float())


def write_npz(path, x, y):
    np.savez(path, x=x, y=y)


def write_mat(path, x, y):
    savemat(path, {"x": x, "y": y})


def write_csv(path, x, y):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"t{number}" for number in range(x.shape[1])), "label"])
        writer.writerows([*row, label] for row, label in zip(x.tolist(), y.tolist(), strict=True))


def write_parquet(path, x, y):
    columns = {f"t{number}": x[:, number] for number in range(x.shape[1])}
    parquet.write_table(pa.table({**columns, "label": y}), path)


@pytest.mark.parametrize("write", [write_npz, write_mat, write_csv, write_parquet])
def test_files_of_signals(tmp_path, recordings, write):
    x, y = recordings
    path = tmp_path / f"pump.{write.__name__[6:]}"
    write(path, x[:, 0], y)
    read = read_domain(path, reading=Reading(kind="signal"))
    _, domain, _ = fit_inputs(InputOptions(zscore=False), read, read)
    assert (read.kind, domain.kind, domain.shape, domain.classes) == ("signal", "signal", (1, 200), ("0", "1"))
    assert torch.allclose(domain.content[:, 0], torch.from_numpy(x[:, 0]))


def test_tables_of_signals_are_matched_by_their_columns_names(tmp_path, recordings):
    """The target's samples come in another order, behind the index column that pandas writes."""
    x, y = recordings
    write_csv(tmp_path / "a.csv", x[:, 0], y)
    lines = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    turned = [[str(number - 1) if number else "", *line[::-1]] for number, line in enumerate(lines)]
    (tmp_path / "b.csv").write_text("\n".join(map(",".join, turned)))
    read = [read_domain(tmp_path / name, reading=Reading(kind="signal")) for name in ("a.csv", "b.csv")]
    _, source, target = fit_inputs(InputOptions(), *read)
    assert source.shape == (1, 200)
    assert torch.equal(source.content, target.content)


@pytest.mark.parametrize("write", [write_npz, write_mat])
def test_files_of_several_channels(tmp_path, recordings, write):
    path = tmp_path / f"pump.{write.__name__[6:]}"
    write(path, *recordings)
    assert read_domain(path, reading=Reading(kind="signal")).shape == (2, 200)


# What is done to them


def test_windows_are_cut_by_hand(recordings):
    x, y = recordings
    _, domain = ready({"window": 64, "stride": 32, "zscore": False}, x, y)
    by_hand = [x[row, :, start : start + 64] for row in range(10) for start in (0, 32, 64, 96, 128)]
    assert torch.equal(domain.content, torch.from_numpy(np.stack(by_hand)))
    assert domain.labels.tolist() == np.repeat(y, 5).tolist()
    assert domain.groups.tolist() == np.repeat(np.arange(10), 5).tolist()
    assert domain.items[6] == "row 1 window 1"


def test_windows_do_not_overlap_unless_a_stride_is_given(recordings):
    _, domain = ready({"window": 64}, *recordings)
    assert len(domain) == 30


def test_a_window_s_strength_and_mean_do_not_matter(recordings):
    x, _ = recordings
    scaled = 7 * x + np.array([[3.0], [-900.0]], np.float32)
    assert torch.allclose(ready({}, x)[1].content, ready({}, scaled)[1].content, atol=1e-3)


def test_a_constant_window_is_zero():
    assert standardised(torch.full((1, 2, 9), 4.0)).abs().max() == 0


def test_magnitudes_do_not_see_where_a_window_begins():
    wave = torch.arange(80.0).mul(2 * torch.pi / 8).sin()
    first, later = magnitudes(wave[None, None, :64]), magnitudes(wave[None, None, 5:69])
    assert torch.allclose(first, later, atol=EXACT * 10)
    assert first[0, 0].argmax() + 1 == 8  # cycles in 64 samples


def test_white_noise_has_power_one():
    noise = torch.randn(200, 1, 1024, generator=torch.Generator().manual_seed(0))
    assert abs(magnitudes(noise)[..., :-1].pow(2).mean() - 1) < 0.02
    assert abs(log_spectrograms(noise)[:, :, 1:-1].exp().mean() - 1) < 0.02


@pytest.mark.parametrize(
    ("representation", "shape", "kind", "backbone"),
    [
        ("raw", (2, 200), "signal", "cnn1d"),
        ("fft", (200,), "features", "none"),
        ("log-spectrogram", (2, 9, 24), "pixels", "cnn"),
    ],
)
def test_a_representation_has_its_network(recordings, representation, shape, kind, backbone):
    x, y = recordings
    _, domain = ready({"representation": representation}, x, y)
    assert (domain.shape, domain.kind) == (shape, kind)
    run = train((x, y), x, kind="signal", representation=representation, **SMALL)
    assert (run.summary.backbone, run.model.shape) == (backbone, shape)


def test_alignment_makes_a_mixing_of_channels_one(recordings):
    """The mean covariance of an aligned domain is the identity, whatever its channels were multiplied by."""
    mixing = torch.tensor([[3.0, 1.0], [-2.0, 0.5]])
    for x in (torch.from_numpy(recordings[0]), mixing @ torch.from_numpy(recordings[0])):
        aligned = alignment(x) @ (x - x.mean(-1, keepdim=True))
        covariance = torch.einsum("nct,ndt->cd", aligned, aligned) / (len(x) * x.shape[-1])
        assert torch.allclose(covariance, torch.eye(2), atol=1e-3)


def test_alignment_bears_an_average_reference_and_a_dead_channel(recordings):
    x = torch.from_numpy(recordings[0])
    x = torch.cat([x - x.mean(1, keepdim=True), torch.zeros(10, 1, 200)], 1)
    assert (alignment(x) @ x).isfinite().all()
    assert (alignment(x) @ x).abs().max() < 100


def test_each_domain_is_recentred_by_its_own_windows(recordings):
    x, y = recordings
    source, target = from_arrays(x, y, kind="signal"), from_arrays(50 * x, kind="signal")
    inputs, ready_s, ready_t = fit_inputs(InputOptions(recenter=True), source, target)
    assert torch.allclose(ready_s.content, ready_t.content, atol=1e-3)
    restored = restore_inputs(json.loads(json.dumps(inputs.values())), inputs.tensors())
    assert torch.equal(restored.target(target).content, ready_t.content)
    assert torch.equal(restored.source(source).content, ready_s.content)


# What goes wrong


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (np.zeros((4, 3, 200)), {}, "signals of 3 channels, and the source's have 2"),
        (np.zeros((4, 2, 300)), {}, "signals of 300 samples, and the source's have 200; --window N cuts both"),
        (
            np.zeros((4, 2, 100)),
            {"window": 128},
            "of 100 samples, shorter than a window of 128; give --window 100",
        ),
        (np.zeros((4, 2, 8)), {"window": 8, "representation": "log-spectrogram"}, "needs 16 samples or more; got 8"),
        (np.full((4, 2, 200), np.nan), {}, "4 of 4 rows hold NaN"),
        (np.zeros((4, 2, 200, 1)), {}, r"signals of shape \(n, time\) or \(n, channels, time\) are needed"),
    ],
)
def test_signals_that_do_not_fit_are_told(recordings, target, options, message):
    with pytest.raises(UserError, match=message):
        train(recordings, target, kind="signal", **options, **SMALL)


def test_options_of_signals_are_refused_for_others(recordings):
    x, y = recordings
    with pytest.raises(UserError, match="--window is for signals, and these rows are none; give --kind signal"):
        train((x[:, 0], y), x[:, 0], window=64, **SMALL)


def test_a_table_of_signals_needs_samples_in_its_columns(tmp_path):
    (tmp_path / "a.csv").write_text("t0,t1,site,label\n" + "1,2,B,0\n3,4,C,1\n" * 4)
    (tmp_path / "b.csv").write_text("t0,t1,label\n" + "1,,0\n3,4,1\n" * 4)
    for name, message in (("a.csv", "site holds texts"), ("b.csv", "signals lack samples in t1")):
        read = read_domain(tmp_path / name, reading=Reading(kind="signal"))
        with pytest.raises(UserError, match=message):
            fit_inputs(InputOptions(), read, read)


# Networks


@pytest.mark.parametrize("name", [*SIGNAL])
@pytest.mark.parametrize("shape", [(1, 1024), (3, 128), (22, 30), (1, 5)])
def test_networks_take_signals_of_any_length(name, shape):
    backbone = build_backbone(name, shape=shape)
    (features,) = backbone.eval()(torch.randn(3, *shape))
    assert features.shape == (3, *backbone.widths)


@pytest.mark.parametrize("name", [*SIGNAL])
def test_networks_learn(name):
    source = synthetic_bearings(64, 256, noise=0.2, speed=6_000.0)
    run = train(
        source, source, method="source-only", backbone=name, steps=60, batch_size=16, learning_rate=0.02, report=False
    )
    assert run.summary.source_accuracy > 60


@pytest.mark.parametrize("name", [*SIGNAL])
def test_networks_of_signals_refuse_other_rows(name):
    with pytest.raises(UserError, match=r"needs signals, rows of shape \(channels, time\); got rows of \(7,\)"):
        build_backbone(name, shape=(7,))


# All the way


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run on two files of long recordings."""
    place = tmp_path_factory.mktemp("pumps")
    for name, speed in (("north", 1_800.0), ("south", 1_500.0)):
        made = synthetic_bearings(12, 600, speed=speed, seed=int(speed))
        labels = [made.classes[label] for label in made.labels]
        np.savez(place / f"{name}.npz", x=made.content[:, 0].numpy(), y=np.array(labels))
    arguments = ["--kind", "signal", "--window", "200", "--method", "jan", "--steps", "6", "--batch-size", "8"]
    files = ["--source", f"{place}/north.npz", "--target", f"{place}/south.npz", "--out", f"{place}/run"]
    done = CliRunner().invoke(cli, ["train", *files, *arguments])
    assert done.exit_code == 0, done.output
    return place


def test_the_command_line_trains_on_windows(folder):
    lines = (folder / "run" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 36
    assert lines[5].startswith("row 1 window 1,")
    assert Model.load(folder / "run").shape == (1, 200)


def test_predict_needs_nothing_but_the_signals(folder):
    done = CliRunner().invoke(cli, ["predict", f"{folder}/run", f"{folder}/south.npz"])
    assert done.exit_code == 0, done.output
    kept = [line.rpartition(",")[0] for line in (folder / "run" / "predictions.csv").read_text().splitlines()]
    assert [line for line in done.stdout.splitlines() if line.startswith("row")] == kept[1:]
    x = np.load(folder / "south.npz")["x"]
    assert Model.load(folder / "run").predict_proba(from_arrays(x)).shape == (36, 4)


def test_the_report_shows_traces(folder):
    page = (folder / "run" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 24


def test_labels_are_suggested_of_windows(folder):
    suggestions = suggest_labels(folder / "run", 3)
    assert all(" window " in row.item for row in suggestions)


def test_labels_of_windows_are_trained_on(folder, tmp_path):
    (tmp_path / "labels.csv").write_text("item,label\nrow 1 window 1,ball\n")
    x = [folder / f"{name}.npz" for name in ("north", "south")]
    run = train(*x, kind="signal", window=200, target_labels=str(tmp_path / "labels.csv"), **SMALL)
    assert run.summary.target_labels == 1


def test_a_shift_of_a_run_s_signals_is_told_of_windows(folder):
    found = measure_shift(folder / "north.npz", folder / "south.npz", folder / "run", permutations=99)
    assert any("windows of one recording" in note for note in found.notes)
    with pytest.raises(UserError, match="--method permutation"):
        measure_shift(folder / "north.npz", folder / "south.npz", folder / "run", method="cross")


def test_signals_are_compared_without_a_run(folder):
    arguments = ["--kind", "signal", "--window", "200", "--permutations", "99"]
    with pytest.warns(UserWarning, match="windows of one recording"):
        done = CliRunner().invoke(cli, ["shift", f"{folder}/north.npz", f"{folder}/south.npz", *arguments])
    assert done.exit_code == 0, done.output
    assert "signals, by log(1 + magnitudes of their Fourier transform)" in done.output
    assert "(36 examples)" in done.output


def test_a_trace_is_a_picture():
    picture = thumbnail(synthetic_bearings(4, 64), 0)
    assert picture is not None
    assert picture.size == (128, 128)


def test_the_estimator_takes_signals_and_answers_for_recordings(recordings):
    x, y = recordings
    options = {"window": 50, "representation": "fft"}
    classifier = AdaptedClassifier(kind="signal", steps=4, batch_size=8, options=options).fit(x, y, X_target=x + 1)
    assert classifier.predict(x).shape == (10,)
    by_window = classifier.model_.predict_proba(from_arrays(x, kind="signal")).numpy()
    assert np.allclose(classifier.predict_proba(x), by_window.reshape(10, 4, 2).mean(1), atol=EXACT)
    assert classifier.diagnosis_ is not None
    plain = AdaptedClassifier(kind="signal", steps=2, batch_size=8).fit(x[:, 0], y, X_target=x[:, 0])
    assert plain.predict(x[:, 0]).shape == (10,)


# Bearings


def test_synthetic_bearings_strike_at_their_frequencies():
    """The envelope of an outer race's vibration has its line at the frequency of the faults: 3.58 a turn."""
    made = synthetic_bearings(8, 12_000, speed=1_800.0, noise=0.05)
    outer = made.content[made.labels == made.classes.index("outer")][:, 0]
    ringing = torch.fft.rfft(outer)
    ringing[:, :1_000] = 0  # the shaft
    envelope = torch.fft.irfft(ringing).abs()
    spectrum = torch.fft.rfft(envelope - envelope.mean(1, keepdim=True)).abs().mean(0)
    assert abs(spectrum[50:200].argmax() + 50 - 3.58 * 30) <= 2  # Hz, as the signal lasts one second


def test_the_same_seed_makes_the_same_bearings():
    assert torch.equal(synthetic_bearings(8, 64, seed=3).content, synthetic_bearings(8, 64, seed=3).content)
    assert not torch.equal(synthetic_bearings(8, 64, seed=3).content, synthetic_bearings(8, 64, seed=4).content)


@pytest.fixture
def bearings(tmp_path):
    """Files as the benchmark's, of few made signals."""
    for load in range(2):
        made = synthetic_bearings(18, 128, load=1.0 + load, seed=load)
        np.savez(tmp_path / f"load{load}.npz", x=made.content[:, 0].numpy(), y=np.arange(18) % 9)
    return tmp_path


def test_the_benchmark_reads_signals(bearings):
    domain = read(load_benchmark("bearings"), "load1", bearings)
    assert (domain.kind, domain.shape, len(domain.classes)) == ("signal", (1, 128), 9)


def test_a_table_of_the_benchmark(bearings):
    outcomes, failures = compare(
        plan("bearings", bearings, methods=["source-only"], seeds=1, out=bearings / "table", steps=2, batch_size=8)[0]
    )
    assert not failures
    assert {outcome.backbone for outcome in outcomes} == {"cnn1d"}
