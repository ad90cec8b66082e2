"""The one loop: J = risk + λ · method(source, target), Eq. (9), on Lightning Fabric."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from jointadapt.checkpoints import chance, set_chance
from jointadapt.data.batches import Batch
from jointadapt.errors import UserError
from jointadapt.methods import Method
from jointadapt.networks import Network
from jointadapt.ranks import Ranks, pool_batch_norm
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
    """Network and method as one module: a batch → the two terms of Eq. (9).

    Of several ranks each passes its own rows through the backbone; the rest is computed from the rows of all.

    Args:
        accumulate: in so many parts the rows pass the backbone, each once more on the way back: the memory of one part.
        channels_last: the layout of images.
    """

    def __init__(
        self, network: Network, method: Method, ranks: Ranks, accumulate: int = 1, channels_last: bool = False
    ) -> None:
        super().__init__()
        self.network, self.method, self.ranks, self.accumulate = network, method, ranks, accumulate
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def forward(self, x_s: Tensor, y_s: Tensor, x_t: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return risk and transfer term; both domains pass the network in one call."""
        rows = [x_s, x_t] if self.method.uses_target else [x_s]
        lengths = self.ranks.numbers(*map(len, rows), device=x_s.device)
        n = sum(own[0] for own in lengths)
        y_s = self.ranks.gather(y_s, [own[:1] for own in lengths])
        hidden = [self.ranks.gather(layer, lengths) for layer in self._hidden(torch.cat(rows), step)]
        seen = self.network.head(hidden)
        source, target = seen.split(n) if self.method.uses_target else (seen, None)
        return cross_entropy(source.logits, y_s), self.method(source, target)

    def _hidden(self, x: Tensor, step: int) -> tuple[Tensor, ...]:
        if x.ndim == 4:
            x = x.contiguous(memory_format=self.layout)
        with self.ranks.own_chance(step, x.device):
            if self.accumulate == 1:
                return self.network.backbone(x)
            parts = [checkpoint(self.network.backbone, part, use_reentrant=False) for part in x.chunk(self.accumulate)]
            return tuple(torch.cat(layer) for layer in zip(*parts, strict=True))


class Trainer:
    """Trains a network by a method, from step `self.step` on.

    Args:
        steps: the length of the whole training; schedules are functions of step / steps.
        rate: η of new layers at the start.
        ceiling: λ that the trade-off rises to.
        accumulate, channels_last: as `Objective`.
        compiled: the backbone is compiled by torch.compile.

    On several ranks each gives `train` its own share of the global batch (`share`): risk, transfer and gradients are
    those of the global batch, on every rank. SGD with momentum 0.9 (Nesterov), schedules of the paper, Sec. 5.1.
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
        accumulate: int = 1,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        self.ranks = Ranks(fabric.global_rank, fabric.world_size)
        if not network.backbone.pretrained:
            _check_parts(network, accumulate)
            if self.ranks.count > 1:
                pool_batch_norm(network.backbone)
        if compiled:
            network.backbone.body.compile()
        if channels_last:
            network.backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.fabric, self.steps, self.rate, self.ceiling, self.step = fabric, steps, rate, ceiling, 0
        groups = [*network.parameter_groups(), {"params": [*method.parameters()], "rate": 1.0}]
        groups = [group for group in groups if group["params"]]
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)
        self.objective, self.optimizer = fabric.setup(
            Objective(network, method, self.ranks, accumulate, channels_last), optimizer
        )

    def train(self, batches: Iterable[Batch]) -> Iterator[Record]:
        """Yield a record after each step; stops with the batches."""
        self.objective.train()
        for batch in batches:
            p = self.step / self.steps
            rate, weight = learning_rate(p, self.rate), trade_off(p, self.ceiling)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["rate"]
            risk, transfer = self.objective(*(part.to(self.fabric.device) for part in batch), self.step)
            self.optimizer.zero_grad()
            self.fabric.backward(risk + weight * transfer)
            self.optimizer.step()
            self.step += 1
            yield Record(self.step, p, risk.detach(), transfer.detach(), weight, rate)

    @property
    def part(self) -> tuple[int, int]:
        """Which part of each batch is this process's: its number, of how many."""
        return self.ranks.rank, self.ranks.count

    def largest(self, number: int = 0) -> int:
        """Return the largest of the ranks' numbers, so that all stop together when one is asked to."""
        return max(own for (own,) in self.ranks.numbers(number, device=self.fabric.device))

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


def _check_parts(network: Network, parts: int) -> None:
    if parts > 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.backbone.modules()):
        raise UserError(
            f"--accumulate {parts} would give each part batch statistics of its own in this backbone; leave it out, or "
            "give pretrained weights, whose statistics stay as they are."
        )
