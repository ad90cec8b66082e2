"""The loss, and a whole method, in a training loop of your own: plain PyTorch, no trainer.

    python examples/your_parts/own_loop.py

Two domains of points in three classes; the target is turned and moved. Three networks are trained by the same loop: by
the risk on the source alone, with JMMD² beside it, and with JMMD² and the method MCC.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jointadapt import jmmd_unbiased
from jointadapt.methods import METHODS
from jointadapt.networks import Activations

CLASSES, WIDTH, STEPS, BATCH = 3, 32, 400, 64

Transfer = Callable[[Activations, Activations], Tensor]


def make_domains(rows: int = 600) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return source points, their classes, target points, and the classes of those, which no training sees."""
    generator = torch.Generator().manual_seed(0)
    y_s, y_t = torch.randint(CLASSES, (2, rows), generator=generator)
    centres = torch.tensor([[0.0, 3.0], [2.6, -1.5], [-2.6, -1.5]])
    noise = 0.7 * torch.randn(2, rows, 2, generator=generator)
    angle = torch.tensor(0.9)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return centres[y_s] + noise[0], y_s, (centres[y_t] + noise[1]) @ turn.T + 0.5, y_t


class Classifier(nn.Module):
    """A network of your own that shows its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Activations:
        """Return features, logits, and the layers that are matched: features, then class probabilities."""
        features = self.features(x)
        logits = self.classifier(features)
        return Activations(features, logits, (features, logits.softmax(1)))


def train(transfer: Transfer | None) -> float:
    """Return the target accuracy, in percent, of a network trained by the risk and a transfer term, if there is one."""
    x_s, y_s, x_t, y_t = make_domains()
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
    with torch.no_grad():
        return 100 * (network(x_t).logits.argmax(1) == y_t).float().mean().item()


def joint(source: Activations, target: Activations) -> Tensor:
    """Return the loss alone: JMMD² of the two samples of layers."""
    return jmmd_unbiased(source.layers, target.layers)


def main() -> None:
    """Print what each transfer term is worth."""
    confusion = METHODS["mcc"]((WIDTH, CLASSES))
    print(f"source-only       {train(None):5.1f} %")
    print(f"JMMD              {train(joint):5.1f} %")
    print(f"JMMD and MCC      {train(lambda source, target: joint(source, target) + confusion(source, target)):5.1f} %")


if __name__ == "__main__":
    main()
