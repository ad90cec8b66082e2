"""The one loop: J = risk + λ · method(source, target), Eq. (9), on Lightning Fabric."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import Precision
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from jointadapt.data.batches import Batch
from jointadapt.errors import UserError
from jointadapt.methods import Method
from jointadapt.networks.network import Network
from jointadapt.runtime.random_state import rng_state, set_rng_state
from jointadapt.training.distributed import Ranks, pool_batch_norm
from jointadapt.training.objective import Objective
from jointadapt.training.schedules import learning_rate, trade_off
from jointadapt.training.sgd import momentum_step


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


@dataclass(frozen=True)
class NonFiniteStep:
    """The first step with a loss that is not finite, or weights after it; `norm` is their Euclidean norm.

    On a GPU, which nobody waits for, weights are looked at now and then: there it may be the step that shows the fault.
    """

    step: int
    risk: float
    transfer: float
    norm: float


@dataclass(frozen=True)
class Condition:
    """The network's outputs on the last batch in evaluation mode, of the domain that is closer to collapse.

    Args:
        classes: how many classes are predicted.
        spread: the mean squared distance of the features from their mean, as a fraction of their mean square.
    """

    classes: int
    spread: float


class Trainer:
    """Trains a network by a method, from step `self.step` on.

    Args:
        steps: the length of the whole training; schedules are functions of step / steps.
        rate: initial learning rate η of new layers.
        alpha: α of the learning rate's decay.
        ceiling: λ that the trade-off rises to.
        warm_up: whether it rises; else it is the ceiling at every step.
        sam_rho: ρ; the gradient of the risk is taken at θ + ε, with SAM's perturbation ε = ρ g / ‖g‖ along its gradient
            g, that of the transfer term at θ. Two passes a step. Source: SDAT (Rangwani et al., ICML 2022), Eq. (11);
            SAM (Foret et al., ICLR 2021).
        origin_weights, recompute_chunks, channels_last: as `Objective`.
        compiled: the backbone is compiled by torch.compile.

    On several ranks each gives `train` its own shard of the global batch (`part`): risk, transfer and gradients are
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
        alpha: float = 10.0,
        ceiling: float = 1.0,
        warm_up: bool = True,
        weight_decay: float = 5e-4,
        sam_rho: float = 0.0,
        origin_weights: Sequence[float] = (),
        recompute_chunks: int = 1,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        self.ranks = Ranks.of(fabric)
        if not network.backbone.pretrained:
            _check_chunks(network, recompute_chunks)
            if self.ranks.count > 1:
                pool_batch_norm(network.backbone)
        if compiled:
            network.backbone.body.compile()
        if channels_last:
            network.backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.fabric, self.steps, self.step = fabric, steps, 0
        self.rate, self.alpha, self.ceiling, self.warm_up = rate, alpha, ceiling, warm_up
        self.sam_rho = sam_rho
        groups = [*network.parameter_groups(), {"params": [*method.parameters()], "rate": 1.0}]
        groups = [group for group in groups if group["params"]]
        fused = fabric.device.type in ("cpu", "cuda")  # one pass over each parameter instead of six
        optimizer = torch.optim.SGD(
            groups, lr=rate, momentum=0.9, nesterov=True, weight_decay=weight_decay, fused=fused
        )
        self.objective, self.optimizer = fabric.setup(
            Objective(network, method, self.ranks, origin_weights, recompute_chunks, channels_last), optimizer
        )
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        precision = fabric.strategy.precision
        self.plain = self.ranks.count == 1 and type(precision) is Precision  # Fabric's wrappers then change nothing
        self.batch: Batch | None = None
        self.generator: torch.Generator | None = None  # where several train as one: what this one draws from
        self._fault: NonFiniteStep | None = None
        self._unseen: list[tuple[int, Tensor, Tensor]] = []

    def train(self, batches: Iterable[Batch]) -> Iterator[Record]:
        """Yield a record after each step; stops with the batches."""
        self.objective.train()
        device = self.fabric.device
        for batch in batches:
            weight, rate = self.schedule()
            self.batch = Batch(*batch).to(device)
            risk, transfer = (term.detach() for term in self._backward(self.batch, weight))
            sound = not risk.is_cpu or math.isfinite(risk.item() + transfer.item())
            if not sound:
                self.look(statistics=())  # at the weights as the step before has left them
            if self.plain:
                momentum_step(self.optimizer.optimizer)
            else:
                self.optimizer.step()
            self.objective.module.follow()
            yield self.stepped(risk, transfer, weight, rate, sound)

    def schedule(self) -> tuple[float, float]:
        """Set the optimizer's rates for the step that comes, and return its trade-off and the rate of new layers."""
        p = self.step / self.steps
        weight = trade_off(p, self.ceiling) if self.warm_up else self.ceiling
        rate = learning_rate(p, self.rate, self.alpha)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        return weight, rate

    def stepped(self, risk: Tensor, transfer: Tensor, weight: float, rate: float, sound: bool) -> Record:
        """Count a step that was made, and return its record; `sound`: nothing is known that is not finite."""
        p = self.step / self.steps
        self.step += 1
        self._unseen.append((self.step, risk, transfer))
        if not sound:
            self.look()
        return Record(self.step, p, risk, transfer, weight, rate)

    def _backward(self, batch: Batch, weight: float) -> tuple[Tensor, Tensor]:
        """Leave a step's gradients in the parameters, and return risk and transfer term."""
        for parameter in self.parameters:
            parameter.grad = None
        if self.plain and not self.sam_rho:
            risk, transfer = self.objective.module(*batch, step=self.step)
            (risk + weight * transfer).backward()
            return risk, transfer
        if self.sam_rho and self.objective.module.method.needs.source:
            with self.fabric.no_backward_sync(self.objective):  # which knows of one way back a step, not of three
                return self._sam_backward(batch, weight)
        risk, transfer = self.objective(*batch, step=self.step)
        self.fabric.backward(risk + weight * transfer)
        return risk, transfer

    def _sam_backward(self, batch: Batch, weight: float) -> tuple[Tensor, Tensor]:
        """Do the same with the gradient of the risk from θ + ε: the same ε on every rank, of the risk of all rows."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        risk, transfer = self.objective(*batch, step=self.step)
        self.fabric.backward(risk, retain_graph=True)
        moved = [p for p in parameters if p.grad is not None]
        before, gradients = [p.detach().clone() for p in moved], [p.grad for p in moved]
        self.ranks.average(gradients)
        self.optimizer.zero_grad()
        if transfer.requires_grad:
            self.fabric.backward(weight * transfer)
        length = torch.stack([gradient.norm() for gradient in gradients]).norm()
        with torch.no_grad():
            for p, gradient in zip(moved, gradients, strict=True):
                p.add_(gradient / length.clamp_min(torch.finfo(length.dtype).tiny), alpha=self.sam_rho)
        self.fabric.backward(self.objective(*batch, step=self.step)[0])
        with torch.no_grad():
            for p, value in zip(moved, before, strict=True):
                p.copy_(value)
        self.ranks.average([p.grad for p in parameters if p.grad is not None])
        return risk, transfer

    def draw_apart(self) -> None:
        """Draw from a generator of its own from here on, which goes on where torch's is."""
        self.generator = torch.Generator()
        self.generator.set_state(torch.get_rng_state())

    def draw_as_ever(self) -> None:
        """Draw from torch's generator again, which goes on where its own was."""
        if self.generator is not None:
            torch.set_rng_state(self.generator.get_state())
            self.generator = None

    @property
    def part(self) -> tuple[int, int]:
        """Which part of each batch is this process's: its number, of how many."""
        return self.ranks.rank, self.ranks.count

    def largest(self, number: int = 0) -> int:
        """Return the largest of the ranks' numbers, so that all stop together when one is asked to."""
        return max(self.ranks.numbers(number, device=self.fabric.device))[0]

    def fault(self, look: bool = True) -> NonFiniteStep | None:
        """Return the first step that was not finite, if there was one.

        Args:
            look: at the weights, too, and at losses that nobody has seen; on a GPU this waits for the steps so far.
                Else only what is known: on the CPU each step's loss is.
        """
        if look:
            self.look()
        return self._fault

    def look(self, statistics: Iterable[Tensor] | None = None) -> None:
        """See whether the losses that nobody has seen, and the weights and statistics after them, are finite.

        A gradient that is not finite shows in the weights; one that a loss scale has skipped does not. BatchNorm's
        statistics may overflow where the loss does not.
        """
        if self._fault is None and self._unseen:
            norm = get_total_norm([p.detach() for p in self.parameters]).float()
            seen = self.objective.buffers() if statistics is None else statistics
            norm = sum((0 * x.sum() for x in seen), norm).item()
            numbers = torch.stack([torch.stack(losses).float() for _, *losses in self._unseen]).tolist()
            bad = [place for place, losses in enumerate(numbers) if not math.isfinite(sum(losses))]
            if bad or not math.isfinite(norm):
                first = bad[0] if bad else -1
                risk, transfer = numbers[first]
                self._fault = NonFiniteStep(self._unseen[first][0], risk, transfer, norm)
        self._unseen.clear()

    @torch.inference_mode()
    def condition(self) -> Condition:
        """Return the condition on the last batch: one more forward, in evaluation mode."""
        assert self.batch is not None
        network, method = self.objective.module.network.eval(), self.objective.module.method
        classes, spreads, dtype = [], [], network.head.classifier.weight.dtype
        for x, used in ((self.batch.x_s, method.needs.source), (self.batch.x_t, method.needs.target)):
            if used:
                seen, lengths = network(x.to(dtype)), self.ranks.numbers(len(x), device=x.device)
                classes.append(len(self.ranks.gather(seen.logits.argmax(1), lengths).unique()))
                spreads.append(_spread(self.ranks.gather(seen.features.float(), lengths)))
        self.objective.train()
        return Condition(min(classes), min(spreads))

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on: weights, optimizer, loss scale, step and generators."""
        generators = rng_state()
        if self.generator is not None:
            generators["torch"] = self.generator.get_state()
        state = {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "step": self.step,
            "rng_state": generators,
        }
        return state if self.generator is None else _owned(state)

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.step = state["step"]
        set_rng_state(state["rng_state"])


def _owned(state: dict[Any, Any]) -> dict[Any, Any]:
    """Return a state whose tensors are views of no larger ones, which would be saved with them."""
    copied = {key: _owned(value) if isinstance(value, dict) else value for key, value in state.items()}
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in copied.items()}


def _check_chunks(network: Network, chunks: int) -> None:
    if chunks > 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.backbone.modules()):
        raise UserError(
            f"--recompute-chunks {chunks} would give each chunk batch statistics of its own in this backbone; leave it "
            "out, or give pretrained weights, whose statistics stay as they are."
        )


def _spread(rows: Tensor) -> float:
    square = rows.square().mean()
    return ((rows - rows.mean(0)).square().mean() / square).item() if square > 0 else 0.0
