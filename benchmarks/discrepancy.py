"""Time and memory of one training step's JMMD (forward + backward), ours beside other ways to compute it.

    python benchmarks/discrepancy.py [--device cuda] [--threads 1] [--cases 36x256 512x2048] [--plot FILE]

Layers have d and 31 columns, n rows in source and target each, float32. Times are medians of rounds in which all forms
take turns in one process, so that their ratios hold on a busy machine. The floor is what the arithmetic alone costs
here, K's symmetry unused: two products of 2 (2n)² (d + 31) flops at the sgemm rate and 2 (2n)² exponentials at the exp
rate, both measured in the same rounds. Memory is the peak beyond the inputs, returned gradients included, of a fresh
process for each form.
"""

import argparse
import importlib
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from jointadapt.discrepancy import jmmd_biased, jmmd_block, jmmd_linear, joint_gram, mmd_biased

CLASSES = 31
CASES = ["36x256", "36x2048", "512x256", "512x2048", "2048x256", "2048x2048", "8192x256"]
TURN, SLOW = 0.01, 2.0  # the least seconds that a turn lasts; a form that takes longer than SLOW is timed once
Form = Callable[[list[Tensor], list[Tensor]], Tensor]


def inputs(n: int, d: int, device: str) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def layers(shift: float) -> list[Tensor]:
        features = torch.randn(n, d, generator=generator) + shift
        predictions = torch.randn(n, CLASSES, generator=generator).softmax(1)
        return [rows.to(device).requires_grad_() for rows in (features, predictions)]

    return layers(0.0), layers(0.2)


# The other ways, written from the formulas


def block_weights(n: int, like: Tensor) -> Tensor:
    signs = torch.cat([like.new_full((n,), 1 / n), like.new_full((n,), -1 / n)])
    return signs[:, None] * signs


def broadcast_form(source: list[Tensor], target: list[Tensor]) -> Tensor:
    """Eq. (7) as it reads: all differences as one N × N × d tensor a layer."""
    K: Tensor | float = 1.0
    for layer, rows in enumerate(torch.cat(pair) for pair in zip(source, target, strict=True)):
        distances = (rows[None] - rows[:, None]).square().sum(-1)
        gamma = distances.detach().sum() / (len(rows) * (len(rows) - 1)) if layer == 0 else 1.68
        scales = (0.25, 0.5, 1, 2, 4) if layer == 0 else (1,)
        K = K * sum(torch.exp(-distances / (gamma * scale)) for scale in scales)
    assert isinstance(K, Tensor)
    return (block_weights(len(source[0]), K) * K).sum()


def tllib_form(source: list[Tensor], target: list[Tensor]) -> Tensor:
    """The algorithm of TLLib's JMMD: each of the five kernels forms the N × N × d differences and their mean anew."""
    K: Tensor | float = 1.0
    for layer, rows in enumerate(torch.cat(pair) for pair in zip(source, target, strict=True)):
        values: Tensor | float = 0.0
        for scale in (0.25, 0.5, 1, 2, 4) if layer == 0 else (1,):
            distances = (rows[None] - rows[:, None]).square().sum(-1)
            gamma = scale * distances.detach().mean() if layer == 0 else 1.68
            values = values + torch.exp(-distances / gamma)
        K = K * values
    assert isinstance(K, Tensor)
    return (block_weights(len(source[0]), K) * K).sum()


def autograd_form(source: list[Tensor], target: list[Tensor]) -> Tensor:
    """One product for the distances, the rest plain autograd: our own `joint_gram`."""
    return mmd_biased(joint_gram(source, target), len(source[0]))


def outsiders() -> dict[str, Form]:
    found: dict[str, Form] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loss = importlib.import_module("pytorch_adapt.layers").MMDLoss(
                kernel_scales=torch.tensor([0.25, 0.5, 1.0, 2.0, 4.0]), mmd_type="quadratic"
            )
            found["pytorch-adapt (unbiased; 5 Gaussians on both layers)"] = loss
        except ImportError:
            pass
        try:
            dan = importlib.import_module("skada.deep.losses").dan_loss
            found["skada (features only; distance not squared)"] = lambda s, t: dan(s[0], t[0], sigmas=[1, 2, 4, 8, 16])
        except ImportError:
            pass
    return found


# Name → function and a low estimate of the floats it needs, given N = 2n and d
FORMS: dict[str, tuple[Form, Callable[[int, int], float]]] = {
    "jointadapt": (jmmd_biased, lambda N, d: 3 * N * d),
    "plain autograd": (autograd_form, lambda N, _: 25 * N**2),
    "broadcast N×N×d": (broadcast_form, lambda N, d: 3 * N**2 * d),
    "TLLib's algorithm": (tllib_form, lambda N, d: 7 * N**2 * d),
    "jointadapt, blocks of √n": (jmmd_block, lambda N, d: 8 * N * d),
    "jointadapt, linear": (jmmd_linear, lambda N, d: 8 * N * d),
}


def step(form: Form, source: list[Tensor], target: list[Tensor]) -> None:
    torch.autograd.grad(form(source, target), [*source, *target], allow_unused=True)


