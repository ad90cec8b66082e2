"""Several processes, one batch: rows gathered from all ranks, batch statistics over all of them, differentiably.

Each rank passes its own rows through the backbone; what comes out is gathered, and everything behind it (new layers,
risk, method) is computed on every rank from the same rows in the same order, so that it is what one process computes.
With S = Σ_r J_r the sum of the ranks' equal losses, every backward here gives ∂S/∂(own copy); DDP divides by the number
of ranks R, and dS/dθ / R = dJ/dθ is left.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from jointadapt.errors import LostProcessError, UserError

T = TypeVar("T")
SILENCE = timedelta(minutes=30)
"""How long a rank waits for another that is there and does not answer; of one that ended it hears at once."""
PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Ranks:
    """This process's rank and the number of processes; one alone communicates nothing."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of(cls, fabric: Fabric) -> "Ranks":
        """Return the processes that Fabric has launched."""
        return cls(fabric.global_rank, fabric.world_size)

    def require(self, rows: int) -> None:
        """Raise a `UserError` if some rank would have none of so many rows."""
        if rows < self.count:
            raise UserError(
                f"{self.count} devices need as many rows in a batch and in each domain, and one has {rows}; raise "
                "--batch-size, or use fewer devices."
            )

    def numbers(self, *own: int, device: torch.device) -> list[list[int]]:
        """Return these whole numbers as each rank has them, a list a rank."""
        if self.count == 1:
            return [[*own]]
        mine = torch.tensor(own, device=device)
        everyone = mine.new_empty(self.count * len(mine))
        distributed.all_gather_into_tensor(everyone, mine)
        return everyone.view(self.count, -1).tolist()

    def gather(self, x: Tensor, lengths: Sequence[Sequence[int]]) -> Tensor:
        """Return the rows of all ranks; those of a rank's first part stand before those of any second part.

        Args:
            x: (Σ lengths of this rank, …), its parts one after the other (source rows, target rows).
            lengths: for each rank the rows of each part; they may differ.

        Its gradient needs no communication: every rank has the same one, of the rows of all, and takes R times its own.
        """
        if self.count == 1:
            return x
        totals = [sum(parts) for parts in lengths]
        blocks = _Gather.apply(x, totals, self.rank).split(totals)
        parts = zip(*(block.split([*own]) for block, own in zip(blocks, lengths, strict=True)), strict=True)
        return torch.cat([rows for part in parts for rows in part])

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over the ranks, differentiable."""
        return x if self.count == 1 else _Sum.apply(x)  # pyright: ignore[reportReturnType]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put into each tensor its mean over the ranks."""
        for x in tensors if self.count > 1 else ():
            distributed.all_reduce(x)
            x /= self.count

    def first(self, value: T) -> T:
        """Return rank 0's value on every rank, so that all decide alike."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def own_rng(self, step: int, device: torch.device) -> AbstractContextManager[None]:
        """Give each rank an rng of its own, seeded by seed, step and rank; afterwards the common state is restored."""
        return nullcontext() if self.count == 1 else self._own_rng(step, device)

    @contextmanager
    def _own_rng(self, step: int, device: torch.device) -> Iterator[None]:
        seed = np.random.SeedSequence((torch.initial_seed(), step, self.rank)).generate_state(1)[0]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            yield


ALONE = Ranks()


@contextmanager
def reporting_lost_ranks(folder: Path) -> Iterator[None]:
    """Report the end, or the silence, of another rank as a `LostProcessError` that names the run folder to resume."""
    try:
        yield
    except RuntimeError as error:
        # Gloo raises RuntimeErrors of no class of their own, NCCL and the store DistErrors.
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        reason = " ".join(str(error).split())
        raise LostProcessError(
            f"another process of this run was lost, or did not answer ({reason[:160]}); "
            f"go on with: jointadapt train --resume {folder}"
        ) from error


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, totals: list[int], rank: int) -> Tensor:
        padded = x.new_zeros(max(totals), *x.shape[1:])
        padded[: len(x)] = x
        everyone = x.new_empty(len(totals) * len(padded), *x.shape[1:])
        distributed.all_gather_into_tensor(everyone, padded)
        ctx.first, ctx.rows, ctx.count = sum(totals[:rank]), len(x), len(totals)
        return torch.cat([block[:rows] for block, rows in zip(everyone.split(len(padded)), totals, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[0][ctx.first : ctx.first + ctx.rows] * ctx.count, None, None


class _Sum(torch.autograd.Function):
    """The sum over ranks; backward the same, since each rank's part reaches every rank's loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        x = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:  # noqa: ARG004
        return _Sum.forward(None, grad[0])


class PooledBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose training statistics are those of the rows of all ranks, on any device and backend.

    Summed in float64, mean first, then the mean square around it: 2 all-reduces each way. Elsewhere as any BatchNorm.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        pass

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Return the batch, normalised."""
        if not self.training:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        sums = x.sum(axes, dtype=torch.float64)
        total = _Sum.apply(torch.cat([sums, sums.new_full((1,), x.numel() / x.shape[1])]))
        mean, count = total[:-1] / total[-1], total[-1].detach()
        centred = x - mean.to(x).view(shape)
        variance = _Sum.apply(centred.square().sum(axes, dtype=torch.float64)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            weight = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.item()
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean), weight)
                self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), weight)
        out = centred * (variance + self.eps).rsqrt().to(x).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)


def pool_batch_norm(module: nn.Module) -> None:
    """Let the BatchNorm layers in a module take their training statistics from all ranks, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            if type(child) not in PLAIN:
                raise UserError(
                    f"a {type(child).__name__} layer cannot take its statistics from several devices; use a backbone "
                    "with pretrained weights (its statistics stay as they are), or one device."
                )
            pooled = PooledBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            pooled.load_state_dict(child.state_dict())
            setattr(module, name, pooled.to(next(iter(child.state_dict().values()), None)))
        else:
            pool_batch_norm(child)
