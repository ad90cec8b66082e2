"""What can go wrong numerically during training: divergence, which ends it, and collapse, which a warning reports."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jointadapt.data import Batches
from jointadapt.errors import UserError
from jointadapt.training.trainer import Condition, NonFiniteStep

CHECKUPS = 20  # a run
PATIENCE = 2  # of them in a row
FIRST_STEP = 100  # before it, a network may well give all rows one class
LEAST_SPREAD = 1e-3
MOST_NAMED = 3


def divergence(fault: NonFiniteStep, batches: Batches, kept: str) -> UserError:
    """Return the error for a loss or gradient that is not finite: the step, its examples, what is kept, what to try."""
    source, target = batches.items(fault.step - 1)
    return UserError(
        f"training diverged at step {fault.step} (risk {fault.risk:.3g}, transfer {fault.transfer:.3g}, norm of "
        f"the weights after it {fault.norm:.3g}); {kept}. Try a smaller --learning-rate or --trade-off, and look at "
        f"its examples: source {_some(source)}; target {_some(target)}."
    )


@dataclass
class CollapseMonitor:
    """Reports, once each, that predictions or features have collapsed: at `PATIENCE` checks in a row, of 20 a run.

    Predictions have collapsed when all examples of a domain in the batch get one class, features when the examples of a
    domain differ from their mean by less than `LEAST_SPREAD` of their mean square.
    """

    steps: int
    since: dict[str, list[int]] = field(default_factory=lambda: {"predictions": [], "features": []})

    def due(self, step: int) -> bool:
        """Return whether it is time for a check."""
        return step >= FIRST_STEP and step % max(1, self.steps // CHECKUPS) == 0

    def look(self, step: int, condition: Condition) -> list[str]:
        """Return the warnings about the condition of the network at this step."""
        collapsed = {"predictions": condition.classes == 1, "features": condition.spread < LEAST_SPREAD}
        told = []
        for part, now in collapsed.items():
            self.since[part] = [*self.since[part], step] if now else []
            if len(self.since[part]) == PATIENCE:
                told.append(
                    f"step {step}: the {part} have collapsed: since step {self.since[part][0]} {COLLAPSED[part]}."
                )
        return told


COLLAPSED = {
    "predictions": (
        "all examples of a domain get one class. Try a smaller --trade-off or --learning-rate; if that domain truly is "
        "of one class, nothing is wrong"
    ),
    "features": (
        "all examples of a domain have nearly the same features. Try a smaller --trade-off, --learning-rate or "
        "--weight-decay, or a --bottleneck, which normalises them"
    ),
}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f", … ({len(names)} in all)" if len(names) > MOST_NAMED else "")
