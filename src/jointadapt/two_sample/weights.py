"""The weights of a multi-kernel that give a test its highest power (MK-MMD).

The power of the linear-time test grows, to first order, with η_β / σ_β: the mean of its terms over their deviation.
Both are known functions of the weights β, so the best β is a small quadratic program.
"""

import numpy as np
import torch
from scipy.optimize import nnls

from jointadapt.discrepancy.kernels import GaussianKernel, gaussian
from jointadapt.two_sample.samples import Array, pair_distances, pool, quadruple

DEFAULT_KERNEL = GaussianKernel()
PAIRS_AT_A_TIME = 512


def optimal_weights(
    source: Array,
    target: Array,
    kernel: GaussianKernel = DEFAULT_KERNEL,
    *,
    ridge: float = 1e-4,
    generator: torch.Generator | None = None,
) -> tuple[float, ...]:
    """Return non-negative weights of the kernel's scales that maximise the power of its test; they sum to their number.

        max_{β ≥ 0}  ηᵀβ / √(βᵀ (Q + εI) β)

    η and Q are the mean and covariance, over disjoint random quadruples of rows, of the linear-time MMD terms of the
    single Gaussians; no gradient flows. Equal weights are (1, …, 1), so k(0) and a trade-off λ keep their meaning. If
    no η is positive, all weight goes to the scale of the largest η_u/√(Q_uu + ε): the ratio is then best at a corner.

    Args:
        source, target: matrices with one row an example, 4 or more. For a valid test, examples that it will not see.
        kernel: its bandwidth and scales; its own weights are not used.
        ridge: ε.
        generator: pairs the rows; None pairs them in the same random way at every call.

    Source: Gretton et al., NIPS 2012 ("Optimal kernel choice for large-scale two-sample tests"); used by DAN (Long et
    al., ICML 2015). Complexity: O(N d), and a problem as small as the number of scales. Raises a TypeError for a kernel
    without scales, a ValueError for fewer than 4 rows.

    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(400, 1, generator=generator)
    >>> optimal_weights(x[:200], x[200:] + 1, GaussianKernel(2.0, scales=(0.01, 1.0)))
    (0.0, 2.0)
    """
    if not isinstance(kernel, GaussianKernel):
        raise TypeError(f"optimal_weights weighs the scales of a GaussianKernel; got {kernel!r}.")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    rows = pool(source, target, kernel, generator, least=4)
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        _, _, (distances,) = pair_distances(rows, PAIRS_AT_A_TIME, generator)
        terms = [quadruple(gaussian(distances, rows.bandwidths[0], (scale,))) for scale in kernel.scales]
    h = torch.stack(terms).double().cpu().numpy()
    return maximise_ratio(h.mean(1), np.atleast_2d(np.cov(h)), ridge)


def maximise_ratio(eta: np.ndarray, covariance: np.ndarray, ridge: float = 0.0) -> tuple[float, ...]:
    """Return β ≥ 0, summing to its length, that maximises ηᵀβ / √(βᵀ (Q + εI) β).

    With Q + εI = L Lᵀ, the least squares problem min_{β ≥ 0} ‖Lᵀβ − L⁻¹η‖² = βᵀ(Q + εI)β − 2ηᵀβ + const has its
    solution on the ray of the best ratio: minimise over the length of β first, and −(ηᵀβ)²/βᵀ(Q + εI)β is left. So the
    QP min βᵀ(Q + εI)β, ηᵀβ = 1, β ≥ 0 loses its equality, and SciPy's active-set `nnls` solves it exactly, with neither
    a start nor a tolerance to choose. If no η is positive, βᵀ(Q + εI)β is to be made large on the simplex −ηᵀβ = 1; it
    is convex, so a corner is best. The ratio does not depend on the length of β, so it is scaled to sum to its length.

    Args:
        eta: η (u,), the means.
        covariance: Q (u, u), positive semi-definite; Q + εI must be definite, else NumPy's LinAlgError.
        ridge: ε ≥ 0.

    >>> maximise_ratio(np.array([2.0, 1.0, -1.0]), np.eye(3))
    (2.0, 1.0, 0.0)
    """
    covariance = covariance + ridge * np.eye(len(eta))
    if eta.max() > 0:
        L = np.linalg.cholesky(covariance)
        beta, _ = nnls(L.T, np.linalg.solve(L, eta))
    else:
        beta = np.eye(len(eta))[np.argmax(eta / np.sqrt(np.diag(covariance)))]
    return tuple((len(eta) * beta / beta.sum()).tolist())
