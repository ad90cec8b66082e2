"""DANN: domain-adversarial neural network."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from jointadapt.methods.base import Method
from jointadapt.methods.parts import DiscriminatorWidth, perceptron, weighted_mean
from jointadapt.networks.network import Activations
from jointadapt.networks.reversal import reverse


class DANN(Method):
    """The loss of a discriminator D that tells source features from target features, which the network maximises:

        −½ [mean log σ(D(f_s)) + mean log(1 − σ(D(f_t)))]

    The source's mean is weighted where its examples have weights.

    Source: Ganin et al., JMLR 2016, Eq. (9) and (13).
    """

    def __init__(self, widths: Sequence[int], *, discriminator_width: DiscriminatorWidth = 1024) -> None:
        super().__init__(widths)
        self.discriminator = perceptron(widths[-2], discriminator_width)

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the discriminator's cross-entropy; log 2 when it cannot tell the domains."""
        features = torch.cat([source.features, target.features])
        score_s, score_t = self.discriminator(reverse(features)).split([len(source.features), len(target.features)])
        of_source = weighted_mean(softplus(-score_s)[:, 0], source.weights)
        return (of_source + softplus(score_t).mean()) / 2
