"""Several trained networks → one: the mean of their class probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointadapt.networks.backbone import Backbone
from jointadapt.networks.network import Activations, Head, Network


class JoinedBackbone(Backbone):
    """Several backbones side by side: of each the last hidden layer, which is what feeds its head."""

    def __init__(self, backbones: Sequence[Backbone]) -> None:
        super().__init__(nn.ModuleList(backbones), [backbone.widths[-1] for backbone in backbones])
        self.preprocessing, self.own = backbones[0].preprocessing, any(backbone.own for backbone in backbones)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return each backbone's last layer."""
        assert isinstance(self.body, nn.ModuleList)
        return tuple(backbone(x)[-1] for backbone in self.body)


class MeanClassifier(nn.Module):
    """The features of all members, side by side → the logarithm of the mean of their class probabilities."""

    def __init__(self, classifiers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.members = nn.ModuleList(classifiers)
        self.widths = [classifier.in_features for classifier in classifiers]

    def forward(self, features: Tensor) -> Tensor:
        """Return log p̄ (n, classes), p̄ = 1/k Σ p_k."""
        parts = zip(self.members, features.split(self.widths, dim=1), strict=True)
        probabilities = torch.stack([member(own).softmax(1) for member, own in parts]).mean(0)
        return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


class JoinedHead(Head):
    """The heads of several networks as one: their features side by side, their probabilities' mean.

    Args:
        shared: all stand behind one backbone; else each behind its own, as `JoinedBackbone` has them.
    """

    def __init__(self, heads: Sequence[Head], shared: bool) -> None:
        nn.Module.__init__(self)
        self.shared = shared
        self.bottleneck = nn.ModuleList(head.bottleneck for head in heads)
        self.classifier = MeanClassifier([head.classifier for head in heads])  # pyright: ignore[reportAttributeAccessIssue]
        self.widths = (sum(head.widths[-2] for head in heads), heads[0].widths[-1])

    @property
    def members(self) -> int:
        """How many heads it has."""
        return len(self.bottleneck)

    def forward(self, hidden: Sequence[Tensor]) -> Activations:
        """Return the activations of a batch from the hidden layers."""
        last = [hidden[-1]] * self.members if self.shared else hidden
        features = torch.cat([bottleneck(x) for bottleneck, x in zip(self.bottleneck, last, strict=True)], 1)
        logits = self.classifier(features)
        return Activations(features, logits, (features, logits.softmax(1)))


def join(networks: Sequence[Network]) -> Network:
    """Return one network whose probabilities are the mean of these; one backbone is kept where all have the same.

    All have the same classes and take the same rows. To be used, not to be trained on.

    Source: the arithmetic mean of an ensemble (Lakshminarayanan et al., NeurIPS 2017, Sec. 2.4).
    """
    first, shared = networks[0], shares_backbone(networks)
    backbone = first.backbone if shared else JoinedBackbone([network.backbone for network in networks])
    return Network(backbone, JoinedHead([network.head for network in networks], shared), first.frozen)


def shares_backbone(networks: Sequence[Network]) -> bool:
    """Return whether all networks have one backbone: a frozen one, or one that has no weights."""
    return all(network.frozen or not any(True for _ in network.backbone.parameters()) for network in networks)
