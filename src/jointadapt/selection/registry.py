"""A name → the criterion that needs no target label. It loads no torch.

A criterion is any function of `ValidatorInputs` that returns a number, higher for the better model. One that needs
held-out source examples says so by an attribute: `holds_out = True`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jointadapt.errors import UserError, reason, unknown_name
from jointadapt.runtime.registry import Registry
from jointadapt.runtime.threads import one_thread

if TYPE_CHECKING:
    from jointadapt.selection.criteria import ValidatorInputs

    Criterion = Callable[[ValidatorInputs], float]

CRITERIA: "Registry[Criterion]" = Registry(
    "criterion",
    {
        "entropy": "jointadapt.selection.criteria:score_by_entropy",
        "information": "jointadapt.selection.criteria:score_by_information",
        "snd": "jointadapt.selection.criteria:score_by_neighbourhood_density",
        "clustering": "jointadapt.selection.criteria:score_by_clustering",
        "dev": "jointadapt.selection.criteria:score_by_deep_embedded_validation",
        "transfer-cv": "jointadapt.selection.criteria:score_by_transfer_cross_validation",
    },
    group="jointadapt.criteria",
    fits=callable,
    expected="a function of ValidatorInputs",
)
LAST = "last"  # no criterion: the last checkpoint is reported
DEFAULT = "clustering"


def rule_of(select: "str | Criterion") -> str:
    """Return the name of what selects a checkpoint: "last", or a criterion; a custom function has its import path."""
    name = CRITERIA.name_of(select) if callable(select) else str(select)
    if name == LAST:
        return name
    if name not in CRITERIA and ":" not in name:
        raise unknown_name(CRITERIA.kind, name, (LAST, *CRITERIA))
    CRITERIA.check(name)
    return name


def is_judged_unasked(name: str) -> bool:
    """Return whether every run computes a criterion for its candidates, whichever it selects by."""
    return name in CRITERIA.rows and not holds_out(name)


def holds_out(name: str) -> bool:
    """Return whether a criterion needs source examples held out of training.

    >>> holds_out("dev"), holds_out("entropy")
    (True, False)
    """
    return name != LAST and getattr(CRITERIA[name], "holds_out", False)


def scores(inputs: "ValidatorInputs", *names: str) -> dict[str, float]:
    """Return the scores by name, of our criteria and those named; held-out examples are used where there are some."""
    every = dict.fromkeys((*CRITERIA.rows, *names))
    criteria = {name: CRITERIA[name] for name in every if inputs.held_out is not None or not holds_out(name)}
    with one_thread():  # sums in one order: the same choice on every call
        return {name: _score(name, criterion, inputs) for name, criterion in criteria.items()}


def _score(name: str, criterion: "Criterion", inputs: "ValidatorInputs") -> float:
    worth = criterion(inputs)
    try:
        return float(worth)
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"{type(worth).__name__} ({reason(error)})"
        raise UserError(f"the criterion {name} has to return one number; it returned {got}.") from error
