"""
Taking the model away
=====================

The model is needed where jointadapt is not installed: on a server, in a C++ program, on a phone. ``export`` writes it
as ONNX with everything that is done to the data, and runs the file before it says that it is there.
"""

# %%
# Train
# -----
# Irises, and irises whose flowers were measured in another unit by somebody whose ruler is a little off.

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import load_iris

import jointadapt

x, y = load_iris(return_X_y=True)
order = np.random.default_rng(0).permutation(len(x))
source = x[order[:75]], y[order[:75]]
target = jointadapt.from_arrays(x[order[75:]] * 10.5 + 2, name="millimetres")

folder = Path(tempfile.mkdtemp()) / "run"
run = jointadapt.train(source, target, out=folder, method="jan", standardize="domain", steps=200)

# %%
# Export
# ------
# At the command line it is ``jointadapt export RUN --to onnx``. Rows of the target go through the file and through the
# model, in batches of several sizes; were a probability to differ by more than one in 100,000, nothing would be kept.

written = jointadapt.export(run, to="onnx", output=folder / "onnx", check=target)
print("files:", *sorted(path.name for path in (folder / "onnx").iterdir()))
print(f"largest difference of a probability: {written.check.difference:.1e}")

# %%
# Run it without jointadapt
# -------------------------
# The names of the classes and of the input come out of the file itself. The columns go in as they were measured: the
# scaling is part of the graph.

session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
about = json.loads(session.get_modelmeta().custom_metadata_map["jointadapt"])
print("input:  ", about["input"]["name"], about["input"]["shape"])
print("classes:", *about["classes"])

rows = (x[order[75:]] * 10.5 + 2).astype("float32")
probabilities = session.run(["probabilities"], {about["input"]["name"]: rows})[0]
ours = run.model.predict_proba(target).numpy()
print("the same classes:", bool((probabilities.argmax(1) == ours.argmax(1)).all()))

figure, axes = plt.subplots(figsize=(4.2, 4), layout="constrained")
for number, (colour, marker) in enumerate((("#0072b2", "o"), ("#d55e00", "^"), ("#009e73", "s"))):
    axes.scatter(ours[:, number], probabilities[:, number], color=colour, marker=marker, s=18, label=f"class {number}")
axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
axes.set(xlabel="probability by jointadapt", ylabel="probability by onnxruntime")
axes.legend(frameon=False)

# %%
# Other formats, and what is in the file for pictures, signals and tables: :doc:`/guides/exporting`.
