"""The runs of a table on a Ray cluster: one task a group of runs, as many at once as the cluster has cores."""

import logging
import signal
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import chdir, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from jointadapt.comparison.plan import Outcome
from jointadapt.comparison.run import Launcher, grouped, run_group
from jointadapt.comparison.shared_data import Ready
from jointadapt.config import Config
from jointadapt.errors import UserError
from jointadapt.version import __version__


def on_ray(address: str = "auto", keep: bool = False) -> Launcher:
    """Return what sends runs to a Ray cluster that is there already.

    Args:
        address: "auto", or HOST:PORT.
        keep: run folders are kept, where this machine and the nodes both find them; else nodes keep nothing.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("--launcher ray needs Ray; install it with: pip install 'jointadapt[ray]'") from error

    def launch(configs: Mapping[str, Config], data: Ready) -> Iterator[tuple[str, Outcome | str]]:
        stopping = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"no Ray cluster answers at {address}; start one with `ray start --head`, or name another with "
                "--ray-address. One that asks for a token needs RAY_AUTH_MODE=token here, too."
            ) from error
        with suppress(ValueError):  # not the main thread: signals are not ours
            signal.signal(signal.SIGTERM, stopping)  # Ray has put its own in its place
        try:
            rows, domains = ray.put(data.tensors.read_bytes()), ray.put(data)
            task = ray.remote(max_retries=3)(_run_there)
            waiting = {}
            if any(config.devices > 1 for config in configs.values()):
                raise UserError("a run on a Ray cluster has one device; leave --devices out.")
            for group in grouped(configs, int(ray.cluster_resources().get("CPU", 1))):
                gpus = 1 if any(config.device == "cuda" for config in group.values()) else 0
                group = {
                    key: replace(config, device="cpu" if config.device == "auto" else config.device)
                    for key, config in group.items()
                }
                order = (group, domains, rows, str(Path.cwd()), keep, __version__)
                waiting[task.options(num_cpus=1, num_gpus=gpus).remote(*order)] = [*group]
            while waiting:
                for done in ray.wait([*waiting])[0]:
                    yield from _result(ray, done, waiting.pop(done)).items()
        finally:
            ray.shutdown()  # ends the tasks that are under way, too

    return launch


def _result(ray: Any, done: Any, keys: list[str]) -> dict[str, Outcome | str]:
    """Return what a task did; a node that was lost, or a process, costs these runs and no other."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError:  # an error of ours
        raise
    except ray.exceptions.RayError as error:
        return dict.fromkeys(keys, f"lost on the cluster, after three more attempts ({type(error).__name__})")


def _run_there(
    configs: dict[str, Config], data: Ready, rows: bytes, here: str, keep: bool, version: str
) -> dict[str, Outcome | str]:
    """Return the outcomes of runs, on a node: one thread, in the sender's current folder where the node has it."""
    if __version__ != version:
        told = f"a node has jointadapt {__version__}, this machine {version}; install the same everywhere."
        return dict.fromkeys(configs, told)
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory(prefix="jointadapt-") as folder,
        warnings.catch_warnings(),
        chdir(here) if Path(here).is_dir() else nullcontext(),
    ):
        warnings.simplefilter("ignore")  # the sender has said them
        file = Path(folder) / "rows.pt"
        file.write_bytes(rows)
        if not keep:
            configs = {key: replace(config, out=str(Path(folder) / key)) for key, config in configs.items()}
        return run_group(configs, replace(data, tensors=file))
