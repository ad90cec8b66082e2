"""
Lightning
=========

If you train with Lightning, the adaptation is two lines of your ``training_step``: the activations of both batches, and
λ times the method.
"""

# %%
# The module
# ----------
# ``METHODS["jan"]`` is the method's class; it is built for the widths of the layers that it matches. λ rises from 0 to
# 1 as in the paper (:class:`jointadapt.methods.jan.JAN` has its equations).

import logging
import warnings

import lightning
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from jointadapt.methods import METHODS
from jointadapt.networks import Activations
from jointadapt.training.schedules import trade_off

CLASSES, WIDTH, STEPS, BATCH = 3, 32, 400, 64


class Adapted(lightning.LightningModule):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.classifier = nn.Linear(WIDTH, CLASSES)
        self.method = METHODS["jan"]((WIDTH, CLASSES))
        self.weight = weight

    def forward(self, x: Tensor) -> Activations:
        features = self.features(x)
        logits = self.classifier(features)
        return Activations(features, logits, (features, logits.softmax(1)))

    def training_step(self, batch: dict[str, list[Tensor]]) -> Tensor:
        x_s, y_s = batch["source"]
        (x_t,) = batch["target"]
        source, target = self(x_s), self(x_t)
        weight = self.weight * trade_off(self.global_step / STEPS)
        return cross_entropy(source.logits, y_s) + weight * self.method(source, target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


# %%
# Data
# ----
# Lightning takes a dictionary of loaders, one for each domain. The target is the source's three classes, turned by 50°.

generator = torch.Generator().manual_seed(0)
y_s, y_t = torch.randint(CLASSES, (2, 600), generator=generator)
centres = torch.tensor([[0.0, 3.0], [2.6, -1.5], [-2.6, -1.5]])
noise = 0.7 * torch.randn(2, 600, 2, generator=generator)
angle = torch.deg2rad(torch.tensor(50.0))
turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
x_s, x_t = centres[y_s] + noise[0], (centres[y_t] + noise[1]) @ turn.T + 0.5


def batches(*tensors: Tensor) -> DataLoader:
    data = TensorDataset(*tensors)
    return DataLoader(data, BATCH, sampler=RandomSampler(data, replacement=True, num_samples=BATCH * STEPS))


# %%
# Train without and with the transfer term
# ----------------------------------------

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}

accuracies = {}
for name, weight in (("source-only", 0.0), ("JAN", 1.0)):
    lightning.seed_everything(0, verbose=False)
    model = Adapted(weight)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet)
    trainer.fit(model, {"source": batches(x_s, y_s), "target": batches(x_t)})
    with torch.no_grad():
        accuracies[name] = 100 * (model(x_t).logits.argmax(1) == y_t).float().mean().item()
    print(f"{name:<12}{accuracies[name]:5.1f} % of the target right")

figure, axes = plt.subplots(figsize=(5, 1.8), layout="constrained")
bars = axes.barh(list(accuracies), list(accuracies.values()), color=["#999999", "#0072b2"])
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(title="Without and with JAN", xlabel="target accuracy, %", xlim=(0, 112))
axes.invert_yaxis()
