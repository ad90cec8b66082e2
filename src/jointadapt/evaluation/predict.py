"""A network and a domain → features and probabilities."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.domain import Transform
from jointadapt.errors import UserError
from jointadapt.networks.network import Activations, Network
from jointadapt.runtime.progress import Track, silent


@torch.inference_mode()
def activations(
    network: Network | Callable[[Tensor], Activations],
    domain: Domain,
    transform: Transform | None = None,
    batch_size: int = 256,
    track: Track = silent,
    description: str = "predicting",
    pictured: Collection[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return features (n, d) and class probabilities (n, classes) of a domain, in evaluation mode, on the CPU.

    Of `pictured` rows only, in their order in the domain, features are kept; None: of all.
    """
    if isinstance(network, torch.nn.Module):
        network.eval()
    device = next((p.device for p in network.parameters()), None) if isinstance(network, torch.nn.Module) else None
    starts = range(0, len(domain), batch_size)
    features, probabilities, finite = [], [], []
    for start in track(starts, len(starts), description):
        rows = domain.rows(range(start, min(start + batch_size, len(domain))), transform)
        seen = network(rows.to(device))
        kept = [row for row in range(len(rows)) if pictured is None or start + row in pictured]
        features.append(seen.features[kept].float().cpu())
        probabilities.append(seen.logits.float().softmax(1).cpu())
        finite.append(seen.features.isfinite().all(1).cpu() & probabilities[-1].isfinite().all(1))
    bad = (~torch.cat(finite)).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"{domain.name}: the network finds nothing finite for {len(bad)} of {len(domain)} rows, the first is "
            f"{domain.items[bad[0]]}; remove such rows, or bring the features to one scale."
        )
    return torch.cat(features), torch.cat(probabilities)
