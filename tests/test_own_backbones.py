"""A module of one's own as the backbone: its layers and widths, frozen or trained along, saved and given again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, draw_folder, write_arrays
from sklearn.base import clone
from torch import nn

from jointadapt import AdaptedClassifier, Model, from_arrays, read_domain, train
from jointadapt.data import Preprocessing
from jointadapt.diagnostics.label_suggestion import suggest_labels
from jointadapt.diagnostics.shift import measure_shift
from jointadapt.errors import UserError
from jointadapt.experiment import resume
from jointadapt.networks import Backbone, PrecomputedFeatures, backbones, build_backbone
from jointadapt.networks.backbone import check_is_backbone
from jointadapt.runtime import registry

QUICK = {"steps": 3, "batch_size": 8, "baseline": False, "report": False}
SMALL_PICTURES = Preprocessing(20, 16)
FACTORY = """
from torch import nn
def make():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU())
def wants(size):
    return nn.Linear(4, size)
number = 3
"""


class TwoLayers(nn.Module):
    """Rows of four numbers → two layers; counts the rows that pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.dropout = nn.Linear(4, 6), nn.Linear(6, 5), nn.Dropout()
        self.passed = []

    def forward(self, x):
        self.passed.append(len(x))
        first = self.dropout(self.first(x).relu())
        return first, self.second(first).relu_()


