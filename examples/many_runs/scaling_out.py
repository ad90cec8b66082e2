"""
Scaling out on Ray
==================

A table of six tasks, twenty methods and five seeds is six hundred runs. ``jointadapt compare --launcher ray`` sends
them to a Ray cluster. The numbers are those of runs in one process.
"""

# %%
# A cluster
# ---------
# Yours is there already: ``ray start --head`` on one machine, ``ray start --address HEAD:PORT`` on the others. Here a
# second process is a cluster of one core, behind a token, for as long as this page takes.

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris

from jointadapt.comparison.plan import plan
from jointadapt.comparison.ray_cluster import on_ray
from jointadapt.comparison.run import compare, in_processes
from jointadapt.comparison.table import tabulate

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
HEAD = """
import ray, sys
there = ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20, logging_level="error")
print(there.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
cluster = subprocess.Popen(
    [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
)
address = cluster.stdout.readline().strip()

# %%
# Two domains
# -----------
# Irises, and irises measured by somebody whose ruler is a little off.

root = Path(tempfile.mkdtemp())
x, y = load_iris(return_X_y=True)
order = np.random.default_rng(0).permutation(len(x))
np.savez(root / "ours.npz", x=x[order[:75]], y=y[order[:75]])
np.savez(root / "theirs.npz", x=x[order[75:]] * 1.15 + 0.3, y=y[order[75:]])
(root / "irises.toml").write_text('[domains.ours]\npath = "ours.npz"\n[domains.theirs]\npath = "theirs.npz"\n')

# %%
# The same table here and there
# -----------------------------
# At the command line::
#
#     jointadapt compare --benchmark irises.toml --root . --tasks "ours → theirs" --launcher ray
#
# ``compare`` takes a *launcher*: where the runs are computed is no part of what they are.


def table(launcher, out: Path):
    """Return the table, computed where the launcher says."""
    methods = ["source-only", "jan"]
    comparison, _ = plan(str(root / "irises.toml"), root, ["ours → theirs"], methods, seeds=1, out=out, steps=100)
    outcomes, failures = compare(comparison, launcher)
    return tabulate(comparison, outcomes, [], failures)


here = table(in_processes(1), root / "here")
there = table(on_ray(address, keep=True), root / "there")
for method, checkpoint, cells in there.texts("accuracy"):
    print(f"{method:<12}{checkpoint:<12}", *(f"{cell:>12}" for cell in cells))
print("The same numbers:", json.dumps(here.to_dict()) == json.dumps(there.to_dict()))

cluster.communicate()

# %%
# A run that dies with its machine is sent to another; a table that is stopped goes on where it stopped. What a cluster
# costs for which table is in :doc:`/guides/scale`.
