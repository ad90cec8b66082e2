"""What every method is, and what several of them share."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from jointadapt.discrepancy import jmmd_biased, jmmd_fourier, jmmd_linear, jmmd_unbiased
from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.networks.network import Activations
from jointadapt.two_sample import optimal_weights

ESTIMATORS = {"unbiased": jmmd_unbiased, "biased": jmmd_biased, "linear": jmmd_linear, "fourier": jmmd_fourier}
FEWEST_WEIGHED = 4

Kernels = Sequence[GaussianKernel]
Layers = Sequence[Tensor]


def equal_kernels(kernels: Kernels, source: Layers, target: Layers) -> Kernels:  # noqa: ARG001
    """Return the kernels as they are."""
    return kernels


def optimal_kernels(kernels: Kernels, source: Layers, target: Layers) -> Kernels:
    """Return the kernels with the non-negative weights β ≥ 0 of highest test power on these layers, without gradient.

    A kernel of one scale stays as it is, and so do all of them for fewer than 4 rows or rows that are not finite.
    Source: Gretton et al., NIPS 2012; DAN's multi-kernel (Long et al., ICML 2015, Sec. 3.2).
    """
    return tuple(_weighed(k, s.detach(), t.detach()) for k, s, t in zip(kernels, source, target, strict=True))


def _weighed(kernel: GaussianKernel, source: Tensor, target: Tensor) -> GaussianKernel:
    finite = bool(source.isfinite().all() & target.isfinite().all())
    if len(kernel.scales) == 1 or min(len(source), len(target)) < FEWEST_WEIGHED or not finite:
        return kernel
    return replace(kernel, weights=optimal_weights(source, target, kernel))


KERNEL_WEIGHTS: dict[str, Callable[[Kernels, Layers, Layers], Kernels]] = {
    "equal": equal_kernels,
    "optimal": optimal_kernels,
}


def entropy(logits: Tensor) -> Tensor:
    """Return H(p_i) of each row's probabilities; from logits, so that a probability of 0 has a finite gradient."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def perceptron(inputs: int, hidden: int) -> nn.Sequential:
    """Return a discriminator: two hidden layers, one score."""
    widths = ((inputs, hidden), (hidden, hidden))
    return nn.Sequential(*(part for a, b in widths for part in (nn.Linear(a, b), nn.ReLU())), nn.Linear(hidden, 1))


class Method(nn.Module):
    """Source and target activations of a batch → the transfer term of Eq. (9), one scalar to be minimised.

    A method is built with the widths of the layers it will see, and with its options as keyword arguments. Parameters
    of its own are trained with the network's; those that are to maximise stand behind `reverse`. It says what it needs:
    """

    trade_off = 0.5  # the λ of a run that names none
    uses_source = True  # else the source is None, its risk 0, and the network starts as the source-only model
    uses_target = True  # else the target is None: no target row passes the network
    opposes_classifier = False  # both activations come with `opposed`
    wants_teacher = False  # the target's activations come with `teacher`

    def source_logits(self, source: Activations) -> Tensor:
        """Return the logits that the risk is taken of."""
        return source.logits

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the transfer term."""
        raise NotImplementedError
