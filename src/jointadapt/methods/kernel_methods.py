"""What the methods of MMD² and JMMD² share: their estimator, their kernels, weights of examples."""

from collections.abc import Hashable, Sequence
from typing import Annotated, Literal, cast

from torch import Tensor

from jointadapt.discrepancy import jmmd_biased, jmmd_fourier, jmmd_linear, jmmd_unbiased
from jointadapt.discrepancy.constants import FIVE_SCALES
from jointadapt.discrepancy.each import BATCHED, can_be_batched
from jointadapt.discrepancy.example_weights import Weights
from jointadapt.discrepancy.kernels import GaussianKernel, Kernel
from jointadapt.methods.base import Method
from jointadapt.methods.kernels import Bandwidth, Kernels, Layers, OwnKernels, Scales, choose_kernels
from jointadapt.methods.parts import certainty
from jointadapt.networks.network import Activations

Estimator = Annotated[
    Literal["unbiased", "biased", "linear", "fourier"], "Estimator of (J)MMD²; linear and fourier take linear time."
]
TargetWeights = Annotated[
    Literal["equal", "certainty"], "Weights of target examples in (J)MMD²; certainty: 1 − H(p)/log C, held."
]

ESTIMATORS = {"unbiased": jmmd_unbiased, "biased": jmmd_biased, "linear": jmmd_linear, "fourier": jmmd_fourier}


class KernelMethod(Method):
    """An estimator of MMD² or JMMD², and a kernel a layer: a sum of Gaussians.

    Args:
        widths: of the hidden layers that are matched.
        output: the kernel of the layer behind them, if that is matched, too.
        kernels: one a layer; one alone is for all hidden layers.
    """

    def __init__(
        self,
        widths: Sequence[int],
        output: Kernel | None = None,
        *,
        estimator: Estimator = "unbiased",
        bandwidth: Bandwidth = "mean",
        scales: Scales = FIVE_SCALES,
        kernels: OwnKernels = None,
        target_weights: TargetWeights = "equal",
    ) -> None:
        super().__init__(widths)
        self.estimator = ESTIMATORS[estimator]
        self.kernels = choose_kernels(kernels, GaussianKernel(bandwidth, tuple(scales)), len(widths), output)
        self.certain = target_weights == "certainty"

    def discrepancy(self, source: Layers, target: Layers, kernels: Kernels, weights: Weights | None = None) -> Tensor:
        """Return the estimate; of layers with a leading axis of runs, that of each."""
        if source[0].ndim == 2:
            return self.estimator(source, target, kernels, weights=weights)
        return BATCHED[self.estimator](source, target, cast("Sequence[GaussianKernel]", kernels))

    def stacking_key(self) -> Hashable | None:
        """Return that of the base; None where the estimator has no form for several runs, or examples are weighed."""
        plain = not self.certain and can_be_batched(self.estimator, self.kernels)
        return super().stacking_key() if plain else None

    def weights(self, source: Activations, target: Activations) -> Weights | None:
        """Return the weights of both samples' examples, None where all are equal; the source's are its own."""
        if source.weights is None and not self.certain:
            return None
        return source.weights, certainty(target.logits) if self.certain else None
