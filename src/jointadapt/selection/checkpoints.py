"""The checkpoints of one training → their scores by the criteria, and the weights of the selected one."""

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from jointadapt.data import Domain
from jointadapt.evaluation.predict import network_outputs
from jointadapt.networks.network import Network
from jointadapt.selection.criteria import ValidatorInputs, choose, hold_out
from jointadapt.selection.guard import eligible
from jointadapt.selection.registry import LAST, holds_out, scores
from jointadapt.training.distributed import ALONE, Ranks

MOST_ROWS_UNASKED = 20_000


@dataclass(frozen=True, eq=False)
class Candidate:
    """A checkpoint that may be reported: the guard's answer, scores, and predicted class of each target example.

    The accuracy of these predictions is unknown here; the evaluation computes it after the selection.
    """

    step: int
    eligible: bool
    scores: dict[str, float]
    predicted: Tensor


@dataclass
class CheckpointSelection:
    """The candidates of a run, in the order of their steps; a criterion selects among them, without target labels.

    Args:
        rule: the name of the criterion, or "last".
        source, target: the domains as the network gets them, aligned.
        reference: the class proportions that the guard expects.
        fold: which source examples are held out, for a criterion that needs some.
        ranks: each computes the scores; those of rank 0 hold for all, so that rounding cannot make them disagree.
    """

    rule: str
    source: Domain
    target: Domain
    reference: Tensor
    fold: int = 0
    ranks: Ranks = ALONE
    candidates: list[Candidate] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.criteria = () if self.rule == LAST else (self.rule,)
        self.held_out = hold_out(self.source.labels, self.fold, self.source.groups) if holds_out(self.rule) else None

    def anew(self) -> "CheckpointSelection":
        """Return a selection without candidates, of the same examples, for another training on them."""
        shared = self.training_source  # which is found once for all of them
        other = copy.copy(self)
        other.training_source = shared
        other.candidates, other.weights = [], {}
        return other

    @cached_property
    def training_source(self) -> Domain:
        """The source examples to train on: all but the held-out ones."""
        return self.source if self.held_out is None else self.source.select((~self.held_out).nonzero()[:, 0].tolist())

    @property
    def watched(self) -> bool:
        """Whether checkpoints are scored: if the criterion needs it, or if it costs little."""
        cheap = not self.target.holds_images and len(self.target) <= MOST_ROWS_UNASKED
        return self.rule != LAST or cheap

    def add(self, step: int, network: Network) -> None:
        """Score the network as it is now: a copy of it in float32 and evaluation mode."""
        candidate = self.ranks.first(self._judge(step, network))
        if candidate is None:
            return
        self.candidates.append(candidate)
        if self.rule != LAST and self.chosen_by(self.rule) is candidate:
            self.weights = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}

    def _judge(self, step: int, network: Network) -> Candidate | None:
        """Return the candidate that a network is; None for one about to diverge."""
        seen = copy.deepcopy(network).float().eval()
        inputs = ValidatorInputs(*network_outputs(seen, self.target))
        if not (inputs.target_features.isfinite().all() and inputs.target_probabilities.isfinite().all()):
            return None
        if self.held_out is not None:
            sources = network_outputs(seen, self.source)
            inputs = replace(
                inputs,
                source_features=sources.features,
                source_probabilities=sources.probabilities,
                source_labels=self.source.labels,
                held_out=self.held_out,
            )
        small = torch.int16 if len(self.reference) < 2**15 else torch.int32  # every later checkpoint keeps them
        allowed = eligible(inputs.predicted, self.reference)
        return Candidate(step, allowed, scores(inputs, *self.criteria), inputs.predicted.to(small))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep, so that a resumed run selects as an uninterrupted one does."""
        return {"candidates": [vars(candidate) for candidate in self.candidates], "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        self.candidates = [Candidate(**candidate) for candidate in state["candidates"]]
        self.weights = state["weights"]

    def settle(self, network: Network) -> None:
        """Give the network the weights of the chosen candidate; it has those of the last."""
        if self.weights:
            network.load_state_dict(self.weights)

    @property
    def rules(self) -> tuple[str, ...]:
        """ "last", and every criterion that the candidates have scores of."""
        return (LAST, *self.candidates[-1].scores) if self.candidates else (LAST,)

    def chosen_by(self, rule: str) -> Candidate:
        """Return the candidate that a criterion selects; the last where none is eligible."""
        if rule == LAST:
            return self.candidates[-1]
        allowed = [candidate.eligible for candidate in self.candidates]
        best = choose([candidate.scores[rule] for candidate in self.candidates], allowed)
        return self.candidates[-1 if best is None else best]
