"""The guard against collapsed models, applied before every criterion."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.special import entr

FEWEST_EXPECTED = 5
LEAST_SHARE = 0.1
LEAST_BALANCE = 0.75


def class_proportions(predicted: Int[Tensor, " m"], classes: int) -> Float[Tensor, " c"]:
    """Return the proportion of each class."""
    return torch.bincount(predicted, minlength=classes).double() / max(len(predicted), 1)


def eligible(predicted: Int[Tensor, " m"], reference: Float[Tensor, " c"]) -> bool:
    """Return whether target predictions keep the classes and the balance of a reference, as a collapsed model's do not.

    Not eligible: a class of which five or more examples are expected gets fewer than a tenth of them; or the effective
    number of classes, exp H(proportions), is below three quarters of the reference's.

    Args:
        predicted: the class of each target example.
        reference: the expected proportion of each class: source-only's on the same examples, else the source's.

    >>> even = torch.ones(2) / 2
    >>> eligible(torch.tensor([0, 1] * 10), even), eligible(torch.zeros(20, dtype=torch.long), even)
    (True, False)
    """
    own, wanted = class_proportions(predicted, len(reference)), reference.double()
    lost = (wanted * len(predicted) >= FEWEST_EXPECTED) & (own < LEAST_SHARE * wanted)
    balance = entr(own).sum().exp() / entr(wanted).sum().exp()
    return not bool(lost.any()) and balance.item() >= LEAST_BALANCE