class OfPictures(nn.Module):
    """Pictures of 16 × 16 → three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.pool = nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.pool(self.convolution(x))


class Twice(nn.Module):
    """A mistake: two rows for each."""

    def forward(self, x):
        return x.repeat(2, 1)


def arrays(seed: int = 0):
    x = np.random.default_rng(seed).normal(size=(40, 4)).astype(np.float32)
    return (x, x[:, 0] > 0), x + 0.5


def made(cls=TwoLayers):
    torch.manual_seed(5)
    return cls()


# What it is


def test_layers_are_the_modules_outputs_or_inner_modules_that_are_picked():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Sequential(nn.Linear(8, 3), nn.Tanh()))
    x = torch.randn(5, 4)
    picked = Backbone.of(net, layers=["0", "2.0", "2"])
    linear, inner, last = picked(x)
    torch.testing.assert_close(linear, net[0](x))  # as it was, though a ReLU has worked on it in place
    torch.testing.assert_close(inner, net[2][0](linear.relu()))
    torch.testing.assert_close(last, net(x))
    assert picked.measured((4,)).widths == (8, 3, 3)
    assert build_backbone(made(), shape=(4,)).widths == (6, 5)
    assert not list(net[0]._forward_hooks)


def test_a_picked_layer_that_is_not_there_is_a_mistake():
    net = nn.ModuleDict({"used": nn.Linear(4, 2), "unused": nn.Linear(4, 2)})
    net.forward = net["used"].forward
    with pytest.raises(UserError, match="unknown layer 'use'; did you mean 'used'"):
        Backbone.of(net, layers=["use"])
    with pytest.raises(UserError, match="'unused' is not passed"):
        Backbone.of(net, layers=["unused"]).measured((4,))


def test_finding_the_widths_leaves_module_and_generators_as_they_were():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.LazyLinear(2))
    before = {name: value.clone() for name, value in net[:3].state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert build_backbone(net, shape=(4,)).widths == (2,)
    assert torch.equal(torch.rand(2), expected)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net[:3].state_dict().items())


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Linear(3, 2), r"torch\.nn\.modules\.linear:Linear takes no rows of shape \(4,\) \(.*mat1 and mat2"),
        (Twice(), r"has to make a matrix \(n, d\) of n rows, or a tuple of matrices; of 2 rows"),
    ],
)
def test_a_module_that_makes_no_matrix_of_the_rows_is_told_so(module, reason):
    with pytest.raises(UserError, match=reason):
        train(*arrays(), backbone=module, **QUICK)


# Trained along


def test_picked_layers_are_adapted():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    backbone = Backbone.of(net, layers=["0", "2"])
    run = train(*arrays(), backbone=backbone, method="jan", trade_off=1.0, **QUICK)
    assert run.model.network.widths == (8, 3, 2)
    assert not torch.equal(run.model.network.backbone.body.module[0].weight, net[0].weight)


def test_it_is_trained_along_and_its_layers_are_adapted(tmp_path):
    net = made()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run = train(*arrays(), out=tmp_path / "run", backbone=net, method="jan", trade_off=1.0, **QUICK)
    assert run.model.network.widths == (6, 5, 2)
    own = run.model.network.backbone.body
    assert not torch.equal(own.first.weight, before["first.weight"])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not run.model.network.frozen
    x = from_arrays(arrays(1)[1])
    expected = run.model.predict_proba(x)
    with pytest.raises(UserError, match=rf"with a backbone of one's own, {__name__}:TwoLayers; give it again"):
        Model.load(tmp_path / "run")
    for given in (made(), TwoLayers()):  # its weights are the file's
        assert torch.equal(Model.load(tmp_path / "run", backbone=given).predict_proba(x), expected)
    with pytest.raises(UserError, match="the backbone that was given is not the one of"):
        Model.load(tmp_path / "run", backbone=nn.Linear(4, 5))


def test_a_pretrained_one_learns_at_a_tenth_of_the_rate():
    for pretrained, rate in ((False, 1.0), (True, 0.1)):
        run = train(*arrays(), backbone=Backbone.of(made(), pretrained=pretrained), **QUICK)
        assert {group["rate"] for group in run.model.network.parameter_groups()} == {1.0, rate}


def test_what_is_fixed_in_it_stays_fixed():
    net = made()
    net.first.requires_grad_(False)
    run = train(*arrays(), backbone=net, **QUICK)
    assert torch.equal(run.model.network.backbone.body.first.weight, net.first.weight)
    assert not torch.equal(run.model.network.backbone.body.second.weight, net.second.weight)


def test_a_run_of_files_goes_on_with_the_module_given_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2)
    whole = train("s.npz", "t.npz", out="run", backbone=made(), **QUICK)
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "checkpoints" / f"step-{QUICK['steps']:08d}.pt").unlink()
    with pytest.raises(UserError, match="was begun with weights = "):
        resume("run", options={"backbone": TwoLayers()})
    with pytest.raises(UserError, match=r"give the module that it was begun with: jointadapt\.resume\('run', options="):
        resume("run")
    again = resume("run", options={"backbone": made()})
    assert torch.equal(whole.model.network.head.classifier.weight, again.model.network.head.classifier.weight)


@pytest.mark.parametrize("given", [3, TwoLayers], ids=["number", "class"])
def test_what_is_no_backbone_is_told_what_is(given):
    expected = "a backbone is a name, an import path 'module:factory' or a torch.nn.Module; got "
    for use in (lambda: check_is_backbone(given), lambda: train(*arrays(), backbone=given, **QUICK)):
        with pytest.raises(UserError, match=expected) as told:
            use()
        assert ("call it" in str(told.value)) == (given != 3)


# Frozen


def test_a_frozen_one_makes_features_of_arrays_once(tmp_path):
    net = made()
    given = Backbone.of(net)
    run = train(*arrays(), out=tmp_path / "run", backbone=given, frozen=True, **{**QUICK, "baseline": True})
    network = run.model.network
    assert network.frozen
    assert run.summary.frozen
    body = network.backbone.body
    assert all(torch.equal(a, b) for a, b in zip(body.parameters(), net.parameters(), strict=True))
    assert body.passed == [2]  # to find its widths; a copy has made the features
    assert run.model.shape == (4,)
    x = from_arrays(arrays(1)[1])
    loaded = Model.load(tmp_path / "run", backbone=made())
    assert loaded.network.frozen
    of_rows, of_features = loaded.outputs(x), loaded.outputs(loaded.extractor(tmp_path).prepared(x))
    torch.testing.assert_close(of_rows.features, of_features.features)
    torch.testing.assert_close(of_rows.probabilities, run.model.predict_proba(x))


def test_a_frozen_ones_features_of_pictures_are_found_once_for_everything(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 0), ("b", 7)):
        draw_folder(tmp_path / name, 4, seed=seed)
    net = Backbone.of(made(OfPictures), preprocessing=SMALL_PICTURES)
    run = train("a", "b", out="run", backbone=net, frozen=True, workers=0, **QUICK)
    assert len([*cache.glob("features-*")]) == 2
    loaded = Model.load("run", backbone=OfPictures())
    assert loaded.network.backbone.preprocessing == SMALL_PICTURES

    def forbidden(*_):
        raise AssertionError("an image was read again")

    with monkeypatch.context() as patch:
        patch.setattr("jointadapt.data.feature_cache._Pictures.__getitem__", forbidden)
        of_features = loaded.outputs(read_domain("b"), cache=cache)
        assert len(suggest_labels("run", 3, backbone=made(OfPictures))) == 3
        assert len(measure_shift("a", "b", "run", backbone=made(OfPictures), permutations=19).tests) == 2
        assert len(measure_shift("a", "b", backbone=net, permutations=19).tests) == 1
    of_images = run.model.outputs(read_domain("b"))
    torch.testing.assert_close(of_features.features, of_images.features)
    torch.testing.assert_close(of_features.probabilities, of_images.probabilities)


def test_features_in_the_cache_are_of_this_module_as_it_works_now(tmp_path, cache, monkeypatch):
    """Its weights are not all: what it does with them belongs to the key, too."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 0), ("b", 7)):
        draw_folder(tmp_path / name, 4, seed=seed)
    given = {"frozen": True, "workers": 0, **QUICK}
    train("a", "b", backbone=Backbone.of(made(OfPictures), preprocessing=SMALL_PICTURES), **given)
    train("a", "b", backbone=Backbone.of(made(OfPictures), preprocessing=SMALL_PICTURES), **given)
    assert len([*cache.glob("features-*")]) == 2
    monkeypatch.setattr(OfPictures, "forward", lambda self, x: self.pool(self.convolution(x).relu()))
    train("a", "b", backbone=Backbone.of(made(OfPictures), preprocessing=SMALL_PICTURES), **given)
    assert len([*cache.glob("features-*")]) == 4


