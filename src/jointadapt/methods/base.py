"""What every method is."""

from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass

from torch import Tensor, nn

from jointadapt.networks.network import Activations


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
