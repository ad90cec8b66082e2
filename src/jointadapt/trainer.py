"""The one loop: J = risk + λ · method(source, target), Eq. (9), on Lightning Fabric."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jointadapt.checkpoints import chance, set_chance
from jointadapt.data.batches import Batch
from jointadapt.methods import Method
from jointadapt.networks import Network
from jointadapt.schedules import learning_rate, trade_off


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
    """Network and method as one module: a batch → the two terms of Eq. (9)."""

    def __init__(self, network: Network, method: Method) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, x_s: Tensor, y_s: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
        """Return risk and transfer term; both domains pass the network in one call."""
        if self.method.uses_target:
            source, target = self.network(torch.cat([x_s, x_t])).split(len(x_s))
        else:
            source, target = self.network(x_s), None
        return cross_entropy(source.logits, y_s), self.method(source, target)


class Trainer:
    """Trains a network by a method, from step `self.step` on.

    Args:
        steps: the length of the whole training; schedules are functions of step / steps.
        rate: η of new layers at the start.
        ceiling: λ that the trade-off rises to.

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
        ceiling: float = 1.0,
        weight_decay: float = 5e-4,
    ) -> None:
        self.fabric, self.steps, self.rate, self.ceiling, self.step = fabric, steps, rate, ceiling, 0
        groups = [*network.parameter_groups(), {"params": [*method.parameters()], "rate": 1.0}]
        groups = [group for group in groups if group["params"]]
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)
        self.objective, self.optimizer = fabric.setup(Objective(network, method), optimizer)

    def train(self, batches: Iterable[Batch]) -> Iterator[Record]:
        """Yield a record after each step; stops with the batches."""
        self.objective.train()
        for batch in batches:
            p = self.step / self.steps
            rate, weight = learning_rate(p, self.rate), trade_off(p, self.ceiling)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["rate"]
            risk, transfer = self.objective(*(part.to(self.fabric.device) for part in batch))
            self.optimizer.zero_grad()
            self.fabric.backward(risk + weight * transfer)
            self.optimizer.step()
            self.step += 1
            yield Record(self.step, p, risk.detach(), transfer.detach(), weight, rate)

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
