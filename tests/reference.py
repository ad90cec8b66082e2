"""The equations as plain float64 sums, importing nothing of ours: slow, memory-hungry, and what the tests believe.

A kernel is a triple (bandwidth: number, "mean" or "median"; scales; weights). Gradients come from autograd.
"""

import math

import torch
from torch import Tensor

Kernel = tuple[float | str, tuple[float, ...], tuple[float, ...]]

JAN_FEATURES: Kernel = ("mean", (0.25, 0.5, 1.0, 2.0, 4.0), (1.0,) * 5)
JAN_SOFTMAX: Kernel = (1.68, (1.0,), (1.0,))


def differences(x: Tensor) -> Tensor:
    """‖x_i − x_j‖² from the differences themselves."""
    return (x[:, None, :] - x[None, :, :]).square().sum(-1)


def bandwidth(rule: float | str, rows: Tensor) -> float:
    if not isinstance(rule, str):
        return rule
    distances = differences(rows.detach().double())
    pairs = [distances[i, i + 1 :] for i in range(len(rows))]
    pairs = torch.cat(pairs).sort().values
    return float(pairs.mean() if rule == "mean" else pairs[(len(pairs) - 1) // 2])


def kernel_values(distances: Tensor, gamma: float, kernel: Kernel) -> Tensor:
    total = torch.zeros_like(distances)
    for scale, weight in zip(kernel[1], kernel[2], strict=True):
        total = total + weight * torch.exp(-distances / (scale * gamma))
    return total


def joint_gram(source: list[Tensor], target: list[Tensor], kernels: list[Kernel]) -> Tensor:
    K = torch.ones((), dtype=torch.float64)
    for s, t, kernel in zip(source, target, kernels, strict=True):
        rows = torch.cat([s, t]).double()
        K = K * kernel_values(differences(rows), bandwidth(kernel[0], rows), kernel)
    return K


def mmd_biased(K: Tensor, n: int) -> Tensor:
    """Gretton et al. 2012, Eq. (5): 1/n² Σ_ij k(s_i, s_j) + 1/m² Σ_ij k(t_i, t_j) − 2/(nm) Σ_ij k(s_i, t_j)."""
    m = len(K) - n
    return K[:n, :n].sum() / n**2 + K[n:, n:].sum() / m**2 - 2 * K[:n, n:].sum() / (n * m)


def mmd_unbiased(K: Tensor, n: int) -> Tensor:
    """Gretton et al. 2012, Eq. (3): the sums within a sample run over i ≠ j."""
    m = len(K) - n
    off = 1 - torch.eye(len(K), dtype=K.dtype)
    K = K * off
    return K[:n, :n].sum() / (n * (n - 1)) + K[n:, n:].sum() / (m * (m - 1)) - 2 * K[:n, n:].sum() / (n * m)


def jmmd_biased(source: list[Tensor], target: list[Tensor], kernels: list[Kernel]) -> Tensor:
    return mmd_biased(joint_gram(source, target, kernels), len(source[0]))


def jmmd_unbiased(source: list[Tensor], target: list[Tensor], kernels: list[Kernel]) -> Tensor:
    return mmd_unbiased(joint_gram(source, target, kernels), len(source[0]))


def jmmd_linear(source: list[Tensor], target: list[Tensor], kernels: list[Kernel]) -> Tensor:
    """Long et al. 2017, Eq. (11), pair by pair."""
    K, n = joint_gram(source, target, kernels), len(source[0])
    total = torch.zeros((), dtype=torch.float64)
    for a in range(0, n, 2):
        b = a + 1
        total = total + K[a, b] + K[n + a, n + b] - K[a, n + b] - K[b, n + a]
    return 2 / n * total


def jmmd_block(source: list[Tensor], target: list[Tensor], kernels: list[Kernel], block: int) -> Tensor:
    """The mean of the unbiased estimate over disjoint blocks, bandwidths from the whole sample."""
    K, n = joint_gram(source, target, kernels), len(source[0])
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, n, block):
        rows = torch.cat([torch.arange(start, start + block), torch.arange(n + start, n + start + block)])
        total = total + mmd_unbiased(K[rows][:, rows], block)
    return total / (n // block)


def weighed_mmd(K: Tensor, n: int, weights: list[float], unbiased: bool) -> Tensor:
    """Each mean over pairs, of Gretton's Eq. (5) or (3), as Σ w_i w_j K_ij / Σ w_i w_j."""

    def mean(rows: range, columns: range, distinct: bool) -> Tensor:
        pairs = [(i, j) for i in rows for j in columns if not (distinct and i == j)]
        return sum(weights[i] * weights[j] * K[i, j] for i, j in pairs) / sum(weights[i] * weights[j] for i, j in pairs)

    source, target = range(n), range(n, len(K))
    within = mean(source, source, unbiased) + mean(target, target, unbiased)
    return within - 2 * mean(source, target, False)


def weighed_jmmd_linear(K: Tensor, n: int, weights: list[float]) -> Tensor:
    """Eq. (11)'s three means over disjoint pairs, each weighed by the product of its examples' weights."""

    def mean(pairs: list[tuple[int, int]]) -> Tensor:
        return sum(weights[i] * weights[j] * K[i, j] for i, j in pairs) / sum(weights[i] * weights[j] for i, j in pairs)

    first = range(0, n, 2)
    within = mean([(a, a + 1) for a in first]) + mean([(n + a, n + a + 1) for a in first])
    return within - 2 * mean([(a, n + a + 1) for a in first] + [(a + 1, n + a) for a in first])


def gaussian_mmd(distance: float, sigma: float, gamma: float, d: int) -> float:
    """MMD² of N(μ₁, σ²I) and N(μ₂, σ²I), ‖μ₁ − μ₂‖ = distance, kernel exp(−‖x − y‖²/γ).

    x − y ~ N(μ, 2σ²I), and E exp(−‖x − y‖²/γ) = (γ/(γ + 4σ²))^{d/2} exp(−‖μ‖²/(γ + 4σ²)).
    """
    c = (gamma / (gamma + 4 * sigma**2)) ** (d / 2)
    return 2 * c * (1 - math.exp(-(distance**2) / (gamma + 4 * sigma**2)))


def entropy(probabilities: Tensor) -> float:
    """H(p) = −Σ_c p_c log p_c of one row."""
    return -sum(p * math.log(p) for p in probabilities.tolist())


def nuclear_norm(matrix: Tensor) -> float:
    """The sum of the singular values: roots of the eigenvalues of AᵀA."""
    return torch.linalg.eigvalsh(matrix.double().T @ matrix.double()).clamp_min(0).sqrt().sum().item()


def mcc(logits: Tensor, temperature: float) -> float:
    """Jin et al. 2020, Eq. (2)-(7), entry by entry."""
    exponentials = torch.exp(logits.double() / temperature)
    Y = exponentials / exponentials.sum(1, keepdim=True)
    n, classes = Y.shape
    certainty = [1 + math.exp(-entropy(row)) for row in Y]
    W = [n * c / sum(certainty) for c in certainty]
    C = [
        [sum(W[i] * Y[i, j].item() * Y[i, k].item() for i in range(n)) for k in range(classes)] for j in range(classes)
    ]
    return sum(C[j][k] / sum(C[j]) for j in range(classes) for k in range(classes) if k != j) / classes


def coral(source: Tensor, target: Tensor) -> float:
    """Sun and Saenko 2016, Eq. (1)-(3): C = (DᵀD − (1ᵀD)ᵀ(1ᵀD)/n) / (n − 1)."""
    covariances = []
    for D in (source.double(), target.double()):
        sums = D.sum(0, keepdim=True)
        covariances.append((D.T @ D - sums.T @ sums / len(D)) / (len(D) - 1))
    return (covariances[0] - covariances[1]).square().sum().item() / (4 * source.shape[1] ** 2)


def target_entropy(p: Tensor) -> float:
    """−1/m Σ_i H(p_i), row by row."""
    return -sum(shannon(row.tolist()) for row in p) / len(p)


def shannon(p: list[float]) -> float:
    return -sum(q * math.log(q) for q in p if q > 0)


def information(p: Tensor) -> float:
    """Shi and Sha 2012, Eq. (2): H(mean p) − mean H(p)."""
    return shannon([sum(column.tolist()) / len(p) for column in p.T]) + target_entropy(p)


def soft_neighbourhood_density(p: Tensor, temperature: float) -> float:
    """Saito et al. 2021, Eq. (1)–(3), pair by pair."""
    rows, total = [(row / row.norm()).tolist() for row in p.double()], 0.0
    for i in range(len(rows)):
        cosines = [sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) for j in range(len(rows)) if j != i]
        powers = [math.exp(cosine / temperature) for cosine in cosines]
        total += shannon([power / sum(powers) for power in powers])
    return total / len(rows)


def dev_risk(weights: list[float], losses: list[float]) -> float:
    """You et al. 2019, Algorithm 1: mean L + η mean W − η, η = −Cov(L, W) / Var(W), L = w ℓ."""
    n = len(weights)
    L = [w * loss for w, loss in zip(weights, losses, strict=True)]
    mean_w, mean_l = sum(weights) / n, sum(L) / n
    covariance = sum((a - mean_l) * (w - mean_w) for a, w in zip(L, weights, strict=True)) / n
    variance = sum((w - mean_w) ** 2 for w in weights) / n
    eta = -covariance / variance
    return mean_l + eta * mean_w - eta


def silhouette(x: Tensor, classes: list[int]) -> float:
    """Rousseeuw 1987: mean of (b − a) / max(a, b); a row alone in its class counts 0."""
    total = 0.0
    for i in range(len(x)):
        to: dict[int, list[float]] = {}
        for j in range(len(x)):
            if j != i:
                to.setdefault(classes[j], []).append(float((x[i] - x[j]).norm()))
        if classes[i] not in to:
            continue
        means = {label: sum(distances) / len(distances) for label, distances in to.items()}
        a, b = means.pop(classes[i]), min(means.values())
        total += (b - a) / max(a, b)
    return total / len(x)


def unified_jmmd(
    source: list[Tensor], target: list[Tensor], labels: Tensor, predicted: Tensor, label_kernel: str
) -> float:
    """Wang et al. 2021 (arXiv 2101.09979); "conditional" is Zhu et al. 2021, Eq. (6)-(8): sums class by class.

    A class weighs a row i of the source by w_i and a row j of the target by v_j; its term is
    Σ w_i w_i' K_ii' + Σ v_j v_j' K_jj' − 2 Σ w_i v_j K_ij.
    """
    n, m, classes = len(labels), *predicted.shape
    K = joint_gram(source, target, [JAN_FEATURES] * len(source)).tolist()
    own = [[float(label == c) for c in range(classes)] for label in labels.tolist()]
    y = own + predicted.tolist()
    if label_kernel == "gaussian":
        product = [
            [
                K[i][j] * math.exp(-sum((a - b) ** 2 for a, b in zip(y[i], y[j], strict=True)) / 1.68)
                for j in range(n + m)
            ]
            for i in range(n + m)
        ]
        return mmd_biased(torch.tensor(product, dtype=torch.float64), n).item()
    total, terms = 0.0, 0
    for c in range(1 if label_kernel == "marginal" else classes):
        if label_kernel == "conditional":
            shares = sum(row[c] for row in own), sum(row[c] for row in predicted.tolist())
            if shares[0] == 0:
                continue
            w = [row[c] / shares[k >= n] for k, row in enumerate(y)]
        else:
            w = [(row[c] if label_kernel == "weighted" else 1) / (m if k >= n else n) for k, row in enumerate(y)]
        signed = [value if k < n else -value for k, value in enumerate(w)]
        total += sum(signed[i] * signed[j] * K[i][j] for i in range(n + m) for j in range(n + m))
        terms += 1
    return total / terms if label_kernel == "conditional" else total


def centroid_labels(rows: Tensor, features: Tensor, p: Tensor) -> list[int]:
    """Liang et al. 2020 (SHOT), Eq. (4)-(6): the nearest centroid by cosine, twice."""

    def nearest(row: Tensor, centroids: list[Tensor]) -> int:
        cosines = [float(row @ c / (row.norm() * c.norm())) if c.norm() > 0 else 0.0 for c in centroids]
        return cosines.index(max(cosines))

    classes = range(p.shape[1])
    weighted = [sum(p[i, c] * features[i] for i in range(len(p))) / p[:, c].sum() for c in classes]
    first = [nearest(row, weighted) for row in features]
    zero = torch.zeros_like(features[0])
    hard = [sum((features[i] for i in range(len(p)) if first[i] == c), zero) / max(first.count(c), 1) for c in classes]
    return [nearest(row, hard) for row in rows]