# By name


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a module that makes backbones, and two domains; it is the current one, and on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_nets.py").write_text(FACTORY)
    write_arrays(tmp_path / "s.npz", seed=1)
    write_arrays(tmp_path / "t.npz", seed=2)
    return tmp_path


TRAIN = ("train", "--source", "s.npz", "--target", "t.npz", "--no-report", "--no-baseline", "--steps", 3)


@pytest.mark.usefixtures("factory")
def test_an_import_path_is_a_name(command: Command):
    assert command(*TRAIN, "--backbone", "my_nets:make", "--out", "run").code == 0
    assert 'backbone = "my_nets:make"' in Path("run/config.toml").read_text()
    assert command("predict", "run", "t.npz").err.endswith("Model.load(path, backbone=…).\n")
    assert len(command("predict", "run", "t.npz", "--backbone", "my_nets:make").out.splitlines()) == 41
    for verb in (("evaluate", "run", "t.npz"), ("suggest-labels", "run"), ("analyze", "run", "--out", "figures")):
        assert "give it again with --backbone module:factory" in command(*verb).err
        assert command(*verb, "--backbone", "my_nets:make").code == 0


@pytest.mark.usefixtures("factory")
def test_a_factory_draws_its_weights_where_a_model_is_loaded_too(command: Command, monkeypatch):
    """What is not drawn is NaN here: a factory may look at its weights, and they are checked."""
    assert command(*TRAIN, "--backbone", "my_nets:make", "--out", "run").code == 0
    monkeypatch.setattr(torch, "empty", lambda *sizes, empty=torch.empty, **how: empty(*sizes, **how).fill_(torch.nan))
    assert Model.load("run", backbone="my_nets:make").config.backbone == "my_nets:make"


