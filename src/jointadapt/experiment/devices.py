"""The devices a run uses, and the processes on them."""

import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from jointadapt.config import Config
from jointadapt.errors import UserError
from jointadapt.runtime.progress import first_process
from jointadapt.training.distributed import SILENCE


def launch(config: Config) -> Fabric:
    """Return what runs the training on the devices; with several, this starts their processes or joins torchrun's."""
    devices, nodes = config.devices, config.num_nodes
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    strategy = "auto" if devices * nodes == 1 else DDPStrategy(timeout=SILENCE)
    try:
        fabric = Fabric(
            accelerator=config.device, strategy=strategy, devices=devices, num_nodes=nodes, precision=config.precision
        )
    except Exception as error:
        # Lightning has errors of its own for a device that is unknown, or not there, or not of this precision.
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"--device {config.device} --precision {config.precision} cannot be used ({reason}); try --device auto."
        ) from error
    fabric.launch()
    return fabric


def begins_alone(config: Config) -> bool:
    """Return whether this process is the first of the run's, which makes its folder before the others are there."""
    several = config.devices * config.num_nodes > 1
    return first_process() and not (several and os.environ.get("SLURM_PROCID", "0") != "0")  # srun starts them all


def device_of(config: Config) -> torch.device:
    """Return the device that a run uses."""
    return launch(config).device
