"""
A method of your own
====================

A method is a class that maps the activations of a source batch and of a target batch to one number. Training makes it
small. Nothing else has to be written, and nothing has to be registered.
"""

# %%
# The class
# ---------
# This one compares mean features: ‖mean f_s − mean f_t‖ to some power. Its option ``power`` is a keyword parameter with
# a type and a sentence of help, from which checks, flags and listings are made. ``trade_off`` is the default of λ, the
# weight of the method beside the risk.

from collections.abc import Sequence
from typing import Annotated

import matplotlib.pyplot as plt
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


# %%
# Train with it
# -------------
# :func:`jointadapt.train` takes the class where it takes a name. At the command line it is
# ``--method package.module:MeanMatching --power 2``; a package that declares it under the entry point group
# ``jointadapt.methods`` gives it a name.

source, target = digit_domains()
options = {"backbone": "cnn", "bottleneck": 128, "dropout": 0.0, "steps": 300, "report": False}
run = jointadapt.train(source, target, method=MeanMatching, power=2.0, **options)
print(run.summary.verdict)

# %%
# Beside the methods that come with it
# ------------------------------------
# Matching means is the simplest thing that can be done. Matching the joint distribution does better here.

accuracies = {
    "source-only": run.summary.baseline.evaluation.accuracy,
    "MeanMatching": run.summary.evaluation.accuracy,
}
jan = jointadapt.train(source, target, method="jan", trade_off=1.0, baseline=False, **options)
accuracies["jan"] = jan.summary.evaluation.accuracy
for name, accuracy in accuracies.items():
    print(f"{name:<14}{accuracy:5.1f} %")

figure, axes = plt.subplots(figsize=(5, 2.4), layout="constrained")
bars = axes.barh(list(accuracies), list(accuracies.values()), color=["#999999", "#e69f00", "#0072b2"])
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(title="A method of one line, and JAN", xlabel="target accuracy, %", xlim=(0, 100))
axes.invert_yaxis()