@pytest.mark.usefixtures("factory")
def test_a_factory_draws_weights_for_each_seed_of_a_table(command: Command):
    Path("two.toml").write_text("[domains.s]\npath = 's.npz'\n[domains.t]\npath = 't.npz'\n")
    own = ("--backbone", "my_nets:make", "--steps", 3)
    table = ("compare", "--benchmark", "two.toml", "--root", ".", "--methods", "jan", "--seeds", 2, "--out", "table")
    assert command(*table, *own).code == 0
    assert command(*TRAIN, "--backbone", "my_nets:make", "--seed", 1, "--out", "alone").code == 0
    content = Path("alone/metrics.jsonl").read_bytes()
    assert content in [path.read_bytes() for path in Path("table/runs").glob("*/metrics.jsonl")]


@pytest.mark.slow
@pytest.mark.usefixtures("factory")
def test_a_table_takes_an_import_path(command: Command):
    Path("two.toml").write_text("[domains.s]\npath = 's.npz'\n[domains.t]\npath = 't.npz'\n")
    table = ("compare", "--benchmark", "two.toml", "--root", ".", "--methods", "jan", "--seeds", 1, "--steps", 3)
    assert command(*table, "--backbone", "my_nets:make", "--frozen", "--jobs", 2, "--out", "table").code == 0
    run = next(Path("table/runs").iterdir())
    assert Model.load(run, backbone="my_nets:make").network.frozen


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my_nets:wants", "cannot be made (TypeError: "),
        ("my_nets:number", "cannot be made (TypeError: "),
        ("my_nets:absent", "cannot be imported ("),
        ("absent_module:make", "cannot be imported ("),
    ],
)
@pytest.mark.usefixtures("factory")
def test_an_import_path_that_makes_no_module_is_told_so(name, reason, refused):
    assert f"the backbone {name!r} {reason}" in refused(*TRAIN, "--backbone", name, "--out", "run")


@pytest.mark.usefixtures("factory")
def test_weights_come_from_a_file_for_one_of_ones_own_too(tmp_path):
    import my_nets  # pyright: ignore[reportMissingImports]

    torch.manual_seed(9)
    net = my_nets.make()
    torch.save(net.state_dict(), tmp_path / "w.pth")
    built = build_backbone("my_nets:make", str(tmp_path / "w.pth"), (4,))
    assert torch.equal(built.body[0].weight, net[0].weight)
    with pytest.raises(UserError, match="does not fit the backbone"):
        build_backbone(nn.Linear(4, 3), str(tmp_path / "w.pth"), (4,))
    with pytest.raises(UserError, match="brings weights of its own"):
        build_backbone("my_nets:make", "none", (4,))


@pytest.mark.usefixtures("factory")
def test_an_installed_package_adds_a_name(monkeypatch):
    from importlib.metadata import EntryPoint

    points = [EntryPoint(name, "my_nets:make", "jointadapt.backbones") for name in ("theirs", "mlp")]
    monkeypatch.setattr(registry, "entry_points", lambda **_: points)
    monkeypatch.setattr(backbones, "OWN", registry.Registry("backbone", {}, "jointadapt.backbones"))
    assert "theirs" in backbones.backbone_names()
    run = train("s.npz", "t.npz", out="run", backbone="theirs", **QUICK)
    assert run.model.network.backbone.widths == (6,)
    assert torch.equal(Model.load("run").network.head.classifier.weight, run.model.network.head.classifier.weight)
    assert build_backbone("mlp", shape=(4,)).widths == (256,)  # a name of ours stays ours


# scikit-learn


def test_the_estimator_takes_it_and_can_be_cloned():
    x, y = arrays()[0]
    net = made()
    classifier = AdaptedClassifier(backbone=net, steps=3)
    copied = clone(classifier)
    assert copied.backbone is not net
    found = [each.fit(x, y, x + 1).predict_proba(x) for each in (classifier, copied)]
    assert np.array_equal(*found)
    assert torch.equal(net.first.weight, made().first.weight)
    frozen = AdaptedClassifier(backbone=net, steps=3, options={"frozen": True}).fit(x, y, x + 1)
    assert frozen.model_.network.frozen


# What stands for one


def test_precomputed_features_are_split_into_layers():
    stands = PrecomputedFeatures((2, 3))
    first, second = stands(torch.arange(10.0).view(2, 5))
    assert (first.shape, second.tolist()) == ((2, 2), [[2, 3, 4], [7, 8, 9]])
    assert not [*stands.parameters()]
