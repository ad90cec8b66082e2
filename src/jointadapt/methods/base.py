"""What every method is, and what several of them share."""

from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from jointadapt.networks.network import Activations
from jointadapt.runtime.options import Count

DiscriminatorWidth = Annotated[Count, "Width of the discriminator's two hidden layers."]
SecondClassifierWidth = Annotated[Count, "Width of the second classifier's hidden layer."]


@dataclass(frozen=True)
class Needs:
    """What a method needs; a sum of methods needs what any of its parts does.

    Args:
        source: else the source is None, its risk 0, and the network starts as the source-only model.
        target: else the target is None: no target row passes the network.
        reversed_logits: both activations come with `reversed_logits`.
        teacher: the target's activations come with `teacher`.

    >>> Needs(source=False) | Needs(teacher=True)
    Needs(source=True, target=True, reversed_logits=False, teacher=True)
    """

    source: bool = True
    target: bool = True
    reversed_logits: bool = False
    teacher: bool = False

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(*(a or b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Method(nn.Module):
    """Source and target activations of a batch → the transfer term of Eq. (9), one scalar to be minimised.

    A method is built with the widths of the layers it will see. Its options are keyword-only parameters of its
    constructor, `Annotated[type, "help"]`; flags, checks and listings are made from them. Parameters of its own are
    trained with the network's; those that are to maximise stand behind `reverse`. `needs` says what it is handed, and
    `trade_off` is the λ of a run that names none. `class_shares` (classes,) are the target's where they were estimated;
    None where nothing is known of them.

    Runs are trained as one where `forward` takes activations with a leading axis of runs, and returns a value for each.
    A class of which that is so says it by `stacks_by`: the names of the attributes in which two runs must agree to pass
    together. It is not inherited, and a method with parameters of its own is trained alone.
    """

    trade_off = 0.5
    needs = Needs()
    stacks_by: tuple[str, ...] | None = None
    class_shares: Tensor | None

    def __init__(self, widths: Sequence[int] = ()) -> None:  # noqa: ARG002
        super().__init__()
        self.register_buffer("class_shares", None, persistent=False)

    def source_logits(self, source: Activations) -> Tensor:
        """Return the logits that the risk is taken of."""
        return source.logits

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the transfer term."""
        raise NotImplementedError

    def weighted_parts(self) -> "list[tuple[float, Method]]":
        """Return the methods that this one is the weighted sum of, and their weights: itself, unless it is a sum."""
        return [(1.0, self)]

    def stacking_key(self) -> Hashable | None:
        """Return what is equal of methods that take a leading axis of runs together; None of one that takes none."""
        names = vars(type(self)).get("stacks_by")
        if names is None or any(True for _ in self.parameters()):
            return None
        return type(self), *(getattr(self, name) for name in names)


def weighted_mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return Σ w_i v_i / Σ w_i over the first dimension, the mean where there are no weights.

    >>> import torch
    >>> weighted_mean(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    tensor(1.7500)
    """
    if weights is None:
        return values.mean(0)
    w = weights.detach().to(values.dtype)
    return w @ values / w.sum().clamp_min(torch.finfo(w.dtype).tiny)


def imbalance(mean: Tensor, shares: Tensor | None = None) -> Tensor:
    """Return −H(mean), the lower the more balanced mean predictions (…, classes) are, from −log C to 0.

    With the class shares q of the target: Σ_c mean_c log(mean_c / (C q_c)), lowest where the mean is q.

    >>> imbalance(torch.tensor([0.5, 0.5])), imbalance(torch.tensor([0.9, 0.1]), torch.tensor([0.9, 0.1]))
    (tensor(-0.6931), tensor(-0.6931))
    """
    negative = -torch.special.entr(mean.clamp_min(torch.finfo(mean.dtype).tiny)).sum(-1)
    return negative if shares is None else negative - (mean * (shares * len(shares)).to(mean).log()).sum(-1)


def entropies(logits: Tensor) -> Tensor:
    """Return H(p_i) of each row's probabilities; from logits, so that a probability of 0 has a finite gradient."""
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def perceptron(inputs: int, width: int) -> nn.Sequential:
    """Return a discriminator: two hidden layers, one score."""
    widths = ((inputs, width), (width, width))
    return nn.Sequential(*(part for a, b in widths for part in (nn.Linear(a, b), nn.ReLU())), nn.Linear(width, 1))


def second_classifier(widths: Sequence[int], width: int) -> nn.Sequential:
    """Return a classifier of the features beside the network's own, with one hidden layer."""
    return nn.Sequential(nn.Linear(widths[-2], width), nn.ReLU(), nn.Linear(width, widths[-1]))
