"""Backbone and head → a network that shows its hidden layers, as `Activations`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from jointadapt.discrepancy.distances import wide
from jointadapt.networks.backbone import Backbone

BACKBONE_RATE = 0.1
BESIDE = ("labels", "weights", "reversed_logits", "teacher")


class Activations(NamedTuple):
    """What a network makes of n examples of one domain.

    Args:
        features: (n, d), the last hidden layer.
        logits: (n, classes).
        layers: the paper's L: the hidden layers to be adapted, the softmax probabilities last.
        labels: (n,), of source rows in training; None for the target, always.
        reversed_logits: (n, classes), what the classifier makes of reversed features: where a method takes it as the
            adversary, the features ascend on what the classifier descends on. None for others.
        teacher: (n, classes), the EMA teacher's probabilities of the target examples; None unless a
            method needs it.
        weights: (n,), of source examples in training, or what a method gives target examples; None: all are equal.
    """

    features: Tensor
    logits: Tensor
    layers: tuple[Tensor, ...]
    labels: Tensor | None = None
    reversed_logits: Tensor | None = None
    teacher: Tensor | None = None
    weights: Tensor | None = None

    def split(self, n: int) -> tuple["Activations", "Activations"]:
        """Return the activations of the first n examples, and of the others, as the network gives them."""
        parts = {id(x): x.split((n, len(x) - n)) for x in (self.features, self.logits, *self.layers)}
        first, others = (
            Activations(
                parts[id(self.features)][k], parts[id(self.logits)][k], tuple(parts[id(x)][k] for x in self.layers)
            )
            for k in (0, 1)
        )
        return first, others

    def chosen(self, rows: Tensor) -> "Activations":
        """Return the activations of the examples of these indices."""
        layers = tuple(layer[rows] for layer in self.layers)
        beside = {name: x[rows] for name in BESIDE if (x := getattr(self, name)) is not None}
        return self._replace(features=self.features[rows], logits=self.logits[rows], layers=layers, **beside)


class Head(nn.Module):
    """What is new in a network: the backbone's hidden layers → `Activations`.

    The last hidden layer passes a bottleneck (linear, BatchNorm, ReLU, dropout), which then stands in its place;
    `bottleneck=0` leaves it out. None is JAN's own choice: 256, but 0 behind fc7 of AlexNet and VGG. A linear
    classifier stands behind it.

    Args:
        inputs: the widths of the backbone's hidden layers.

    `widths` are those of the paper's L: the hidden layers as they are adapted, the classes last.
    """

    def __init__(
        self, inputs: Sequence[int], classes: int, bottleneck: int | None = None, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if bottleneck is None:
            bottleneck = 0 if len(inputs) > 1 else 256
        *hidden, last = (int(width) for width in inputs)
        width = bottleneck or last
        if bottleneck:
            linear = nn.Linear(last, bottleneck)
            nn.init.normal_(linear.weight, std=0.005)
            nn.init.constant_(linear.bias, 0.1)
            norm = nn.BatchNorm1d(bottleneck)
            self.bottleneck = nn.Sequential(linear, norm, nn.ReLU(inplace=True), nn.Dropout(dropout))
        else:
            self.bottleneck = nn.Identity()
        self.classifier = nn.Linear(width, classes)
        self.widths = (*hidden, width, classes)

    def forward(self, hidden: Sequence[Tensor]) -> Activations:
        """Return the activations of a batch from the backbone's hidden layers."""
        *hidden, last = hidden
        features = self.bottleneck(last)
        logits = self.classifier(features)
        return Activations(features, logits, (*hidden, features, wide(logits).softmax(1)))


class Network(nn.Module):
    """A backbone and the head behind it: a classifier whose hidden layers can be seen.

    BatchNorm: a pretrained backbone keeps the statistics it came with (evaluation mode), so no domain moves them. The
    head is one map for both domains: when a method looks at the target, it is called once with source and target rows
    together, and the statistics of that pooled batch normalise both. A source-only model never sees a target row.
    Statistics of each domain apart would align the domains' means whatever the shift of their labels, and cost JAN
    accuracy (docs/theory/methods.md has the numbers).

    Args:
        frozen: the backbone stays as it is.
    """

    def __init__(self, backbone: Backbone, head: Head, frozen: bool = False) -> None:
        super().__init__()
        self.backbone, self.head, self.frozen = backbone, head, frozen
        if frozen:
            backbone.requires_grad_(False)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the layers that are adapted, the classes last."""
        return self.head.widths

    def forward(self, x: Tensor) -> Activations:
        """Return the activations of a batch."""
        return self.head(self.backbone(x))

    def train(self, mode: bool = True) -> "Network":
        """Set the training mode; a frozen backbone, and BatchNorm in a pretrained one, stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        elif self.backbone.pretrained:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters with `rate`, a factor of the learning rate: 0.1 in a pretrained backbone, else 1."""
        rate = BACKBONE_RATE if self.backbone.pretrained else 1.0
        groups = [
            {"params": [*self.backbone.parameters()], "rate": rate},
            {"params": [*self.head.parameters()], "rate": 1.0},
        ]
        return [
            {**group, "params": trained}
            for group in groups
            if (trained := [p for p in group["params"] if p.requires_grad])
        ]
