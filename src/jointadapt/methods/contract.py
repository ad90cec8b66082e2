"""What every method is, and what several of them share."""

from torch import Tensor, nn

from jointadapt.discrepancy import jmmd_biased, jmmd_linear, jmmd_unbiased
from jointadapt.networks import Activations

ESTIMATORS = {"unbiased": jmmd_unbiased, "biased": jmmd_biased, "linear": jmmd_linear}


class Method(nn.Module):
    """Source and target activations of a batch → the transfer term of Eq. (9), one scalar to be minimised.

    A method is built with the widths of the layers it will see, and with its options as keyword arguments. Parameters
    of its own are trained with the network's; those that are to maximise stand behind `reverse`. A method whose
    `uses_target` is false gets None for the target, and no target row passes the network.
    """

    uses_target = True

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the transfer term."""
        raise NotImplementedError
