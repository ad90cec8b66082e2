"""DAN: deep adaptation network."""

from torch import Tensor

from jointadapt.methods.weighed_kernels import WeighedKernelMethod
from jointadapt.networks.network import Activations


class DAN(WeighedKernelMethod):
    """Multi-kernel MMD² of each layer, summed over the layers: Σ_ℓ MMD²(X_s^ℓ, X_t^ℓ).

    The paper's estimator is "linear", its kernel weights "optimal": on every layer, of highest power in this batch.

    Source: Long et al., ICML 2015, Eq. (4); its weights: Eq. (8).
    """

    stacks_by = ("estimator", "kernels")

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the sum over layers; MMD is JMMD of one layer."""
        kernels = self.weigh(self.kernels, source.layers, target.layers)
        layers, weights = zip(source.layers, target.layers, kernels, strict=True), self.weights(source, target)
        terms = (self.discrepancy([s], [t], [kernel], weights=weights) for s, t, kernel in layers)
        return sum(terms, source.logits.new_zeros(source.logits.shape[:-2]))
