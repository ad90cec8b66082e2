"""No adaptation: the baseline that says whether adapting was worth it."""

from torch import Tensor

from jointadapt.methods.base import Method, Needs
from jointadapt.networks.network import Activations


class SourceOnly(Method):
    """No adaptation: the risk on the source alone; no target example is used."""

    needs = Needs(target=False)
    stacks_by = ()

    def forward(self, source: Activations, target: Activations | None) -> Tensor:  # noqa: ARG002
        """Return 0."""
        return source.logits.new_zeros(source.logits.shape[:-2])
