"""The methods of pytorch-adapt and skada beside ours: the same frozen features, tasks, seeds, head and budget.

    pip install pytorch-adapt skada skorch
    python benchmarks/peers.py --root DIR --backbone squeezenet1_0 --weights FILE [--seeds 2] [--steps 600]

Each trains a bottleneck of 256 with BatchNorm, ReLU and dropout before a linear classifier, by SGD on 36 rows of each
domain a step, at the learning rates of jointadapt's defaults; what weighs or shapes a loss is each library's own
default. pytorch-adapt gets our batches; skada draws its own, whole epochs of at least as many steps. skada's shallow
methods, whose optimal transport is POT's, move or weigh the standardised features before a logistic regression; they
draw nothing, and are run once. Prints a Markdown table: percent of target rows of the last checkpoint, mean over the
seeds, and seconds a run on one thread; "fails" where a method ends in an error or in numbers that are not finite.
"""

import argparse
import importlib.metadata
import itertools
import math
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from frozen import frozen_features
from torch import Tensor, nn

from jointadapt import train
from jointadapt.data import Batches, Domain, align
from jointadapt.data.benchmarks import load_benchmark
from jointadapt.training.schedules import learning_rate

BATCH, WIDTH, RATE = 36, 256, 0.01
PER_COLUMN = object()  # an option that is as large as the rows have columns, as their squared distances are
Predictions = Tensor
Method = Callable[[Domain, Domain, int, int], Predictions]


