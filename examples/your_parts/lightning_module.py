"""The same in Lightning: a LightningModule whose loss is JAN's, with loaders of your own.

pip install lightning
python examples/your_parts/lightning_module.py
"""

import logging
import warnings

import lightning
import torch
from own_loop import BATCH, CLASSES, STEPS, WIDTH, Classifier, make_domains
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from jointadapt.methods import METHODS
from jointadapt.training.schedules import trade_off


class Adapted(lightning.LightningModule):
    """A classifier trained by J = risk + λ · JMMD², λ rising as in the paper."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Classifier()
        self.method = METHODS["jan"]((WIDTH, CLASSES))

    def training_step(self, batch: dict[str, list[Tensor]]) -> Tensor:
        """Return the loss of a batch of both domains."""
        x_s, y_s = batch["source"]
        (x_t,) = batch["target"]
        source, target = self.network(x_s), self.network(x_t)
        weight = trade_off(self.global_step / STEPS)
        return cross_entropy(source.logits, y_s) + weight * self.method(source, target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over the network and, where the method has some, its own parameters."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def batches(*tensors: Tensor) -> DataLoader:
    """Return a loader of as many random batches as there are steps."""
    data = TensorDataset(*tensors)
    return DataLoader(data, BATCH, sampler=RandomSampler(data, replacement=True, num_samples=BATCH * STEPS))


def main() -> None:
    """Train on both domains, and say how many target points are right."""
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lightning.seed_everything(0, verbose=False)
    x_s, y_s, x_t, y_t = make_domains()
    model = Adapted()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet)
    trainer.fit(model, {"source": batches(x_s, y_s), "target": batches(x_t)})
    with torch.no_grad():
        accuracy = 100 * (model.network(x_t).logits.argmax(1) == y_t).float().mean().item()
    print(f"JAN in Lightning  {accuracy:5.1f} %")


if __name__ == "__main__":
    main()
