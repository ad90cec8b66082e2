"""A network and a domain → features and probabilities."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from jointadapt.data import Domain
from jointadapt.errors import UserError
from jointadapt.networks.network import Network
from jointadapt.runtime.progress import Track, silent


class ModelOutputs(NamedTuple):
    """What a model makes of a domain: features (n, d) and class probabilities (n, classes)."""

    features: Tensor
    probabilities: Tensor


@torch.inference_mode()
def network_outputs(
    network: Network,
    domain: Domain,
    batch_size: int = 256,
    track: Track = silent,
    pictured: Collection[int] | None = None,
) -> ModelOutputs:
    """Return what a network makes of a domain as it is handed it, in evaluation mode, on the CPU.

    Of `pictured` rows only, in their order in the domain, features are kept; None: of all.
    """
    network.eval()
    device = next(network.parameters()).device
    preprocessing = network.backbone.preprocessing
    transform = preprocessing.evaluation() if preprocessing and domain.holds_images else None
    starts = range(0, len(domain), batch_size)
    features, probabilities, finite = [], [], []
    for start in track(starts, len(starts), "predicting"):
        rows = domain.rows(range(start, min(start + batch_size, len(domain))), transform)
        seen = network(rows.to(device))
        kept = [row for row in range(len(rows)) if pictured is None or start + row in pictured]
        features.append(seen.features[kept].float().cpu())
        probabilities.append(seen.logits.float().softmax(1).cpu())
        finite.append(seen.features.isfinite().all(1).cpu() & probabilities[-1].isfinite().all(1))
    bad = (~torch.cat(finite)).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"{domain.name}: the network's output is not finite for {len(bad)} of {len(domain)} rows, the first is "
            f"{domain.items[bad[0]]}; remove such rows, or bring the features to one scale."
        )
    return ModelOutputs(torch.cat(features), torch.cat(probabilities))


def mean_by_group(probabilities: Tensor, groups: Tensor) -> Tensor:
    """Return the mean probabilities (groups, classes) of each group's rows, in the order of the groups' numbers.

    >>> mean_by_group(torch.tensor([[1.0, 0], [0, 1], [0, 1]]), torch.tensor([4, 4, 7]))
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    names, own = groups.unique(return_inverse=True)
    total = torch.zeros(len(names), probabilities.shape[1]).index_add(0, own, probabilities)
    return total / own.bincount()[:, None]