def timed(function: Callable[[], object], device: str, times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        function()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def measure(n: int, d: int, device: str, limit: float, share: float) -> tuple[dict[str, float], dict[str, str], float]:
    """Return median seconds by form, reasons for those left out, and the floor in seconds."""
    source, target = inputs(n, d, device)
    work: dict[str, Callable[[], object]] = {}
    skipped: dict[str, str] = {}
    for name, (form, floats) in FORMS.items():
        if (needed := 4 * floats(2 * n, d)) > limit:
            skipped[name] = f"needs over {needed / 1e9:.1f} GB"
        else:
            work[name] = lambda form=form: step(form, source, target)
    side, numbers = 1024, 2**18
    a, b, c = (torch.randn(side, side, device=device) for _ in range(3))
    e = torch.rand(numbers, device=device)
    work["sgemm"] = lambda: torch.mm(a, b, out=c)
    work["exp"] = lambda: torch.exp(e, out=c.view(-1)[:numbers])
    first = {name: timed(function, device) for name, function in work.items()}  # loads, allocates
    first = {name: timed(work[name], device) if seconds < 1 else seconds for name, seconds in first.items()}
    repeats = {name: max(1, int(TURN / seconds)) for name, seconds in first.items()}
    rounds = {name: int(min(max(share / first[name] / repeats[name], 3), 60)) for name in work}
    rounds |= dict.fromkeys([name for name, seconds in first.items() if seconds > SLOW], 0)
    times: dict[str, list[float]] = {name: [first[name]] if rounds[name] == 0 else [] for name in work}
    for index in range(max(rounds.values())):
        for name, function in work.items():
            if index < rounds[name]:
                times[name].append(timed(function, device, repeats[name]))
    medians = {name: statistics.median(values) for name, values in times.items()}
    per_flop, per_exp = medians.pop("sgemm") / (2 * side**3), medians.pop("exp") / numbers
    pairs = (2 * n) ** 2
    return medians, skipped, 4 * pairs * (d + CLASSES) * per_flop + 2 * pairs * per_exp


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def peak(name: str, n: int, d: int, device: str) -> float:
    """Return the bytes one step needs beyond the inputs; to be called in a fresh process."""
    form = FORMS[name][0] if name in FORMS else outsiders()[name]
    step(form, *inputs(4, d, device))  # load libraries and kernels
    step(form, *inputs(200, 4, device))
    source, target = inputs(n, d, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(form, source, target)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from now
    before = status("VmRSS")
    step(form, source, target)
    return status("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="NxD")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=8.0, help="GB a form may need before it is left out")
    parser.add_argument("--seconds", type=float, default=4.0, help="each form's share of a case")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        name, n, d = arguments.peak
        print(json.dumps(peak(name, int(n), int(d), arguments.device)))
        return
    FORMS.update({name: (form, lambda N, _: 15 * N**2) for name, form in outsiders().items()})
    print(f"{machine(arguments.device)}, {arguments.threads} thread(s), float32; " + ", ".join(versions()))
    print("\n| n | d | form | ms | × floor | × jointadapt | MB |\n|---:|---:|:---|---:|---:|---:|---:|")
    rows = []
    for case in arguments.cases:
        n, d = (int(number) for number in case.split("x"))
        medians, skipped, floor = measure(n, d, arguments.device, arguments.limit * 1e9, arguments.seconds)
        ours = medians["jointadapt"]
        print(f"| {n} | {d} | floor | {floor * 1e3:.3g} | 1 | {floor / ours:.2g} | |")
        for name in FORMS:
            if name in skipped:
                print(f"| {n} | {d} | {name} | {skipped[name]} | | | |")
                continue
            command = [sys.executable, __file__, "--device", arguments.device, "--threads", str(arguments.threads)]
            command += ["--peak", name, str(n), str(d)]
            megabytes = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6
            seconds = medians[name]
            rows.append((name, n, d, seconds, max(megabytes, 1)))  # less drowns in what the allocator keeps
            size = f"{megabytes:.0f}" if megabytes >= 1 else "< 1"
            print(
                f"| {n} | {d} | {name} | {seconds * 1e3:.3g} | {seconds / floor:.2f} | {seconds / ours:.3g} | {size} |",
                flush=True,
            )
    if arguments.plot:
        plot(rows, arguments.plot)


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for name in ("torch", "pytorch-adapt", "skada"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return found


def plot(rows: list[tuple[str, int, int, float, float]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    dims = sorted({d for _, _, d, _, _ in rows})
    for colour, name in enumerate(FORMS):
        for d, style in zip(dims, ("-", "--", ":", "-.") * len(dims), strict=False):
            points = sorted((n, seconds * 1e3, size) for form, n, k, seconds, size in rows if (form, k) == (name, d))
            for axis, column in zip(axes, (1, 2), strict=True):
                values, label = [point[column] for point in points], f"{name}, d = {d}"
                axis.plot([p[0] for p in points], values, style, marker="o", color=f"C{colour}", label=label)
    for axis, label in zip(axes, ("forward + backward, ms", "extra memory, MB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="rows of each sample", ylabel=label)
        sizes = sorted({n for _, n, *_ in rows})
        axis.set_xticks(sizes, labels=[f"{n:,}" for n in sizes])
        axis.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    figure.savefig(file)


if __name__ == "__main__":
    main()
