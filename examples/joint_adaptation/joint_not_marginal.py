"""
Why joint and not marginal
==========================

Two domains may have the same features and the same predictions, and still disagree about which features get which
prediction. A discrepancy of one layer at a time cannot see that. The joint discrepancy, JMMD, can.
"""

# %%
# The same parts, put together differently
# ----------------------------------------
# Each example has two layers here: a feature vector (two numbers), and class probabilities. In the source the left
# heap is predicted as class 0 and the right heap as class 1. In the target it is the other way round.

import matplotlib.pyplot as plt
import numpy as np
import torch

from jointadapt import jmmd_unbiased, two_sample_test

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8b8f94"
rng = np.random.default_rng(0)


def draw(left: float, right: float, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return features of two heaps, and probabilities whose class 1 has about `left` and `right` on them."""
    heap = np.arange(n) % 2
    features = rng.normal(size=(n, 2)) + 4 * np.stack([heap - 0.5, 0 * heap], 1)
    of_class_1 = np.where(heap, right, left) + rng.uniform(-0.1, 0.1, n)
    return features, np.stack([1 - of_class_1, of_class_1], 1)


features_s, probabilities_s = draw(left=0.15, right=0.85)
features_t, probabilities_t = draw(left=0.85, right=0.15)

figure, panels = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained")
for axes, title, features, p in (
    (panels[0], "source", features_s, probabilities_s[:, 1]),
    (panels[1], "target", features_t, probabilities_t[:, 1]),
):
    for chosen, colour, marker, name in ((p < 0.5, BLUE, "o", "class 0"), (p >= 0.5, ORANGE, "^", "class 1")):
        axes.scatter(*features[chosen].T, s=14, c=colour, marker=marker, alpha=0.7, label=f"predicted {name}")
    axes.set(title=title, xlabel="feature 1", ylabel="feature 2", xlim=(-5.5, 5.5), ylim=(-3.5, 4.7))
panels[0].legend(loc="upper center", ncols=2, fontsize=7.5, handletextpad=0.1, columnspacing=0.8)
bins = np.linspace(0, 1, 21)
panels[2].hist(probabilities_s[:, 1], bins, color=BLUE, alpha=0.55, label="source")
panels[2].hist(probabilities_t[:, 1], bins, histtype="step", color="black", label="target")
panels[2].set(title="predictions alone", xlabel="probability of class 1", ylabel="examples")
panels[2].legend(loc="upper center", fontsize=8)

# %%
# Three tests
# -----------
# :func:`jointadapt.two_sample_test` tests one layer, or several layers jointly. A p-value below 0.05 says that the
# domains differ. Each layer alone has the same distribution in both domains, so its test finds nothing. Jointly the
# kernels of the layers are *multiplied*: two examples are alike only if features and predictions both are.

tests = {
    "features": two_sample_test(features_s, features_t),
    "predictions": two_sample_test(probabilities_s, probabilities_t),
    "both, jointly": two_sample_test([features_s, probabilities_s], [features_t, probabilities_t]),
}
for name, test in tests.items():
    print(f"{name:<14} {test.statistic_name:>5} = {test.statistic:7.4f}   p = {test.p_value:.3f}")

figure, panels = plt.subplots(1, 3, figsize=(9.5, 2.6), layout="constrained", sharey=True)
for axes, (name, test) in zip(panels, tests.items(), strict=True):
    axes.hist(test.null, 30, color=GREY, label="domains relabelled at random")
    axes.axvline(test.statistic, color=ORANGE, linewidth=2.5, label="observed")
    axes.set(title=name, xlabel=test.statistic_name)
panels[0].set_ylabel("permutations")
panels[0].legend(fontsize=7.5)

# %%
# As a loss
# ---------
# Methods that match the layers one by one (:class:`DAN <jointadapt.methods.dan.DAN>`) add up what the first two tests
# see; :class:`JAN <jointadapt.methods.jan.JAN>` minimises what the third one sees. In PyTorch the same estimates are
# functions of tensors, and have gradients. They are unbiased, so they may fall a little below 0.

source = [torch.tensor(features_s), torch.tensor(probabilities_s)]
target = [torch.tensor(features_t), torch.tensor(probabilities_t)]
one_by_one = jmmd_unbiased(source[:1], target[:1]) + jmmd_unbiased(source[1:], target[1:])
print(f"one layer at a time: {one_by_one:.4f}\njointly:             {jmmd_unbiased(source, target):.4f}")

# %%
# What joint adaptation cannot see
# --------------------------------
# JMMD compares *predictions*, as the target has no labels. Suppose that the target's true labels are swapped, but its
# features are the source's: the classifier predicts there what it predicts on the source, and nothing differs. No
# method can see such a swap without labels.

features_u, probabilities_u = draw(left=0.15, right=0.85)  # what the classifier says, whatever the true labels are
unseen = two_sample_test([features_s, probabilities_s], [features_u, probabilities_u])
print(f"swapped labels, same features and predictions: p = {unseen.p_value:.3f}")

# %%
# :doc:`/gallery/joint_adaptation/two_sample_tests` shows more of the tests, and
# :doc:`/gallery/joint_adaptation/jan_dan_mcc` trains DAN and JAN on the same problem.
