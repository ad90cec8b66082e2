"""Several trainings of small heads as one: one batched product each, one backward pass, one pass of the optimizer."""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import compress

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from jointadapt.data.batches import Batch
from jointadapt.methods import Method
from jointadapt.networks.network import Activations
from jointadapt.networks.stacked import StackedHead, shape_of, together
from jointadapt.training.sgd import fused_momentum_step
from jointadapt.training.trainer import Record, Trainer

MOST_TOGETHER = 8  # runs; of more a step takes as long a run, and what it touches no longer stays in the cache


def stacking_key(trainer: Trainer) -> Hashable | None:
    """Return what is equal of trainers that can train as one; None of one that has to train alone.

    Those on a CPU in plain precision, of a head alone, whose methods take a leading axis of runs (`stacking_key`).
    """
    objective, groups = trainer.objective.module, trainer.optimizer.param_groups
    needs, shape = objective.method.needs, shape_of(objective.network)
    alone = not trainer.plain or trainer.sam_rho or len(groups) > 1 or trainer.fabric.device.type != "cpu"
    if alone or shape is None or needs.teacher or not needs.source or trainer.step == trainer.steps:
        return None
    if any(part.stacking_key() is None for _, part in objective.method.weighted_parts()):
        return None
    schedule = trainer.steps, trainer.step, trainer.rate, trainer.alpha, groups[0]["weight_decay"]
    return shape, needs.target, schedule


class Stack:
    """Trains K trainers of one `stacking_key` as one, from the step that they are at.

    Each keeps its batches, its trade-off, its loss and its random numbers: those of dropout come from its `generator`,
    from where its own training would have gone on. After each step a trainer is as if it had trained alone, up to
    rounding: its weights and momenta are views of the stack's, and its checkpoints hold what they hold.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = trainers
        objectives = [trainer.objective.module for trainer in trainers]
        self.backbone, self.needs_target = objectives[0].network.backbone, objectives[0].method.needs.target
        self.head = StackedHead([objective.network.head for objective in objectives])
        self.reverses = any(objective.method.needs.reversed_logits for objective in objectives)
        self.groups = _groups([objective.method for objective in objectives])
        heads = [dict(objective.network.head.named_parameters()) for objective in objectives]
        self.momenta = [
            together([_momentum(t, own[name]) for t, own in zip(trainers, heads, strict=True)])
            for name in self.head.weights
        ]

    def train(self, batches: Iterable[Sequence[Batch]]) -> Iterator[list[Record]]:
        """Yield each trainer's record after each step; stops with the batches."""
        weights = [*self.head.weights.values()]
        for own in batches:
            schedules = [trainer.schedule() for trainer in self.trainers]
            for trainer, batch in zip(self.trainers, own, strict=True):
                trainer.batch = batch
            risks, transfers = self._terms(own)
            trade_offs = risks.new_tensor([weight for weight, _ in schedules])
            gradients = torch.autograd.grad((risks + trade_offs * transfers).sum(), weights)
            risks, transfers = risks.detach(), transfers.detach()
            sound = [math.isfinite(loss) for loss in (risks + transfers).tolist()]
            for trainer in compress(self.trainers, (not fine for fine in sound)):
                trainer.look(statistics=())  # at the weights as the step before has left them
            options = self.trainers[0].optimizer.param_groups[0]
            fused_momentum_step([w.detach() for w in weights], [*gradients], self.momenta, options)
            terms = zip(self.trainers, risks.unbind(), transfers.unbind(), schedules, sound, strict=True)
            yield [trainer.stepped(risk, transfer, *own, fine) for trainer, risk, transfer, own, fine in terms]

    def _terms(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Return risks and transfer terms, (K,) each."""
        runs, n = len(batches), len(batches[0].x_s)
        parts = [x for batch in batches for x in ((batch.x_s, batch.x_t) if self.needs_target else (batch.x_s,))]
        hidden = self.backbone(torch.cat(parts))
        seen = self.head([layer.view(runs, -1, layer.shape[1]) for layer in hidden], self._masks)
        source, target = _halves(seen, n) if self.needs_target else (seen, None)
        labels = torch.stack([batch.y_s for batch in batches])
        losses = cross_entropy(source.logits.flatten(0, 1), labels.flatten(), reduction="none")
        if self.reverses and target is not None:
            source, target = self.head.with_reversed_logits(source), self.head.with_reversed_logits(target)
        source = source._replace(labels=labels)
        return losses.view(runs, -1).mean(1), self._transfers(source, target)

    def _transfers(self, source: Activations, target: Activations | None) -> Tensor:
        """Return the transfer terms (K,), each method's of all runs that have it at once."""
        terms = source.logits.new_zeros(len(self.trainers))
        for method, runs, factors in self.groups:
            if runs.tolist() == [*range(len(self.trainers))]:
                found = method(source, target)
            else:
                found = method(source.chosen(runs), target and target.chosen(runs))
            terms = terms.index_add(0, runs, factors.to(found) * found)
        return terms

    def _masks(self, masks: Tensor) -> Tensor:
        """Fill each run's mask from its own generator, as its dropout layer would have."""
        keep = 1 - self.head.dropout
        for trainer, mask in zip(self.trainers, masks.unbind(), strict=True):
            mask.bernoulli_(keep, generator=trainer.generator)
        return masks.div_(keep)

    def release(self) -> None:
        """Let each trainer go on alone: with weights and momenta of its own."""
        self.head.release()
        for trainer in self.trainers:
            for state in trainer.optimizer.optimizer.state.values():
                state["momentum_buffer"] = state["momentum_buffer"].clone()


def _groups(methods: Sequence[Method]) -> list[tuple[Method, Tensor, Tensor]]:
    """Return each method that some runs have in common: itself, their numbers, and its weight in each of their sums."""
    groups: dict[Hashable, list[tuple[Method, int, float]]] = {}
    for run, method in enumerate(methods):
        for weight, part in method.weighted_parts():
            groups.setdefault(part.stacking_key(), []).append((part, run, weight))
    found = []
    for group in groups.values():
        parts, runs, weights = zip(*group, strict=True)
        found.append((parts[0], torch.tensor(runs), torch.tensor(weights, dtype=torch.float64)))
    return found


def _halves(seen: Activations, n: int) -> tuple[Activations, Activations]:
    """Return the activations of the first n rows of each run, and of the others."""
    pairs = [x.split((n, x.shape[1] - n), 1) for x in (seen.features, seen.logits, *seen.layers)]
    (f_s, z_s, *source), (f_t, z_t, *target) = zip(*pairs, strict=True)
    return Activations(f_s, z_s, tuple(source)), Activations(f_t, z_t, tuple(target))


def _momentum(trainer: Trainer, parameter: Tensor) -> Tensor:
    """Return a parameter's momentum, 0 before the first step: as if it had been there."""
    state = trainer.optimizer.optimizer.state[parameter]
    if state.get("momentum_buffer") is None:
        state["momentum_buffer"] = torch.zeros_like(parameter)
    return state["momentum_buffer"]
