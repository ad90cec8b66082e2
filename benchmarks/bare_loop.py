"""A training step of ours beside a loop of plain PyTorch that does the same and nothing else.

    python benchmarks/bare_loop.py [--widths 512 2048] [--steps 60] [--rounds 13]

36 + 36 rows of cached features, bottleneck 256, 31 classes, float32, one thread. The bare loop draws rows, passes both
domains through one bottleneck, and steps a fused SGD: no checkpoints, no records, no look at what may go wrong, no
shuffling. Ours is `Trainer.train` on `Batches`, as `jointadapt train` runs it. Both take turns in one process; times
are CPU time, since others may use the machine, and ratios medians over rounds.
"""

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jointadapt.data import from_arrays
from jointadapt.data.batches import Batches
from jointadapt.discrepancy import jan_kernels, jmmd_unbiased
from jointadapt.methods import METHODS, Method
from jointadapt.networks.features import PrecomputedFeatures
from jointadapt.networks.network import Activations, Head, Network
from jointadapt.training.trainer import Trainer

ROWS, BATCH, CLASSES, STEPS = 720, 36, 31, 10**6
Steps = Callable[[int], None]


class NoTransfer(Method):
    """Both domains pass the network; nothing is added."""

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return 0 that depends on the target, so that its rows are passed back too."""
        return 0 * (source.logits.sum() + target.logits.sum())


def bare(x_s: Tensor, y_s: Tensor, x_t: Tensor, jmmd: bool) -> Steps:
    """Return the loop without us; of JAN its JMMD alone is ours."""
    body = nn.Sequential(nn.Linear(x_s.shape[1], 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Dropout(0.5))
    classifier, kernels, done = nn.Linear(256, CLASSES), jan_kernels(2), 0
    parameters = [*body.parameters(), *classifier.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)

    def steps(count: int) -> None:
        nonlocal done
        for _ in range(count):
            rows_s, rows_t = torch.randint(ROWS, (BATCH,)), torch.randint(ROWS, (BATCH,))
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + 10 * done / STEPS) ** 0.75
            optimizer.zero_grad()
            features = body(torch.cat([x_s[rows_s], x_t[rows_t]]))
            logits = classifier(features)
            loss = cross_entropy(logits[:BATCH], y_s[rows_s])
            if jmmd:
                p = logits.softmax(1)
                source, target = [features[:BATCH], p[:BATCH]], [features[BATCH:], p[BATCH:]]
                loss = loss + 0.5 * jmmd_unbiased(source, target, kernels)
            else:
                loss = loss + 0 * logits[BATCH:].sum()
            loss.backward()
            optimizer.step()
            done += 1

    return steps


def ours(x_s: Tensor, y_s: Tensor, x_t: Tensor, method: type[Method], **options: int) -> Steps:
    """Return the steps of a trainer."""
    source, target = from_arrays(x_s.numpy(), y_s.numpy(), "source"), from_arrays(x_t.numpy(), None, "target")
    network = Network(PrecomputedFeatures(x_s.shape[1:]), Head(x_s.shape[1:], CLASSES), frozen=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(fabric, network, method(network.widths, **options), steps=STEPS)
    batches = Batches(source, target, BATCH, seed=0)

    def steps(count: int) -> None:
        for _ in trainer.train(batches.iterate(trainer.step, trainer.step + count)):
            trainer.fault(look=trainer.step % 16 == 0)

    return steps


def main() -> None:
    """Print the table of each width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--steps", type=int, default=60, help="steps of each contender in a round")
    parser.add_argument("--rounds", type=int, default=13)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| d | step | ms | × bare | × ours without adaptation |\n|---:|:---|---:|---:|---:|")
    for width in arguments.widths:
        torch.manual_seed(0)
        data = torch.randn(ROWS, width), torch.arange(ROWS) % CLASSES, torch.randn(ROWS, width) + 0.1
        contenders: dict[str, tuple[str, Steps]] = {
            "no adaptation, bare": ("no adaptation, bare", bare(*data, jmmd=False)),
            "no adaptation, ours": ("no adaptation, bare", ours(*data, NoTransfer)),
            "JAN, bare": ("JAN, bare", bare(*data, jmmd=True)),
            "JAN, ours": ("JAN, bare", ours(*data, METHODS["jan"])),
            "DANN, ours, 1,024 wide": ("", ours(*data, METHODS["dann"])),
            "DANN, ours, 256 wide": ("", ours(*data, METHODS["dann"], discriminator_width=256)),
        }
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(arguments.rounds + 1):
            for name, (_, steps) in contenders.items():
                started = time.process_time()
                steps(arguments.steps)
                if number:  # the first round warms up
                    taken[name].append((time.process_time() - started) / arguments.steps)
        for name, (base, _) in contenders.items():
            to_bare = f"{_ratio(taken[name], taken[base]):.2f}" if base else ""
            to_ours = _ratio(taken[name], taken["no adaptation, ours"])
            print(f"| {width} | {name} | {1000 * median(taken[name]):.2f} | {to_bare} | {to_ours:.2f} |")
    print(f"\n{platform.machine()}, one thread, CPU time, torch {torch.__version__}")


def _ratio(times: list[float], base: list[float]) -> float:
    return median(own / other for own, other in zip(times, base, strict=True))


if __name__ == "__main__":
    main()
