"""What training K heads as one could give: JAN's step of K seeds one after the other, by vmap, and stacked by hand.

    python benchmarks/stacked_heads.py [--widths 512 2048] [--runs 8] [--rounds 9]

Plain PyTorch and our JMMD, no trainer: 36 + 36 rows of cached features, bottleneck 256, 10 classes, float32, a thread.
Dropout masks are drawn run by run from a generator each. CPU time, in turns in one process, medians over rounds; the
ratio is to one run.
"""

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import batch_norm, cross_entropy

from jointadapt.discrepancy import jan_kernels, jmmd_unbiased
from jointadapt.discrepancy.each import jmmd_unbiased_each

ROWS, CLASSES, WIDTH, TIMES = 36, 10, 256, 25
KERNELS = jan_kernels(2)


class Head(nn.Module):
    """Bottleneck and classifier, the dropout mask given."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.W, self.b = nn.Parameter(torch.randn(WIDTH, inputs) * 0.005), nn.Parameter(torch.full((WIDTH,), 0.1))
        self.gain, self.shift = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.zeros(WIDTH))
        self.V, self.c = nn.Parameter(torch.randn(CLASSES, WIDTH) / 16), nn.Parameter(torch.zeros(CLASSES))

    def forward(self, x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
        """Return J = risk + ½ JMMD²."""
        hidden = batch_norm(x @ self.W.T + self.b, None, None, self.gain, self.shift, training=True)
        features = torch.relu(hidden) * mask
        logits = features @ self.V.T + self.c
        (f_s, f_t), (p_s, p_t) = features.split(ROWS), logits.softmax(1).split(ROWS)
        return cross_entropy(logits[:ROWS], y) + 0.5 * jmmd_unbiased([f_s, p_s], [f_t, p_t], KERNELS)


class Linear(torch.autograd.Function):
    """K linear layers of K batches; the gradient of the weights comes as they lie, not transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        """Return x Wᵀ + b."""
        ctx.save_for_backward(x, W)
        return torch.baddbmm(b[:, None], x, W.mT)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return the gradients."""
        x, W = ctx.saved_tensors
        back = torch.bmm(grads[0], W) if ctx.needs_input_grad[0] else None
        return back, torch.bmm(grads[0].mT, x), grads[0].sum(1)


def stacked_loss(weights: list[Tensor], x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
    """Return the sum of the K losses."""
    W, b, gain, shift, V, c = weights
    runs, rows, _ = x.shape
    flat = Linear.apply(x, W, b).transpose(0, 1).reshape(rows, -1)
    hidden = batch_norm(flat, None, None, gain.view(-1), shift.view(-1), training=True).relu_()
    features = mask * hidden.view(rows, runs, WIDTH).transpose(0, 1)
    logits = Linear.apply(features, V, c)
    (f_s, f_t), (p_s, p_t) = features.split(ROWS, 1), logits.softmax(2).split(ROWS, 1)
    risks = ROWS**-1 * cross_entropy(logits[:, :ROWS].flatten(0, 1), y.flatten(), reduction="sum")
    return risks + 0.5 * jmmd_unbiased_each([f_s, p_s], [f_t, p_t], KERNELS).sum()


def sgd(weights: list[Tensor]) -> torch.optim.Optimizer:
    """Return the optimizer of all contenders."""
    return torch.optim.SGD(weights, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)


def contenders(width: int, runs: int) -> dict[str, Callable[[], None]]:
    """Return a step of each by its name."""
    x, y = torch.randn(runs, 2 * ROWS, width), torch.arange(ROWS).remainder(CLASSES).repeat(runs, 1)
    generators = [torch.Generator().manual_seed(run) for run in range(runs)]

    def masks(count: int) -> Tensor:
        drawn = torch.empty(count, 2 * ROWS, WIDTH)
        for mask, generator in zip(drawn, generators, strict=False):
            mask.bernoulli_(0.5, generator=generator)
        return drawn.mul_(2)

    def one_by_one(count: int) -> Callable[[], None]:
        heads = [Head(width) for _ in range(count)]
        optimizers = [sgd([*head.parameters()]) for head in heads]

        def step() -> None:
            for k, (head, optimizer) in enumerate(zip(heads, optimizers, strict=True)):
                optimizer.zero_grad()
                head(x[k], masks(1)[0], y[k]).backward()
                optimizer.step()

        return step

    def by_hand() -> Callable[[], None]:
        weights = [
            torch.stack(each).detach().requires_grad_() for each in zip(*map(_weights, range(runs)), strict=True)
        ]
        optimizer = sgd(weights)

        def step() -> None:
            optimizer.zero_grad()
            stacked_loss(weights, x, masks(runs), y).backward()
            optimizer.step()

        return step

    def by_vmap() -> Callable[[], None]:
        head = Head(width)
        names = [name for name, _ in head.named_parameters()]
        weights = [
            torch.stack(each).detach().requires_grad_() for each in zip(*map(_weights, range(runs)), strict=True)
        ]
        optimizer = sgd(weights)
        gradients = vmap(grad(lambda p, *batch: functional_call(head, p, batch)))

        def step() -> None:
            found = gradients(dict(zip(names, weights, strict=True)), x, masks(runs), y)
            for name, weight in zip(names, weights, strict=True):
                weight.grad = found[name].detach()
            optimizer.step()

        return step

    def _weights(_: int) -> list[Tensor]:
        return [p.detach() for p in Head(width).parameters()]

    return {
        "one run": one_by_one(1),
        f"{runs} runs, one by one": one_by_one(runs),
        f"{runs} runs, vmap": by_vmap(),
        f"{runs} runs, stacked": by_hand(),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| d | step of | ms | × one run |\n|---:|:---|---:|---:|")
    for width in arguments.widths:
        taken: dict[str, list[float]] = {}
        steps = contenders(width, arguments.runs)
        for number in range(arguments.rounds + 1):
            for name, step in steps.items():
                started = time.process_time()
                for _ in range(TIMES):
                    step()
                if number:  # the first round warms up
                    taken.setdefault(name, []).append((time.process_time() - started) / TIMES)
        for name, times in taken.items():
            ratio = median(own / base for own, base in zip(times, taken["one run"], strict=True))
            print(f"| {width} | {name} | {1000 * median(times):.2f} | {ratio:.2f} |")
    print(f"\n{platform.machine()}, one thread, CPU time, torch {torch.__version__}")


if __name__ == "__main__":
    main()
