"""
The loss in a training loop of your own
=======================================

You have a training loop in plain PyTorch and want to keep it. Adaptation is one more term of the loss, computed from
the layers that your network shows for a batch of each domain.
"""

# %%
# Two domains that differ by a turn
# ---------------------------------
# Points of three classes. The target is turned and moved; its classes are known to us for the last figure alone.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jointadapt import jmmd_unbiased
from jointadapt.methods import METHODS
from jointadapt.networks import Activations

CLASSES, WIDTH, STEPS, BATCH = 3, 32, 400, 64

generator = torch.Generator().manual_seed(0)
y_s, y_t = torch.randint(CLASSES, (2, 600), generator=generator)
centres = torch.tensor([[0.0, 3.0], [2.6, -1.5], [-2.6, -1.5]])
noise = 0.7 * torch.randn(2, 600, 2, generator=generator)
angle = torch.tensor(0.9)
turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
x_s, x_t = centres[y_s] + noise[0], (centres[y_t] + noise[1]) @ turn.T + 0.5

# %%
# A network that shows its layers
# -------------------------------
# :class:`jointadapt.networks.Activations` holds what a method may look at: features, logits, and the layers whose joint
# distribution is matched, features and class probabilities here.


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Activations:
        features = self.features(x)
        logits = self.classifier(features)
        return Activations(features, logits, (features, logits.softmax(1)))


# %%
# The loop
# --------
# It is yours. ``transfer`` is any function of the two batches' activations.


def train(transfer=None) -> Classifier:
    torch.manual_seed(0)
    network = Classifier()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(STEPS):
        rows_s, rows_t = torch.randint(len(x_s), (BATCH,)), torch.randint(len(x_t), (BATCH,))
        source, target = network(x_s[rows_s]), network(x_t[rows_t])
        loss = cross_entropy(source.logits, y_s[rows_s])
        if transfer is not None:
            loss = loss + transfer(source, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


# %%
# Three losses: the risk on the source alone; with :func:`jointadapt.jmmd_unbiased` beside it; and with a whole method,
# :class:`jointadapt.methods.mcc.MCC`, added to that.


def joint(source: Activations, target: Activations) -> Tensor:
    return jmmd_unbiased(source.layers, target.layers)


confusion = METHODS["mcc"]((WIDTH, CLASSES))
losses = {
    "source-only": None,
    "JMMD": joint,
    "JMMD + MCC": lambda source, target: joint(source, target) + confusion(source, target),
}
networks = {name: train(transfer) for name, transfer in losses.items()}

# %%
# What each is worth
# ------------------
# The coloured areas are what each network takes for which class; the points are the target.

figure, panels = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
side = np.linspace(-5, 6, 200)
grid = torch.tensor(np.stack(np.meshgrid(side, side), -1).reshape(-1, 2), dtype=torch.float32)
with torch.no_grad():
    for axes, (name, network) in zip(panels, networks.items(), strict=True):
        accuracy = 100 * (network(x_t).logits.argmax(1) == y_t).float().mean().item()
        print(f"{name:<12}{accuracy:5.1f} %")
        areas = network(grid).logits.argmax(1).reshape(200, 200)
        axes.contourf(
            side, side, areas, levels=[-0.5, 0.5, 1.5, 2.5], colors=["#0072b2", "#e69f00", "#009e73"], alpha=0.3
        )
        for number, colour in enumerate(("#0072b2", "#b87f00", "#007a5a")):
            axes.scatter(*x_t[y_t == number].T, s=5, color=colour)
        axes.set(title=f"{name}: {accuracy:.1f} %", xlabel="x₁")
panels[0].set_ylabel("x₂")

# %%
# :doc:`/gallery/your_parts/lightning_module` does the same in Lightning.
