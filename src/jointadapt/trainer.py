"""The one loop: J = risk + λ · method(source, target), Eq. (9), on Lightning Fabric."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jointadapt.checkpoints import chance, set_chance
from jointadapt.data.batches import Batch
from jointadapt.methods import Method
from jointadapt.networks import Activations, Network, reverse
from jointadapt.schedules import learning_rate, trade_off

TEACHER_DECAY = 0.99


@dataclass(frozen=True)
class Record:
    """One step: risk and transfer are the terms of Eq. (9), λ their trade-off, the rate that of new layers."""

    step: int
    progress: float
    risk: Tensor
    transfer: Tensor
    trade_off: float
    learning_rate: float

    def numbers(self) -> dict[str, int | float]:
        """Return the record as plain numbers; on a GPU this waits for the step."""
        return {**vars(self), "risk": self.risk.item(), "transfer": self.transfer.item()}


class Objective(nn.Module):
    """Network and method as one module: a batch → the two terms of Eq. (9).

    It adds to the activations what the method says it needs, and keeps the teacher: an exponential average of the
    network's weights, without dropout.
    """

    def __init__(self, network: Network, method: Method) -> None:
        super().__init__()
        self.network, self.method, self.teacher = network, method, None
        if method.wants_teacher:
            self.teacher = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(TEACHER_DECAY), use_buffers=True)
            self.teacher.requires_grad_(False)

    def forward(self, x_s: Tensor, y_s: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
        """Return risk and transfer term; both domains pass the network in one call."""
        source = target = None
        if self.method.uses_source and self.method.uses_target:
            source, target = self.network(torch.cat([x_s, x_t])).split(len(x_s))
        elif self.method.uses_source:
            source = self.network(x_s)
        else:
            target = self.network(x_t)
        if self.method.opposes_classifier:
            source, target = self._opposed(source), self._opposed(target)
        if self.teacher is not None and target is not None:
            with torch.no_grad():
                target = target._replace(teacher=self.teacher.eval()(x_t).layers[-1])
        if source is None:
            transfer = self.method(None, target)
            return torch.zeros_like(transfer), transfer
        source = source._replace(labels=y_s)
        return cross_entropy(self.method.source_logits(source), y_s), self.method(source, target)

    def _opposed(self, sample: Activations | None) -> Activations | None:
        return sample and sample._replace(opposed=self.network.classifier(reverse(sample.features)))

    def follow(self) -> None:
        """Let the teacher follow the network; to be called after each step."""
        if self.teacher is not None:
            self.teacher.update_parameters(self.network)


class Trainer:
    """Trains a network by a method, from step `self.step` on.

    Args:
        steps: the length of the whole training; schedules are functions of step / steps.
        rate: η of new layers at the start.
        slope: α of the rate's decay.
        ceiling: λ that the trade-off rises to.
        ramp: whether it rises; else it is the ceiling at every step.
        sharpness: ρ; the risk is taken at θ + ε, the worst place at this distance by its gradient g, ε = ρ g / ‖g‖, the
            transfer term at θ. Two passes a step. Source: SDAT (Rangwani et al., ICML 2022), Eq. (11); SAM (Foret et
            al., ICLR 2021).

    SGD with momentum 0.9 (Nesterov), schedules of the paper, Sec. 5.1.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: Network,
        method: Method,
        *,
        steps: int,
        rate: float = 0.01,
        slope: float = 10.0,
        ceiling: float = 1.0,
        ramp: bool = True,
        weight_decay: float = 5e-4,
        sharpness: float = 0.0,
    ) -> None:
        self.fabric, self.steps, self.step = fabric, steps, 0
        self.rate, self.slope, self.ceiling, self.ramp = rate, slope, ceiling, ramp
        self.sharpness = sharpness
        groups = [*network.parameter_groups(), {"params": [*method.parameters()], "rate": 1.0}]
        groups = [group for group in groups if group["params"]]
        fused = fabric.device.type in ("cpu", "cuda")  # one pass over each parameter instead of six
        optimizer = torch.optim.SGD(
            groups, lr=rate, momentum=0.9, nesterov=True, weight_decay=weight_decay, fused=fused
        )
        self.objective, self.optimizer = fabric.setup(Objective(network, method), optimizer)

    def train(self, batches: Iterable[Batch]) -> Iterator[Record]:
        """Yield a record after each step; stops with the batches."""
        self.objective.train()
        for batch in batches:
            p = self.step / self.steps
            rate = learning_rate(p, self.rate, self.slope)
            weight = trade_off(p, self.ceiling) if self.ramp else self.ceiling
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["rate"]
            risk, transfer = self._backward([part.to(self.fabric.device) for part in batch], weight)
            self.optimizer.step()
            self.objective.module.follow()
            self.step += 1
            yield Record(self.step, p, risk.detach(), transfer.detach(), weight, rate)

    def _backward(self, batch: Sequence[Tensor], weight: float) -> tuple[Tensor, Tensor]:
        """Leave a step's gradients in the parameters, and return risk and transfer term."""
        risk, transfer = self.objective(*batch)
        self.optimizer.zero_grad()
        if not self.sharpness or not risk.requires_grad:
            self.fabric.backward(risk + weight * transfer)
            return risk, transfer
        self.fabric.backward(risk, retain_graph=True)
        moved = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        before, gradients = [p.detach().clone() for p in moved], [p.grad for p in moved]
        self.optimizer.zero_grad()
        if transfer.requires_grad:
            self.fabric.backward(weight * transfer)
        length = torch.stack([gradient.norm() for gradient in gradients]).norm()
        with torch.no_grad():
            for p, gradient in zip(moved, gradients, strict=True):
                p.add_(gradient / length.clamp_min(torch.finfo(length.dtype).tiny), alpha=self.sharpness)
        self.fabric.backward(self.objective(*batch)[0])
        with torch.no_grad():
            for p, value in zip(moved, before, strict=True):
                p.copy_(value)
        return risk, transfer

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on: weights, optimizer, loss scale, step and generators."""
        return {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "step": self.step,
            "chance": chance(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.step = state["step"]
        set_chance(state["chance"])