def main() -> None:
    """Extract features once, then train every method on every task with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="office-caltech10")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", default="", help="methods whose name holds this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    benchmark = load_benchmark(arguments.benchmark)
    domains = frozen_features(benchmark, arguments.root, arguments.backbone, arguments.weights)
    tasks = list(itertools.permutations(domains, 2))
    print(f"{arguments.backbone}, frozen, {arguments.seeds} seeds, {arguments.steps} steps\n")
    print("| method |", " | ".join(benchmark.short(task) for task in tasks), "| mean | seconds |")
    print("|:---|", "---:|" * (len(tasks) + 2), sep="")
    for name, method in METHODS.items():
        if arguments.only not in name:
            continue
        started = time.perf_counter()
        seeds = range(1 if "shallow" in name else arguments.seeds)
        try:
            rows = [
                [accuracy(method, domains[s], domains[t], arguments.steps, seed) for s, t in tasks] for seed in seeds
            ]
        except (ValueError, RuntimeError) as error:
            print(f"| {name} | fails: {str(error).splitlines()[0]} |", flush=True)
            continue
        seconds = (time.perf_counter() - started) / (len(tasks) * len(seeds))
        overall = [mean(row) for row in rows]
        error = f" ± {stdev(overall) / len(overall) ** 0.5:.1f}" if len(overall) > 1 else ""
        cells = " | ".join(f"{mean(column):.1f}" for column in zip(*rows, strict=True))
        print(f"| {name} | {cells} | {mean(overall):.1f}{error} | {seconds:.1f} |", flush=True)
    versions = (f"{name} {importlib.metadata.version(name)}" for name in ("pytorch-adapt", "skada", "POT", "torch"))
    print(f"\n{', '.join(versions)}, Python {platform.python_version()}, one thread")


def accuracy(method: Method, source: Domain, target: Domain, steps: int, seed: int) -> float:
    """Return the percent of target rows that a method gets right; it sees none of their labels."""
    target, _ = align(source, target)
    predicted = method(source, target.unlabelled(), steps, seed)
    return 100 * (predicted == target.labels).double().mean().item()


def head(inputs: int, classes: int) -> nn.Sequential:
    """Return the layers that every method trains: (bottleneck, classifier), initialised as `Network` does."""
    linear = nn.Linear(inputs, WIDTH)
    nn.init.normal_(linear.weight, std=0.005)
    nn.init.constant_(linear.bias, 0.1)
    bottleneck = nn.Sequential(linear, nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(0.5))
    return nn.Sequential(bottleneck, nn.Linear(WIDTH, classes))


def ours(name: str) -> Method:
    """Return a method of jointadapt, with its defaults."""

    def run(source: Domain, target: Domain, steps: int, seed: int) -> Predictions:
        run = train(source, target, method=name, steps=steps, seed=seed, backbone="none", baseline=False, report=False)
        return run.model.predict_proba(target).argmax(1)

    return run


def pytorch_adapt(name: str) -> Method:
    """Return a method of pytorch-adapt as a loop over our batches."""

    def run(source: Domain, target: Domain, steps: int, seed: int) -> Predictions:
        from pytorch_adapt import hooks
        from pytorch_adapt.layers import MMDLoss
        from pytorch_adapt.layers.utils import get_kernel_scales
        from pytorch_adapt.models import Discriminator

        torch.manual_seed(seed)
        generator, classifier = head(source.shape[0], len(source.classes))
        discriminator = Discriminator(in_size=WIDTH, h=1024)
        models = {"G": generator, "C": classifier, **({"D": discriminator} if name == "dann" else {})}
        optimizer = sgd(nn.ModuleDict(models))
        loss = MMDLoss(kernel_scales=get_kernel_scales(low=-2, high=2, num_kernels=5), mmd_type="quadratic")
        hook = {
            "dan": lambda: hooks.AlignerPlusCHook([optimizer], loss_fn=loss),
            "jan": lambda: hooks.AlignerPlusCHook([optimizer], aligner_hook=hooks.JointAlignerHook(loss_fn=loss)),
            "dann": lambda: hooks.DANNHook([optimizer]),
            "mcc": lambda: hooks.ClassifierHook([optimizer], post=[hooks.MCCHook()]),
            "bnm": lambda: hooks.ClassifierHook([optimizer], post=[hooks.BNMHook()]),
        }[name]()
        domain_s, domain_t = torch.zeros(BATCH), torch.ones(BATCH)
        for step, (x_s, y_s, x_t, _) in enumerate(Batches(source, target, BATCH, seed).iterate(0, steps)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step / steps, RATE)
            batch = {"src_imgs": x_s, "src_labels": y_s, "target_imgs": x_t}
            hook({**models, **batch, "src_domain": domain_s, "target_domain": domain_t})
        return predict(nn.Sequential(generator, classifier), target)

    return run


def skada(name: str) -> Method:
    """Return a method of skada as a skorch net."""

    def run(source: Domain, target: Domain, steps: int, seed: int) -> Predictions:
        from skada import deep
        from skorch.callbacks import LRScheduler

        torch.manual_seed(seed)
        steps_an_epoch = max(len(source), len(target)) // BATCH
        schedule = LRScheduler("LambdaLR", step_every="batch", lr_lambda=lambda step: learning_rate(step / steps, 1.0))
        sizes = {"num_features": WIDTH, "n_classes": len(source.classes)}
        own = {"DANN": ("num_features",), "CDAN": ("num_features", "n_classes"), "MDD": ("num_features", "n_classes")}
        net = getattr(deep, name)(
            Head(source.shape[0], len(source.classes)),
            layer_name="bottleneck",
            **{option: sizes[option] for option in own.get(name, ())},
            batch_size=BATCH,
            max_epochs=math.ceil(steps / steps_an_epoch),
            optimizer=torch.optim.SGD,
            optimizer__momentum=0.9,
            optimizer__nesterov=True,
            optimizer__weight_decay=5e-4,
            lr=RATE,
            train_split=None,
            callbacks=[schedule],
            verbose=0,
        )
        x = torch.cat([source.content, target.content]).numpy()
        y = torch.cat([source.labels, torch.full_like(target.labels, -1)]).numpy()
        domain = torch.cat([torch.full((len(source),), 1), torch.full((len(target),), -2)]).numpy()
        net.fit(x, y, sample_domain=domain)
        return predict(net.module_.base_module_, target)

    return run


def shallow(name: str, **options: Any) -> Method:
    """Return a method of skada that learns without a network; "" is a logistic regression alone."""

    def run(source: Domain, target: Domain, steps: int, seed: int) -> Predictions:  # noqa: ARG001
        import skada
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        regression = LogisticRegression(max_iter=1000).set_fit_request(sample_weight=True)
        own = {option: source.shape[0] if value is PER_COLUMN else value for option, value in options.items()}
        adapters = [getattr(skada, f"{name}Adapter")(**own)] if name else []
        pipeline = skada.make_da_pipeline(StandardScaler(), *adapters, regression)
        x = torch.cat([source.content, target.content]).double().numpy()
        y = torch.cat([source.labels, torch.full_like(target.labels, -1)]).numpy()
        domain = torch.cat([torch.full((len(source),), 1), torch.full((len(target),), -2)]).numpy()
        pipeline.fit(x, y, sample_domain=domain)
        return torch.from_numpy(pipeline.predict(target.content.double().numpy(), sample_domain=domain[len(source) :]))

    return run


class Head(nn.Module):
    """`head` as skada calls it, with a layer it can find by name."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.bottleneck, self.classifier = head(inputs, classes)

    def forward(self, x: Tensor, sample_weight: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the logits."""
        return self.classifier(self.bottleneck(x))


def sgd(module: nn.Module) -> torch.optim.SGD:
    """Return the optimizer of jointadapt's trainer."""
    return torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)


@torch.inference_mode()
def predict(module: nn.Module, target: Domain) -> Predictions:
    """Return the most probable class of each target row."""
    return module.eval()(target.content).argmax(1)


OWN = ("source-only", "dan", "dann", "jan", "cdan", "coral", "mcc", "bnm", "jan+mcc")
SHALLOW: dict[str, dict[str, Any]] = {
    "CORAL": {},
    "SubspaceAlignment": {"n_components": 100},
    "TransferComponentAnalysis": {},
    "KMMReweight": {},
    "LinearOTMapping": {"reg": 0.1},
    "OTMapping": {},
    "EntropicOTMapping": {"norm": "max"},
    "ClassRegularizerOTMapping": {"reg_e": PER_COLUMN},
    "OTLabelProp": {},
}
METHODS: dict[str, Method] = {
    **{f"jointadapt {name}": ours(name) for name in OWN},
    **{f"pytorch-adapt {name}": pytorch_adapt(name) for name in ("dan", "dann", "jan", "mcc", "bnm")},
    **{f"skada deep {name}": skada(name) for name in ("DeepCoral", "DAN", "DANN", "CDAN", "MDD", "MCC", "DeepJDOT")},
    "scikit-learn shallow logistic regression": shallow(""),
    **{f"skada shallow {name}": shallow(name, **options) for name, options in SHALLOW.items()},
}

if __name__ == "__main__":
    main()
