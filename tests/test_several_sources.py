"""Several sources: rows that know their origins, terms source by source, weights, and one that is dropped."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from torch.nn.functional import cross_entropy

from jointadapt import AdaptedClassifier, train
from jointadapt.data import Batches, from_arrays, read_domain
from jointadapt.data.benchmarks import load_benchmark
from jointadapt.data.kinds import Reading
from jointadapt.data.several import pool
from jointadapt.errors import UserError
from jointadapt.inputs.options import InputOptions
from jointadapt.inputs.pipeline import fit_inputs, restore_inputs
from jointadapt.methods import METHODS
from jointadapt.methods.build import build_method
from jointadapt.methods.names import is_source_free
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.network import Head, Network
from jointadapt.selection.sources import weigh_sources
from jointadapt.training.objective import Objective

CENTRES = np.array([[0.0, 0, 0, 0], [4, 0, 1, 0], [0, 4, 0, 1]])
ROUNDING = 1e-6
QUICK = {"steps": 30, "report": False, "method": "jan"}


def clouds(seed: int, offset: float = 0.0, rows: int = 120, swapped: bool = False) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, rows)
    x = CENTRES[y] + generator.normal(size=(rows, 4)) + offset
    return x, (y + 1) % 3 if swapped else y


def weights_of(run) -> torch.Tensor:
    return torch.cat([tensor.double().flatten() for tensor in run.model.network.state_dict().values()])


# One domain of several


def test_sources_are_joined_by_the_names_of_their_classes_and_columns():
    a = replace(from_arrays(np.eye(3), ["cat", "dog", "cat"], "a"), columns=("p", "q", "r"))
    b = replace(from_arrays(np.eye(3)[:2], ["Owl", "dog"], "b"), columns=("r", "p", "other"))
    both = pool([a, b])
    assert (both.name, both.origin_names, both.classes) == ("a+b", ("a", "b"), ("Owl", "cat", "dog"))
    assert [both.classes[label] for label in both.labels.tolist()] == ["cat", "dog", "cat", "Owl", "dog"]
    assert both.columns == ("p", "r")
    assert both.rows([0, 2, 3, 4]).tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]
    assert both.notes == ("columns that only some of the sources have are left out: q, other.",)
    assert both.items[3] == "b: row 0"
    assert [part.name for part in both.by_origin()] == ["a", "b"]
    assert torch.equal(both.by_origin()[1].labels, both.labels[3:])
    assert pool([a]) is a


def test_sources_that_do_not_fit_are_refused():
    a, b = from_arrays(np.eye(3), [0, 1, 0], "a"), from_arrays(np.eye(4), [0, 1, 0, 1], "b")
    with pytest.raises(UserError, match=r"rows of a have shape \(3,\), those of b \(4,\)"):
        pool([a, b])
    with pytest.raises(UserError, match="a holds features, b signal"):
        pool([a, replace(b, kind="signal")])


def test_two_sources_of_one_name_are_told_apart():
    a = from_arrays(np.eye(2), [0, 1], "a")
    assert pool([a, a]).origin_names == ("a", "a 2")


def test_domains_of_a_table_keep_their_names(tmp_path: Path):
    pd.DataFrame({"p": range(6), "site": [*"AABBCC"], "label": [*"xyxyxy"]}).to_csv(tmp_path / "all.csv", index=False)
    rest = read_domain(tmp_path / "all.csv", reading=Reading(domain_column="site", but="C"))
    assert (rest.origin_names, rest.origins.tolist()) == (("A", "B"), [0, 0, 1, 1])
    two = read_domain(tmp_path / "all.csv", reading=Reading(domain_column="site", only=("C", "A")))
    assert (two.name, two.origin_names, two.origins.tolist()) == ("C+A", ("C", "A"), [1, 1, 0, 0])


# Batches and terms


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(
    ("weights", "counts"), [((), [8, 8, 8]), ((0.5, 0.25, 0.25), [10, 7, 7]), ((0.0, 0.0, 1.0), [4, 4, 16])]
)
def test_a_batch_has_rows_of_each_source_by_its_weight(balanced: bool, weights: tuple[float, ...], counts: list[int]):
    sizes = (5, 40, 200)
    domains = [from_arrays(np.full((n, 1), k), np.arange(n) % 2, str(k)) for k, n in enumerate(sizes)]
    source = replace(pool(domains), origin_weights=weights)
    batches = Batches(source, domains[0], 24, 0, balanced=balanced)
    drawn = [batches[step].o_s for step in range(26)]
    assert all(torch.bincount(own, minlength=3).tolist() == counts for own in drawn)
    assert all(torch.equal(batches[step].x_s[:, 0].long(), drawn[step]) for step in range(5))
    items = [item for step in range(26) for item in batches.items(step)[0] if item.startswith("2: ")][:200]
    assert len(set(items)) == min(200, 26 * counts[2])  # each row once, before any again
    parts = [Batches(source, domains[0], 24, 0, None, (part, 3), balanced=balanced)[7] for part in range(3)]
    assert torch.equal(torch.cat([part.o_s for part in parts]), drawn[7])


@pytest.mark.parametrize("name", [name for name in METHODS if not is_source_free(name)])
def test_terms_are_the_weighted_means_of_the_sources_terms(name: str):
    torch.manual_seed(0)
    backbone = build_backbone("none", shape=(4,))
    network = Network(backbone, Head(backbone.widths, 3, bottleneck=0, dropout=0.0))
    method = build_method(name, network.widths, {})
    x_s, y_s, x_t = torch.randn(12, 4), torch.arange(12) % 3, torch.randn(9, 4) + 1
    o_s, shares = torch.arange(12) % 2, (0.3, 0.9)
    several = Objective(network, method, origin_weights=shares)
    torch.manual_seed(1)
    risk, transfer = several(x_s, y_s, x_t, None, o_s)
    torch.manual_seed(1)
    each = [Objective(network, method)(x_s[o_s == k], y_s[o_s == k], x_t) for k in (0, 1)]
    for found, place in ((risk, 0), (transfer, 1)):
        expected = (0.3 * each[0][place] + 0.9 * each[1][place]) / 1.2
        torch.testing.assert_close(found, expected, rtol=ROUNDING, atol=ROUNDING)
    if name == "source-only":
        logits = network(x_s).logits
        own = [cross_entropy(logits[o_s == k], y_s[o_s == k]) for k in (0, 1)]
        torch.testing.assert_close(risk, (0.3 * own[0] + 0.9 * own[1]) / 1.2, rtol=ROUNDING, atol=ROUNDING)


# Weights


def weighed(*domains: tuple[np.ndarray, np.ndarray], target: np.ndarray):
    x, y = (np.concatenate(parts) for parts in zip(*domains, strict=True))
    origins = np.repeat(np.arange(len(domains)), [len(own) for _, own in domains])
    tensors = (torch.from_numpy(part) for part in (x, y, origins))
    return weigh_sources(*tensors, tuple("abcdef"[: len(domains)]), torch.from_numpy(target))


def test_a_nearer_source_counts_for_more_and_all_add_up_to_one():
    found = weighed(clouds(0), clouds(1, 1.0), clouds(2, 2.0), target=clouds(3)[0])
    assert [source.weight for source in found] == sorted((source.weight for source in found), reverse=True)
    assert sum(source.weight for source in found) == pytest.approx(1, abs=2e-3)
    assert not any(source.dropped for source in found)
    few, many = weighed(clouds(0, rows=20), clouds(1, rows=300), target=clouds(3)[0])
    assert few.weight < many.weight


def test_the_order_of_sources_moves_no_weight():
    domains = [clouds(0), clouds(1, 1.0), clouds(2, 0.5, swapped=True)]
    one = weighed(*domains, target=clouds(3)[0])
    other = weighed(*domains[::-1], target=clouds(3)[0])
    assert [(s.weight, s.distance, s.skill, s.dropped) for s in one] == [
        (s.weight, s.distance, s.skill, s.dropped) for s in other[::-1]
    ]


def test_a_source_that_is_at_odds_with_all_others_is_dropped_unless_it_is_the_target_s_own():
    good, bad = [clouds(0, 0.5), clouds(1, -0.5)], clouds(2, swapped=True)
    assert [source.dropped for source in weighed(*good, bad, target=clouds(3, 0.2)[0])] == [False, False, True]
    inverted = (-bad[0], clouds(2)[1])
    assert [source.dropped for source in weighed(*good, inverted, target=-clouds(3)[0])] == [False, False, False]
    assert [source.dropped for source in weighed(good[0], inverted, target=clouds(3, 0.2)[0])] == [False, True]
    assert not any(source.dropped for source in weighed(good[0], bad, target=clouds(3)[0]))  # nobody can tell which


# Runs


def test_one_source_in_a_list_is_that_source():
    alone = train(clouds(0), clouds(1, 0.5)[0], **QUICK)
    listed = train([clouds(0)], clouds(1, 0.5)[0], **QUICK)
    assert torch.equal(weights_of(alone), weights_of(listed))
    assert listed.summary.sources == ()
    assert "sources" not in listed.summary.to_json()


def test_a_dropped_source_is_named_and_leaves_the_run_of_the_others():
    target = clouds(9, 0.3)
    with pytest.warns(UserWarning, match=r"the source bad \(120 rows\) is dropped: no other source can teach it"):
        run = train({"a": clouds(0), "bad": clouds(1, swapped=True), "b": clouds(2, 0.5)}, target, **QUICK)
    others = train({"a": clouds(0), "b": clouds(2, 0.5)}, target, **QUICK)
    assert torch.equal(weights_of(run), weights_of(others))
    assert run.summary.task == "a+bad+b → target"
    assert [(source.name, source.dropped) for source in run.summary.sources] == [
        ("a", False),
        ("bad", True),
        ("b", False),
    ]
    assert run.summary.sources[1].weight == 0
    assert run.summary.source.rows == 240


def test_the_one_source_that_is_left_is_that_source():
    target, bad = clouds(9), (9 - clouds(1)[0], clouds(1)[1])
    with pytest.warns(UserWarning, match="cannot teach each other"):
        run = train({"a": clouds(0), "bad": bad}, target, **QUICK)
    assert torch.equal(weights_of(run), weights_of(train(clouds(0), target, **QUICK)))


def test_pooled_sources_are_one_and_equal_ones_keep_all():
    sources, target = {"a": clouds(0), "bad": clouds(1, swapped=True), "b": clouds(2)}, clouds(9)
    x, y = (np.concatenate(parts) for parts in zip(*sources.values(), strict=True))
    pooled = train(sources, target, source_weights="pooled", **QUICK)
    assert torch.equal(weights_of(pooled), weights_of(train((x, y), target, **QUICK)))
    equal = train(sources, target, source_weights="equal", **QUICK)
    assert [source.weight for source in equal.summary.sources] == pytest.approx([1 / 3] * 3)


def test_a_batch_too_small_for_all_sources_and_paired_rows_are_told():
    sources, target = [clouds(seed) for seed in range(3)], clouds(9)
    with pytest.warns(UserWarning, match="3 sources are pooled as one, as a batch of 10 has few rows of each"):
        train(sources, target, batch_size=10, **QUICK)
    with pytest.raises(UserError, match="pairs rows of source and target"):
        train(sources, target, estimator="linear", **QUICK)


def test_things_that_are_no_sources_are_told():
    with pytest.raises(UserError, match="paths are given as a list of paths alone"):
        train({"a": "a.csv", "b": clouds(0)}, clouds(1), **QUICK)


def test_each_source_is_standardised_by_its_own_columns():
    generator = np.random.default_rng(0)
    sources = [clouds(0), (1000 * clouds(1)[0], clouds(1)[1])]
    run = train(sources, clouds(2)[0], standardize="domain", **QUICK)
    alone = train([(x * generator.uniform(2, 3), y) for x, y in sources], clouds(2)[0], standardize="domain", **QUICK)
    torch.testing.assert_close(weights_of(run), weights_of(alone), rtol=1e-2, atol=1e-2)
    assert train(sources, clouds(2)[0], **QUICK).summary.standardized == "domain"  # of their own accord


def test_each_source_of_signals_is_recentred_by_its_own_covariance():
    generator = np.random.default_rng(0)
    mixing = [np.eye(3), np.diag([1.0, 5, 20])]
    recordings = [matrix @ generator.normal(size=(20, 3, 40)) for matrix in mixing]
    source = pool([from_arrays(x, np.arange(20) % 2, str(k), kind="signal") for k, x in enumerate(recordings)])
    target = from_arrays(recordings[0], None, kind="signal")
    inputs, rows, _ = fit_inputs(InputOptions(kind="signal", recenter=True), source, target)
    covariances = [torch.einsum("nct,ndt->cd", x, x) / x[:, 0].numel() for x in rows.content.split(20)]
    for covariance in covariances:
        torch.testing.assert_close(covariance, torch.eye(3), rtol=0.1, atol=0.1)
    kept = restore_inputs(inputs.values(), inputs.tensors())
    assert torch.equal(kept.source(source).content, rows.content)


def test_labelled_target_rows_are_one_more_source():
    x, y = clouds(3, 0.5)
    labels = [str(label) if row < 6 else None for row, label in enumerate(y.tolist())]
    run = train([clouds(0), clouds(1, 0.3)], x, target_labels=labels, **QUICK)
    assert run.summary.target_labels == 6


def test_every_method_takes_several_sources():
    for method in ("auto", "jan+mcc", "shot", "fixmatch"):
        run = train([clouds(0), clouds(1, 0.3)], clouds(2), **{**QUICK, "method": method, "steps": 12})
        assert run.summary.accuracy is not None
        assert len(run.summary.sources) == 2


# The command line, resuming, ranks, scikit-learn


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, (x, y) in {"a": clouds(0), "b": clouds(1, 0.4), "bad": clouds(2, swapped=True), "t": clouds(3)}.items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    return tmp_path


FLAGS = ("train", "--source", "a.npz", "--source", "bad.npz", "--source", "b.npz", "--target", "t.npz", "--steps", 20)


def test_sources_are_repeated_flags_and_the_report_names_them(command: Command, files: Path):
    done = command(*FLAGS, "--out", "run")
    assert done.code == 0
    assert "Sources: a " in done.out
    assert "bad dropped" in done.out
    assert "warning: the source bad (120 rows) is dropped" in done.err
    found = json.loads((files / "run" / "summary.json").read_text())
    assert found["task"] == "a+bad+b → t"
    assert found["source"]["path"] == "a.npz, bad.npz, b.npz"
    assert [source["dropped"] for source in found["sources"]] == [False, True, False]
    report = (files / "run" / "report.html").read_text()
    assert "Source bad" in report
    assert "no other source can teach it" in report
    assert command("predict", "run", "t.npz").code == 0
    assert command("evaluate", "run", "t.npz").code == 0


def test_a_stopped_run_of_several_sources_goes_on_to_the_same_numbers(command: Command, files: Path):
    assert command(*FLAGS, "--out", "whole", "--checkpoint-every", 5, "--no-baseline", "--no-report").code == 0
    assert command(*FLAGS, "--out", "part", "--checkpoint-every", 5, "--no-baseline", "--no-report").code == 0
    for name in ("summary.json", "predictions.csv"):
        (files / "part" / name).unlink()
    for file in sorted((files / "part" / "checkpoints").iterdir())[-2:]:
        file.unlink()
    assert command("train", "--resume", "part").code == 0
    assert (files / "part" / "predictions.csv").read_text() == (files / "whole" / "predictions.csv").read_text()


def test_a_task_may_have_several_sources(command: Command, files: Path):
    places = "".join(f'[domains.{name}]\npath = "{name}.npz"\nletter = "{name[:1].upper()}"\n' for name in "abt")
    (files / "three.toml").write_text(places)
    assert load_benchmark("three.toml").task("a+B → t") == ("a+b", "t")
    table = ("--benchmark", "three.toml", "--root", ".", "--methods", "source-only,jan", "--seeds", 1, "--steps", 10)
    done = command("compare", *table, "--tasks", "a+b → t", "--jobs", 1, "--json")
    assert json.loads(done.out)["tasks"] == ["a+b → t"]
    run = command("train", "--benchmark", "three.toml", "--root", ".", "--task", "a+b2t", "--steps", 10, "--json")
    assert [source["name"] for source in json.loads(run.out)["sources"]] == ["a", "b"]
    assert command("analyze", json.loads(run.out)["run"], "--out", "figures").code == 0


def test_sources_of_one_table(command: Command, tmp_path: Path):
    parts = {"A": clouds(0), "B": clouds(1, 0.4), "C": clouds(2, 0.2)}
    frame = pd.concat(pd.DataFrame(x, columns=[*"pqrs"]).assign(label=y, site=name) for name, (x, y) in parts.items())
    frame.to_csv(tmp_path / "all.csv", index=False)
    options = ("--domain-column", "site", "--target-domain", "C", "--steps", 10, "--no-report", "--no-baseline")
    every = command("train", "--source", tmp_path / "all.csv", *options, "--out", tmp_path / "every", "--json")
    assert [source["name"] for source in json.loads(every.out)["sources"]] == ["A", "B"]
    named = ("--source-domain", "A", "--source-domain", "B")
    again = command("train", "--source", tmp_path / "all.csv", *named, *options, "--out", tmp_path / "named", "--json")
    assert json.loads(again.out)["task"] == "A+B → C"
    run = train(frame, domain_column="site", target_domain="C", **QUICK)
    assert [source.name for source in run.summary.sources] == ["A", "B"]


def test_the_classifier_takes_the_names_of_sources():
    parts = [clouds(0), clouds(1, 0.4), clouds(2, swapped=True)]
    x, y = (np.concatenate(each) for each in zip(*parts, strict=True))
    x_t, names = clouds(3, 0.2)[0], np.repeat(["home", "work", "odd"], 120)
    with pytest.warns(UserWarning, match="the source odd"):
        named = AdaptedClassifier(steps=20).fit(x, y, x_t, source_domain=names)
    assert [(source.name, source.dropped) for source in named.sources_] == [
        ("home", False),
        ("odd", True),
        ("work", False),
    ]
    domains = np.concatenate([np.repeat([1, 3, 2], 120), np.full(120, -1)])
    with pytest.warns(UserWarning, match="the source 2"):
        skada = AdaptedClassifier(steps=20).fit(
            np.concatenate([x, x_t]), np.concatenate([y, y[:120]]), sample_domain=domains
        )
    assert [source.name for source in skada.sources_] == ["1", "2", "3"]
    with pytest.raises(UserError, match="one name a row of X"):
        AdaptedClassifier(steps=20).fit(x, y, x_t, source_domain=names[:5])
