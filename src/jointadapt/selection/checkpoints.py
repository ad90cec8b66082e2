"""The checkpoints of one training → what the criteria say of each, and the weights of the one that is chosen."""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from jointadapt.data import Domain
from jointadapt.evaluation.metrics import Evaluation, evaluate, oracle
from jointadapt.evaluation.predict import network_outputs
from jointadapt.networks.network import Network
from jointadapt.selection.criteria import CRITERIA, Evidence, choose, hold_out, scores
from jointadapt.selection.guard import eligible
from jointadapt.training.distributed import ALONE, Ranks

LAST = "last"
MOST_ROWS_UNASKED = 20_000


@dataclass
class Candidates:
    """The candidates of a run, in the order of their steps; `rule` chooses among them.

    Args:
        rule: "last", or the name of a criterion.
        source, target: the domains as the network gets them, aligned. Target labels only serve `evaluate`.
        reference: the share of each class that the guard expects.
        fold: of the source rows that a rule may hold out.
        ranks: each judges; what the first finds holds for all, so that rounding cannot make them choose apart.
    """

    rule: str
    source: Domain
    target: Domain
    reference: Tensor
    fold: int = 0
    ranks: Ranks = ALONE
    entries: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        holds_out = self.rule != LAST and CRITERIA[self.rule].holds_out
        self.held_out = hold_out(self.source.labels, self.fold) if holds_out else None

    @property
    def training_source(self) -> Domain:
        """The source rows to train on: all, but for those that the rule holds out."""
        return self.source if self.held_out is None else self.source.select((~self.held_out).nonzero()[:, 0].tolist())

    @property
    def watched(self) -> bool:
        """Whether checkpoints are looked at: if the rule needs it, or if it costs little."""
        cheap = not self.target.holds_images and len(self.target) <= MOST_ROWS_UNASKED
        return self.rule != LAST or cheap

    def add(self, step: int, network: Network) -> None:
        """Look at the network as it is now. It is left alone: a copy in float32 and evaluation mode is looked at."""
        entry = self.ranks.first(self._judge(step, network))
        if entry is None:
            return
        self.entries.append(entry)
        if self.rule != LAST and self._chosen(self.rule) == entry:
            self.weights = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}

    def _judge(self, step: int, network: Network) -> dict[str, Any] | None:
        """Return what the criteria say of a network; None of one about to diverge, which is no candidate."""
        seen = copy.deepcopy(network).float().eval()
        evidence = Evidence(*network_outputs(seen, self.target))
        if not (evidence.target_features.isfinite().all() and evidence.target_probabilities.isfinite().all()):
            return None
        if self.held_out is not None:
            sources = network_outputs(seen, self.source)
            evidence = replace(
                evidence,
                source_features=sources.features,
                source_probabilities=sources.probabilities,
                source_labels=self.source.labels,
                held_out=self.held_out,
            )
        return {
            "step": step,
            "eligible": eligible(evidence.predicted, self.reference),
            "scores": scores(evidence),
            **_accuracies(evaluate(evidence.predicted, self.target.labels, len(self.reference))),
        }

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep, so that a resumed run chooses as an uninterrupted one."""
        return {"entries": self.entries, "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        self.entries, self.weights = state["entries"], state["weights"]

    def settle(self, network: Network) -> None:
        """Give the network the weights of the chosen candidate; it has those of the last."""
        if self.weights:
            network.load_state_dict(self.weights)

    def judged(self, last: bool) -> dict[str, Any]:
        """Return the rule's score of the last candidate, or of the one it chooses, and whether that is eligible."""
        entry = self._chosen(LAST if last else self.rule)
        return {"score": entry["scores"][self.rule], "eligible": entry["eligible"]}

    def summary(self, steps: int, evaluation: Evaluation | None) -> dict[str, Any]:
        """Return for the summary what was chosen and what every other rule, and the oracle, would have given.

        Args:
            steps: the length of the run.
            evaluation: of the model that is reported; all there is to say where no candidate was looked at.
        """
        if not self.entries:
            only = {"step": steps, **_accuracies(evaluation)}
            return {"rule": self.rule, "step": steps, "candidates": [], "choices": {LAST: only}}
        choices = {rule: self._chosen(rule) for rule in (LAST, *self.entries[-1]["scores"])}
        best = oracle([entry["accuracy"] for entry in self.entries])
        if best is not None:
            choices["oracle"] = self.entries[best]
        kept = ("step", "accuracy", "mean_per_class_accuracy")
        return {
            "rule": self.rule,
            "step": self._chosen(self.rule)["step"],
            "candidates": self.entries,
            "choices": {rule: {key: entry[key] for key in kept} for rule, entry in choices.items()},
        }

    def _chosen(self, rule: str) -> dict[str, Any]:
        """Return the candidate of a rule; the last where none is eligible."""
        if rule == LAST:
            return self.entries[-1]
        best = choose([e["scores"][rule] for e in self.entries], [e["eligible"] for e in self.entries])
        return self.entries[-1 if best is None else best]


def _accuracies(evaluation: Evaluation | None) -> dict[str, float | None]:
    names = ("accuracy", "mean_per_class_accuracy")
    return {name: getattr(evaluation, name) if evaluation else None for name in names}
