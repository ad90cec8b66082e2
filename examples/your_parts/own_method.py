"""A method of your own, with an option of its own: a class, and nothing else.

    python examples/your_parts/own_method.py

A method maps the activations of a source batch and of a target batch to one number that training makes small. Its
options are keyword parameters with a type and a sentence of help: `jointadapt.train` takes and checks them like any
other option. An installed package can name its methods by the entry point `jointadapt.methods`, and the command line
then knows them; without one, `--method package.module:MeanMatching` finds the class where it is.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

import jointadapt
from jointadapt.experiment.demo import digit_domains
from jointadapt.methods import Method
from jointadapt.networks import Activations
from jointadapt.runtime.options import Positive


class MeanMatching(Method):
    """The distance of the domains' mean features, ‖mean f_s − mean f_t‖^power."""

    trade_off = 0.3

    def __init__(
        self, widths: Sequence[int], *, power: Annotated[Positive, "Of the distance; 2 is linear MMD²."] = 2.0
    ) -> None:
        super().__init__(widths)
        self.power = power

    def forward(self, source: Activations, target: Activations) -> Tensor:
        """Return the distance, ≥ 0."""
        return (source.features.mean(0) - target.features.mean(0)).norm() ** self.power


def main() -> None:
    """Train without and with the method, and say what it was worth."""
    source, target = digit_domains()
    options = {"backbone": "cnn", "bottleneck": 128, "dropout": 0.0, "steps": 300, "report": False}
    run = jointadapt.train(source, target, method=MeanMatching, power=2.0, **options)
    print(run.summary.verdict)


if __name__ == "__main__":
    main()
