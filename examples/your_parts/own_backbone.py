"""
A backbone of your own
======================

Any module whose output is a matrix is a backbone. If it gives a tuple of matrices, JAN matches all of these layers and
the class probabilities, jointly.
"""

# %%
# The module
# ----------
# A small convolutional network for digits of 8 × 8 pixels, with two hidden layers to match. The last of them feeds the
# classifier. Nobody says how wide they are: one forward pass finds out.

import matplotlib.pyplot as plt
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

import jointadapt
from jointadapt.experiment.demo import digit_domains


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv2d(1, 32, 3, padding=1)
        self.trunk = nn.Sequential(convolution, nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.first = nn.Sequential(nn.Linear(512, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(self.trunk(x))
        return first, self.second(first)


# %%
# Train
# -----
# The module is copied, so that yours stays as it is, and trained along with the classifier. ``frozen=True`` would keep
# its weights.

torch.manual_seed(0)
source, target = digit_domains()
run = jointadapt.train(source, target, backbone=TwoLayers(), method="jan", trade_off=1.0, steps=300, report=False)
print(run.summary.verdict)
print("Widths of the layers that were matched:", *run.model.network.widths, "(the last are the classes)")

# %%
# What the layers look like
# -------------------------
# The second hidden layer of both domains, by its two principal components: where the colours mix, a classifier that was
# trained on the source fits the target, too.

network = run.model.network.eval()
with torch.no_grad():
    layers = [network.backbone(domain.rows(range(400)))[-1] for domain in (source, target)]
places = PCA(2).fit_transform(torch.cat(layers))

figure, axes = plt.subplots(figsize=(6, 4.4), layout="constrained")
for name, rows, colour, marker in (
    (source.name, places[:400], "#0072b2", "o"),
    (target.name, places[400:], "#d55e00", "^"),
):
    axes.scatter(*rows.T, s=14, color=colour, marker=marker, alpha=0.6, linewidths=0, label=name)
axes.set(xlabel="first principal component", ylabel="second", title="Second hidden layer after JAN")
axes.legend(frameon=False)
