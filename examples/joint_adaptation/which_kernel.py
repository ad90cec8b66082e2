"""
Which kernel?
=============

A Gaussian kernel looks at the data through a window, and its bandwidth is the width of that window. One that is too
wide blurs a small difference away; one that is too narrow sees every example alone.
"""

# %%
# A coarse difference and a fine one
# ----------------------------------
# In the first pair of domains the target is moved as a whole. In the second both lie in the same four heaps, and only
# the *shape* of the heaps differs.

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from jointadapt import GaussianKernel, two_sample_test
from jointadapt.two_sample import optimal_weights

BLUE, ORANGE = "#0072b2", "#d55e00"


def moved(rng, n):
    """Return two domains, the second moved by a quarter of a deviation."""
    return rng.normal(size=(n, 2)), rng.normal([0.25, 0], size=(n, 2))


def heaps(rng, n):
    """Return two domains of four heaps: round ones, and ones that lean."""
    centres = 10 * rng.integers(2, size=(2, n, 2))
    return centres[0] + rng.normal(size=(n, 2)), centres[1] + rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], n)


PROBLEMS = {"moved": moved, "shape of heaps": heaps}
figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for axes, (name, draw) in zip(panels, PROBLEMS.items(), strict=True):
    source, target = draw(np.random.default_rng(0), 300)
    axes.scatter(*source.T, s=8, color=BLUE, label="source")
    axes.scatter(*target.T, s=8, color=ORANGE, marker="^", label="target")
    axes.set(title=name, xlabel="column 1", ylabel="column 2")
panels[0].legend()

# %%
# Power against bandwidth
# -----------------------
# The default bandwidth γ is the mean squared distance of the pooled sample. :class:`jointadapt.GaussianKernel` takes
# *scales*, multiples of γ. In how many of 20 draws does the test with one scale find each difference, at the 5 % level?

SCALES = (1 / 256, 1 / 64, 1 / 16, 1 / 4, 1, 4)


def power(draw, test):
    """Return in how many percent of fresh draws a test tells source and target apart."""
    rng = np.random.default_rng(1)
    return 100 * float(np.mean([test(*draw(rng, 300)).rejected for _ in range(20)]))


def with_scales(*scales):
    """Return the permutation test of a kernel that is a sum of Gaussians of these scales."""
    return lambda s, t: two_sample_test(s, t, kernels=GaussianKernel(scales=scales), permutations=99)


single = {name: [power(draw, with_scales(scale)) for scale in SCALES] for name, draw in PROBLEMS.items()}
for name, found in single.items():
    print(f"{name}, one scale:", ", ".join(f"{s:.3g}: {p:.0f} %" for s, p in zip(SCALES, found, strict=True)))

# %%
# Without knowing the scale
# -------------------------
# Nobody says beforehand which scale a difference has. Four ways to use several of them:
#
# * the default kernel is a sum of five scales, from ¼ to 4;
# * the same with all scales above, of equal weight;
# * with the weights of highest power, which :func:`jointadapt.two_sample.optimal_weights` learns on one half of the
#   rows, so that the other half is left for the test (learnt on the rows of the test, they would reject too often);
# * ``method="aggregated"``, which tests at every scale at once, and corrects for it.


def learnt(s, t):
    """Return the test on the second half of the rows by weights that were learnt on the first."""
    half, kernel = len(s) // 2, GaussianKernel(scales=SCALES)
    kernel = replace(kernel, weights=optimal_weights(s[:half], t[:half], kernel))
    return two_sample_test(s[half:], t[half:], kernels=kernel, permutations=99)


def aggregated(s, t):
    """Return the test that aggregates all scales."""
    return two_sample_test(s, t, method="aggregated", multiples=SCALES, permutations=99)


choices = {
    "default: five scales": (with_scales(1 / 4, 1 / 2, 1, 2, 4), "-"),
    "all scales": (with_scales(*SCALES), "--"),
    "all scales, learnt weights": (learnt, ":"),
    "aggregated": (aggregated, "-."),
}
figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained", sharey=True)
for axes, (name, draw) in zip(panels, PROBLEMS.items(), strict=True):
    axes.plot(SCALES, single[name], color=BLUE, marker="o", label="one scale")
    for choice, (test, style) in choices.items():
        found = power(draw, test)
        print(f"{name}, {choice}: {found:.0f} %")
        axes.axhline(found, color=ORANGE, linestyle=style, label=choice)
    axes.set(xscale="log", title=name, xlabel="scale (bandwidth / mean squared distance)", ylim=(0, 104))
    axes.set_xticks(SCALES, ["1/256", "1/64", "1/16", "1/4", "1", "4"])
    axes.minorticks_off()
panels[0].set_ylabel("difference found, % of 20 draws")
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)

# %%
# No bandwidth is right for both: the fine difference is lost to the wide windows, also to the default's, and the coarse
# one to the narrow ones. Where you have no idea of the scale, prefer "aggregated". Learnt weights pay with half of the
# rows. In training, where the features move, the default does well: see :doc:`/guides/two-sample-tests` for what learnt
# weights did there (nothing), and :doc:`/guides/discrepancy` for kernels of your own.
