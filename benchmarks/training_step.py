"""What a transfer term adds to a training step on cached features: 36 + 36 rows of 2048, bottleneck 256, 31 classes.

    python benchmarks/training_step.py [--steps 100] [--rounds 15] [--device cpu]

Interleaved rounds in one process; a ratio is the median over rounds of a step's time to that of the step without
adaptation. "no transfer" passes both domains and adds nothing; "source-only" passes the source alone.
"""

import argparse
import platform
import time
from statistics import median

import torch
from lightning_fabric import Fabric
from torch import Tensor

from jointadapt.data.batches import Batch
from jointadapt.discrepancy.constants import FIVE_SCALES
from jointadapt.methods import METHODS, Method
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.network import Activations, Head, Network
from jointadapt.training.trainer import Trainer

ROWS, WIDTH, CLASSES = 36, 2048, 31


class NoTransfer(Method):
    """Both domains pass the network; nothing is added."""

    def __init__(self, widths: tuple[int, ...]) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return 0 that depends on the target, so that its rows are passed back too."""
        return 0 * (source.logits.sum() + target.logits.sum())


class Broadcast(Method):
    """JMMD as public codes write it: differences of all pairs (N, N, d), one exp a scale."""

    def __init__(self, widths: tuple[int, ...]) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the unbiased JMMD²."""
        K = 1
        for layer, (s, t) in enumerate(zip(source.layers, target.layers, strict=True)):
            z = torch.cat([s, t])
            distances = (z[None] - z[:, None]).square().sum(2)
            if layer == len(source.layers) - 1:
                K = K * torch.exp(-distances / 1.68)
            else:
                mean = distances.detach().sum() / (len(z) * (len(z) - 1))
                K = K * sum(torch.exp(-distances / (mean * scale)) for scale in FIVE_SCALES)
        n = len(source.logits)
        ss, tt, st = K[:n, :n], K[n:, n:], K[:n, n:]
        within = (ss.sum() - ss.trace() + tt.sum() - tt.trace()) / (n * (n - 1))
        return within - 2 * st.mean()


CONTENDERS = {
    "no transfer": NoTransfer,
    **{name: METHODS[name] for name in ("source-only", "dan", "dann", "jan", "jan-a")},
    "JMMD by broadcasting": Broadcast,
}


def main() -> None:
    """Time each contender in turn, round by round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="steps of each contender in a round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fabric = Fabric(accelerator=arguments.device, devices=1)
    torch.manual_seed(0)
    x_s, x_t = torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH) + 0.1
    batch = Batch(x_s, torch.arange(ROWS) % CLASSES, x_t).to(fabric.device)
    trainers = {}
    for name, kind in CONTENDERS.items():
        network = Network(build_backbone("none", shape=(WIDTH,)), Head((WIDTH,), CLASSES))
        trainers[name] = Trainer(fabric, network, kind(network.widths), steps=10**6)
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(arguments.rounds + 1):
        for name, trainer in trainers.items():
            started = time.perf_counter()
            for _ in trainer.train([batch] * arguments.steps):
                pass
            if fabric.device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                seconds[name].append((time.perf_counter() - started) / arguments.steps)
    print("| step | ms | × no transfer |\n|:---|---:|---:|")
    for name, times in seconds.items():
        ratio = median(own / base for own, base in zip(times, seconds["no transfer"], strict=True))
        print(f"| {name} | {1000 * median(times):.2f} | {ratio:.2f} |")
    print(f"\n{platform.machine()}, {fabric.device}, {arguments.threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
