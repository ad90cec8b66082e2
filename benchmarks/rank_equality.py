"""One process or many, the same numbers: every method trained on 1, 2 and 4 processes with the same global batches.

    python benchmarks/rank_equality.py [--ranks 2 4]

Each process is a real one (gloo, DistributedDataParallel through Lightning Fabric). The network has BatchNorm in its
backbone and in its bottleneck, and dropout; three steps with batches of 13 + 13, 13 + 11 and 6 + 5 rows, which neither
2 nor 4 ranks share equally. Printed: the largest difference from one process in the first step's risk and transfer
term, in its gradients (relative to the largest), and in all steps' terms and the weights and running statistics after
them.
"""

import argparse
import multiprocessing
import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from jointadapt.data.batches import Batch, shard
from jointadapt.discrepancy import jmmd_fourier
from jointadapt.methods import METHODS
from jointadapt.methods.build import build_method
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.network import Head, Network
from jointadapt.training.distributed import Ranks
from jointadapt.training.trainer import Trainer

WIDTH, CLASSES = 6, 3
SIZES = ((13, 13), (13, 11), (6, 5))
PRECISIONS = ("32-true", "64-true")

SAM = " --sam-rho "
WEIGHTS = " with source weights"
ORIGINS = " of two sources"
CASES = (
    *METHODS,
    f"jan{SAM}0.05",
    f"jan-a+mcc{SAM}0.05",
    f"source-only{WEIGHTS}",
    f"jan{WEIGHTS}",
    f"source-only{ORIGINS}",
    f"jan+mcc{ORIGINS}",
)
REDUCED = "jmmd_fourier(reduce=…)"

Numbers = dict[str, Tensor]


def train(fabric: Fabric, case: str) -> Numbers:
    """Return what three steps of a method give: the first's terms and gradients, and what came of all."""
    torch.manual_seed(0)
    name, _, rho = case.removesuffix(WEIGHTS).removesuffix(ORIGINS).partition(SAM)
    backbone = build_backbone("mlp", shape=(WIDTH,))
    network = Network(backbone, Head(backbone.widths, CLASSES, bottleneck=8, dropout=0.3))
    method = build_method(name, network.widths, {"discriminator_width": 16})
    trainer = Trainer(fabric, network, method, steps=4, sam_rho=float(rho or 0), origin_weights=(0.3, 0.7))
    trainer.step = 1  # λ is 0 at step 0
    generator = torch.Generator().manual_seed(1)
    batches = []
    for n, m in SIZES:
        rows = [torch.randn(size, WIDTH, generator=generator) + shift for size, shift in ((n, 0.0), (m, 0.7))]
        labels = torch.randint(CLASSES, (n,), generator=generator)
        weights = torch.arange(1.0, n + 1) if case.endswith(WEIGHTS) else None
        part_s, part_t = (list(shard(size, fabric.global_rank, fabric.world_size)) for size in (n, m))
        w_s = None if weights is None else weights[part_s]
        o_s = torch.arange(n)[part_s] % 2 if case.endswith(ORIGINS) else None
        batches.append(Batch(rows[0][part_s], labels[part_s], rows[1][part_t], w_s, o_s))
    terms, gradients = [], None
    for record in trainer.train(batches):
        terms += [record.risk, record.transfer]
        if gradients is None:
            gradients = [p.grad.flatten() for p in trainer.objective.parameters() if p.grad is not None]
    assert gradients is not None
    state = [tensor.flatten() for tensor in trainer.objective.state_dict().values() if tensor.is_floating_point()]
    later = torch.cat([torch.stack(terms), *state])
    parts = {"terms": torch.stack(terms[:2]), "gradients": torch.cat(gradients), "trained": later}
    return {key: value.detach().double().clone() for key, value in parts.items()}


def reduced(ranks: Ranks) -> Numbers:
    """Return JMMD² of Fourier features and its gradient, from the sums of ranks that never gather their rows."""
    generator = torch.Generator().manual_seed(2)
    n, m = SIZES[1]
    widths = (5, 3)
    samples = [[torch.randn(size, width, generator=generator).double() for width in widths] for size in (n, m)]
    own = [list(shard(size, ranks.rank, ranks.count)) for size in (n, m)]
    source, target = (
        [layer[part].requires_grad_() for layer in layers] for layers, part in zip(samples, own, strict=True)
    )
    value = jmmd_fourier(source, target, generator=torch.Generator().manual_seed(3), reduce=ranks.sum)
    gradients = torch.autograd.grad(value, [*source, *target])
    lengths = ranks.numbers(*map(len, own), device=value.device)
    parts = [[sizes[:1] for sizes in lengths]] * len(widths) + [[sizes[1:] for sizes in lengths]] * len(widths)
    whole = [ranks.gather(g / ranks.count, part).flatten() for g, part in zip(gradients, parts, strict=True)]
    return {"terms": value.detach()[None], "gradients": torch.cat(whole), "trained": torch.zeros(1)}


def train_all(ranks: int, cases: Sequence[str] = CASES) -> dict[tuple[str, str], Numbers]:
    """Return the numbers of this process for each (precision, case), as one of so many ranks."""
    torch.set_num_threads(1)
    found = {}
    for precision in PRECISIONS:
        strategy: Any = "ddp" if ranks > 1 else "auto"
        fabric = Fabric(accelerator="cpu", devices=ranks, strategy=strategy, precision=precision)  # pyright: ignore[reportArgumentType]
        fabric.launch()
        for case in cases:
            found[precision, case] = train(fabric, case)
    found["64-true", REDUCED] = reduced(Ranks(fabric.global_rank, ranks))
    return found


def _rank(rank: int, ranks: int, port: int, cases: Sequence[str], folder: Path) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0")
    torch.save(train_all(ranks, cases), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def on_ranks(ranks: int, cases: Sequence[str] = CASES) -> list[dict[tuple[str, str], Numbers]]:
    """Return what `train_all` gives on each of so many new processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jointadapt.training.trainer", "jointadapt.methods"])
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        arguments = [(rank, ranks, port, cases, Path(folder)) for rank in range(ranks)]
        processes = [context.Process(target=_rank, args=one) for one in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError(f"a rank ended with {[process.exitcode for process in processes]}")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def difference(found: Numbers, alone: Numbers) -> dict[str, float]:
    """Return the largest differences, of each kind relative to the largest number of it, or to 1 if that is more."""
    scales = {key: float(alone[key].abs().max()) for key in alone}
    scales = {key: scale if key == "gradients" else max(scale, 1) for key, scale in scales.items()}
    return {key: float((found[key] - alone[key]).abs().max()) / scale for key, scale in scales.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    arguments = parser.parse_args()
    alone = train_all(1)
    found = [one for ranks in arguments.ranks for one in on_ranks(ranks)]
    kinds = ("terms", "gradients", "after 3 steps")
    print(f"| method | {' | '.join(f'{kind}, {bits}' for bits in PRECISIONS for kind in kinds)} |")
    print("|:---|" + "---:|" * (len(kinds) * len(PRECISIONS)))
    for name in [*CASES, REDUCED]:
        cells = []
        for key in ((precision, name) for precision in PRECISIONS):
            worst = [difference(one[key], alone[key]) for one in found] if key in alone else []
            cells += [f"{max(each[kind] for each in worst):.1e}" if worst else "" for kind in alone["64-true", name]]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\nThe largest over all ranks of {arguments.ranks}; torch {torch.__version__}, gloo on one CPU machine")


if __name__ == "__main__":
    main()
