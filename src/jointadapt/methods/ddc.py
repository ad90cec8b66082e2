"""DDC: deep domain confusion."""

from collections.abc import Sequence

from torch import Tensor

from jointadapt.methods.kernel_methods import Estimator, KernelMethod, TargetWeights
from jointadapt.methods.kernels import Bandwidth, OwnKernels
from jointadapt.networks.network import Activations


class DDC(KernelMethod):
    """MMD² with one kernel on one layer, the features: MMD²(f_s, f_t).

    The original has a linear kernel, ‖mean f_s − mean f_t‖², whose size follows the number and size of the features, so
    that no one λ serves; a Gaussian at the mean distance has no scale of its own.

    Source: Tzeng et al., arXiv 1412.3474, Eq. (1).
    """

    stacks_by = ("estimator", "kernels")

    def __init__(
        self,
        widths: Sequence[int],
        *,
        estimator: Estimator = "unbiased",
        bandwidth: Bandwidth = "mean",
        kernels: OwnKernels = None,
        target_weights: TargetWeights = "equal",
    ) -> None:
        options = {"estimator": estimator, "bandwidth": bandwidth, "kernels": kernels, "target_weights": target_weights}
        super().__init__(widths[-2:-1], scales=(1.0,), **options)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return MMD² of the features."""
        weights = self.weights(source, target)
        return self.discrepancy([source.features], [target.features], self.kernels, weights=weights)
