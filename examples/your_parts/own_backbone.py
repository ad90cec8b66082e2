"""A backbone of your own: any module whose output is a matrix, or a tuple of matrices, one for each layer to adapt.

    python examples/your_parts/own_backbone.py

Handwritten digits are adapted to another scanner by a small convolutional network that gives two hidden layers: JAN
matches both, and the class probabilities, jointly. Their widths are found by one forward.
"""

import torch
from torch import Tensor, nn

import jointadapt
from jointadapt.experiment.demo import digit_domains


class TwoLayers(nn.Module):
    """Digits of 8 × 8 pixels → two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv2d(1, 32, 3, padding=1)
        self.trunk = nn.Sequential(convolution, nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.first = nn.Sequential(nn.Linear(512, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both layers, the one that feeds the classifier last."""
        first = self.first(self.trunk(x))
        return first, self.second(first)


def main() -> None:
    """Train with and without adaptation, and say what it was worth."""
    torch.manual_seed(0)
    source, target = digit_domains()
    run = jointadapt.train(source, target, backbone=TwoLayers(), method="jan", trade_off=1.0, steps=300, report=False)
    print(run.summary.verdict)
    print(f"Layers that were matched: {run.model.network.widths}, the last one the classes.")


if __name__ == "__main__":
    main()
