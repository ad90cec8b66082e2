"""What the trainer adds to a step: labels of the source alone, reversed logits, a teacher; and SAM."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jointadapt import train
from jointadapt.config import make_config
from jointadapt.data import UNLABELLED, Batches, from_arrays
from jointadapt.data.batches import Batch
from jointadapt.data.target_labels import join_labelled
from jointadapt.errors import Interrupted
from jointadapt.experiment import execute
from jointadapt.methods import METHODS, Method, Needs
from jointadapt.methods.build import build_method
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.network import Head, Network
from jointadapt.training.objective import TEACHER_DECAY, Objective
from jointadapt.training.trainer import Trainer

FLOAT64 = 1e-10
"""Relative error that sums of some hundred float64 terms may differ by."""
X_S, X_T = (torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows)) for rows in (8, 6))
Y_S = torch.arange(8) % 3


def network(dropout: float = 0.0) -> Network:
    torch.manual_seed(0)
    backbone = build_backbone("mlp", shape=(4,))
    return Network(backbone, Head(backbone.widths, 3, bottleneck=5, dropout=dropout))


class Witness(Method):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given = []

    def forward(self, source, target) -> Tensor:
        self.given = [source, target]
        return (source or target).logits.new_zeros(())


@pytest.mark.parametrize("name", METHODS)
def test_labels_go_to_the_source_alone(name):
    kind = METHODS[name]
    witness = Witness()
    witness.needs = kind.needs
    Objective(network(), witness)(X_S, Y_S, X_T)
    source, target = witness.given
    assert (source is not None) == kind.needs.source
    assert (target is not None) == kind.needs.target
    if source is not None:
        assert torch.equal(source.labels, Y_S)
        assert source.teacher is None
    if target is not None:
        assert target.labels is None
        assert (target.reversed_logits is not None) == kind.needs.reversed_logits
        assert (target.teacher is not None) == kind.needs.teacher


def test_reversed_logits_are_the_logits_and_turn_the_features_alone():
    witness, net = Witness(), network()
    witness.needs = Needs(reversed_logits=True)
    Objective(net, witness)(X_S, Y_S, X_T)
    for sample in witness.given:
        torch.testing.assert_close(sample.reversed_logits, sample.logits)
        inputs = [net.head.bottleneck[0].weight, net.head.classifier.weight]
        of_reversed, of_logits = (
            torch.autograd.grad(logits.square().sum(), inputs, retain_graph=True)
            for logits in (sample.reversed_logits, sample.logits)
        )
        torch.testing.assert_close(of_reversed[0], -of_logits[0])
        torch.testing.assert_close(of_reversed[1], of_logits[1])


def test_the_teacher_is_the_average_of_the_weights_and_has_no_dropout():
    net = network(dropout=0.5)
    objective = Objective(net, build_method("fixmatch", net.widths, {})).train()
    weight = net.head.classifier.weight
    expected = None
    for step in range(4):
        with torch.no_grad():
            weight += step
        objective.follow()
        expected = weight.clone() if expected is None else TEACHER_DECAY * expected + (1 - TEACHER_DECAY) * weight
    torch.testing.assert_close(objective.teacher.module.head.classifier.weight, expected)
    witness = Witness()
    objective.method = witness
    seen = []
    for _ in range(2):
        objective(X_S, Y_S, X_T)
        seen.append(witness.given[1])
    assert torch.equal(seen[0].teacher, seen[1].teacher)
    assert not torch.equal(seen[0].logits, seen[1].logits)
    assert not any(p.requires_grad for p in objective.teacher.parameters())


class Quadratic(Method):
    """A transfer term that is not the risk."""

    def forward(self, source, target) -> Tensor:
        return source.logits.square().mean() + target.logits.square().mean()


def test_sam_takes_the_risk_where_it_is_worst_and_the_transfer_term_where_the_weights_are():
    rho, ceiling = 0.3, 2.0
    net = Network(build_backbone("none", shape=(4,)), Head((4,), 3, bottleneck=0)).double()
    trainer = Trainer(
        Fabric(accelerator="cpu", devices=1),
        net,
        Quadratic(),
        steps=2,
        ceiling=ceiling,
        weight_decay=0.0,
        sam_rho=rho,
    )
    trainer.step = 1
    batch = Batch(X_S.double(), Y_S, X_T.double())
    parameters = dict(net.named_parameters())
    before = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}

    def logits(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(net, values, (x,)).logits

    names = list(before)
    risk = cross_entropy(logits(before, batch[0]), Y_S)
    g = torch.autograd.grad(risk, list(before.values()))
    length = sum(part.square().sum() for part in g).sqrt()
    worst = {name: before[name] + rho * part / length for name, part in zip(names, g, strict=True)}
    of_risk = torch.autograd.grad(cross_entropy(logits(worst, batch[0]), Y_S), list(worst.values()))
    transfer = sum(logits(before, x).square().mean() for x in (batch[0], batch[2]))
    of_transfer = torch.autograd.grad(transfer, list(before.values()))
    (record,) = trainer.train([batch])
    assert record.risk.item() == pytest.approx(risk.item(), rel=FLOAT64)
    for name, r, t in zip(names, of_risk, of_transfer, strict=True):
        gradient = r + record.trade_off * t
        expected = before[name] - record.learning_rate * 1.9 * gradient  # Nesterov's first step: 1 + momentum
        torch.testing.assert_close(parameters[name].detach(), expected.detach(), rtol=FLOAT64, atol=FLOAT64)


def arrays() -> tuple:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=generator).numpy()
    return (x, x[:, 0] > 0), x + 0.5


def test_a_source_free_method_starts_as_the_source_only_model_and_keeps_its_classifier(tmp_path):
    run = train(*arrays(), out=tmp_path / "run", method="shot", baseline=False, steps=5, report=False)
    from jointadapt import Model

    plain = Model.load(tmp_path / "run" / "source-only").network.state_dict()
    own = run.model.network.state_dict()
    for name, value in plain.items():
        if name.startswith("head.classifier"):
            assert torch.equal(own[name], value)
    (linear,) = [name for name in own if name.startswith("head.bottleneck") and own[name].ndim == 2]
    moved, size = (own[linear] - plain[linear]).norm(), plain[linear].norm()
    assert 0 < moved < 0.1 * size


def test_a_source_free_method_sees_no_source_row():
    net = network()
    objective = Objective(net, build_method("shot", net.widths, {}))
    risk, transfer = objective(torch.full_like(X_S, float("nan")), Y_S, X_T)
    assert risk.item() == 0
    assert torch.isfinite(transfer)


@pytest.mark.parametrize("method", ["shot", "fixmatch", "rtn", "mcd+nwd", "lmmd+mcc"])
def test_methods_that_need_more_train_and_come_back(tmp_path, method):
    small = {"second_classifier_width": 8} if "mcd" in method else {}
    run = train(*arrays(), out=tmp_path / "run", method=method, baseline=False, steps=4, report=False, **small)
    assert run.summary.method == method
    assert isinstance(run.model.network, nn.Module)


def test_sam_is_an_option_of_every_run():
    plain, sharp = (
        train(*arrays(), method="jan+mcc", baseline=False, steps=4, report=False, sam_rho=rho) for rho in (0.0, 0.05)
    )
    weights = [run.model.network.head.classifier.weight for run in (plain, sharp)]
    assert not torch.equal(*weights)
    train(*arrays(), method="source-only", steps=2, report=False, sam_rho=0.05)


W_S = torch.tensor([3.0, 0, 1, 2, 1, 1, 0, 4])


def test_without_weights_the_risk_is_the_mean_cross_entropy_to_the_last_bit():
    witness, net = Witness(), network()
    of_none, _ = Objective(net, witness)(X_S, Y_S, X_T)
    assert witness.given[0].weights is None
    assert torch.equal(of_none, cross_entropy(witness.given[0].logits, Y_S))


def test_source_weights_weigh_the_risk_and_are_handed_to_the_method():
    witness, net = Witness(), network()
    risk, _ = Objective(net, witness)(X_S, Y_S, X_T, W_S)
    source, target = witness.given
    assert torch.equal(source.weights, W_S)
    assert target.weights is None
    own = cross_entropy(source.logits, Y_S, reduction="none")
    torch.testing.assert_close(risk, (W_S * own).sum() / W_S.sum())
    nothing, _ = Objective(net, witness)(X_S, Y_S, X_T, torch.zeros(8))
    assert nothing.item() == 0


def test_a_batch_carries_the_weights_of_its_rows():
    labels = torch.arange(9) % 2
    source = from_arrays(torch.arange(9.0)[:, None], labels)
    source = replace(source, weights=torch.arange(9.0) / 2)
    batch = Batches(source.select(range(1, 9)), source, 4, 0)[3]
    torch.testing.assert_close(batch.w_s, batch.x_s[:, 0] / 2)
    plain = Batches(replace(source, weights=None).select(range(1, 9)), source, 4, 0)[3]
    assert plain.w_s is None
    assert torch.equal(plain.x_s, batch.x_s)


@pytest.mark.parametrize("method", ["source-only", "jan", "coral"])
def test_a_training_with_source_weights_goes_on_where_it_was_stopped(tmp_path, method, monkeypatch):
    (x, y), target = arrays()
    source = replace(from_arrays(x, y), weights=torch.where(torch.as_tensor(y), 0.2, 1.0))
    options = {"method": method, "baseline": False, "report": False, "steps": 120, "checkpoint_every": 60}
    plain = train((x, y), target, **options)
    whole = train(source, target, **options)
    assert not torch.equal(*(run.model.network.head.classifier.weight for run in (plain, whole)))
    monkeypatch.setattr(Trainer, "largest", lambda trainer, *_: trainer.step == 60)
    with pytest.raises(Interrupted):
        train(source, target, out=tmp_path / "run", **options)
    monkeypatch.undo()
    config = make_config({**options, "out": str(tmp_path / "run")})
    resumed = execute(config, source, from_arrays(target), resuming=True)
    for a, b in zip(*(run.model.network.state_dict().values() for run in (whole, resumed)), strict=True):
        assert torch.equal(a, b)


def test_labelled_target_rows_join_weighted_source_rows_with_the_weight_one():
    x = torch.arange(6.0)[:, None]
    source = replace(from_arrays(x, torch.arange(6) % 2), weights=torch.full((6,), 0.5))
    given = torch.tensor([0, UNLABELLED, UNLABELLED])
    joined = join_labelled(source, from_arrays(torch.ones(3, 1)), given)
    assert joined.weights.tolist() == [0.5] * 6 + [1.0] * 2
