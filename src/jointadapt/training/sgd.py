"""A step of SGD with momentum, without what `torch.optim` does around it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

KERNEL_OPTIONS = ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize")


@torch.no_grad()
def momentum_step(optimizer: torch.optim.Optimizer) -> None:
    """Make the step that `optimizer.step()` makes, an SGD's with momentum; of a fused one by its kernel alone.

    What stands around the kernel in `torch.optim` (hooks, the profiler, groups sorted by device and type) took twice as
    long as the kernel for a head of 131,000 weights. The state is the optimizer's own, which makes the first step.
    """
    steps = []
    for group in optimizer.param_groups:
        used = [p for p in group["params"] if p.grad is not None]
        buffers = [optimizer.state[p].get("momentum_buffer") if p in optimizer.state else None for p in used]
        if not group["fused"] or any(b is None for b in buffers) or len({(p.dtype, p.device) for p in used}) > 1:
            optimizer.step()
            return
        steps.append((group, [p.detach() for p in used], [p.grad for p in used], buffers))
    for group, weights, gradients, buffers in steps:
        if weights:
            fused_momentum_step(weights, gradients, buffers, group)


def fused_momentum_step(
    weights: list[Tensor], gradients: list[Tensor], momenta: list[Tensor], group: Mapping[str, Any]
) -> None:
    """Make a step by the kernel of a fused SGD, with the options of one of its groups; weights and momenta change."""
    options = {name: group[name] for name in KERNEL_OPTIONS}
    torch._fused_sgd_(  # pyright: ignore[reportPrivateImportUsage]
        weights, gradients, momenta, is_first_step=False, **options
    )
