"""Files of weights, as trainers leave them → the tensors of one network, by its own names; or what they lack."""

import argparse
import collections
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jointadapt.errors import UserError, reason, some

COMPILED = "_orig_mod."  # what torch.compile puts before the names of a module
AVERAGED = ("ema", "teacher")  # of two that fit, who trained with averaged weights means these
SECOND = ("encoder_k", "student", "momentum", "target_encoder")
DEEPEST = 3
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
# What checkpoints hold beside tensors, and what is harmless: arguments, and numbers of NumPy.
HARMLESS = [
    *(argparse.Namespace, collections.defaultdict, dict, list, set, np.dtype, np.dtypes.Float64DType),
    *(np.dtypes.Float32DType, np.dtypes.Int64DType),
    *((np.float64().__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]

DRAWS = frozenset(
    (
        *("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_"),
        *("xavier_uniform_", "orthogonal_", "sparse_", "bernoulli_", "exponential_", "random_"),
    )
)

Allowed = Callable[[str], bool]


class Undrawn(TorchFunctionMode):
    """Within it no random number is drawn into a tensor: for modules all of whose weights are loaded next.

    >>> with Undrawn():
    ...     layer = nn.Linear(2, 2)
    >>> layer.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    <All keys matched successfully>
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return what the function does; of one that draws in place, the tensor as it is."""
        if func.__name__ in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], strict: bool = True) -> None:
    """Load tensors into a module by their names, as those of its present version.

    A file of plain tensors says no version, and torchvision's MNASNet refuses what says none.
    """
    state = collections.OrderedDict(tensors)
    vars(state)["_metadata"] = vars(module.state_dict())["_metadata"]
    module.load_state_dict(state, strict=strict)


@dataclass(frozen=True)
class Fit:
    """How well the tensors of one part of a file, under one prefix, are those of a network.

    Args:
        part: of the file: the names on the way to it ("state_dict"), "" for all of it.
        prefix: that is left out of the names there.
        tensors: those that fit, by the network's names.
        missing, misshapen: of the network's, by name; only those that matter.
        surplus: names under the prefix that the network does not have, likewise.
        beside: the tensors that are left out, as the file names them.
    """

    part: str
    prefix: str
    tensors: dict[str, Tensor]
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    surplus: tuple[str, ...]
    beside: tuple[str, ...]

    @property
    def perfect(self) -> bool:
        """Whether it has all that the network needs, and nothing that it does not know."""
        return not (self.missing or self.misshapen or self.surplus)

    @property
    def preference(self) -> int:
        """A number that is the lower the more likely it is what is meant, where several fit."""
        name = f"{self.part}.{self.prefix}".lower()
        return 0 if any(word in name for word in AVERAGED) else 2 if any(word in name for word in SECOND) else 1

    def note(self, path: Path, others: int) -> str | None:
        """Return what to say of it; None where the file is the network's state dict and nothing else."""
        if not self.part and not self.prefix:
            return None
        taken = f"its {self.part!r}" if self.part else "its tensors"
        text = (
            f"{path}: {taken} are taken"
            if not self.prefix
            else f"{path}: of {taken} those below {self.prefix!r} are taken"
        )
        if self.beside:
            text += (
                f"; {len(self.beside)} others are left out ({self.beside[0]}{', …' if len(self.beside) > 1 else ''})"
            )
        return f"{text}; {others} other parts would fit as well." if others else f"{text}."


def fitting_weights(
    path: Path, own: Mapping[str, Tensor], name: str, may_miss: Allowed, may_have: Allowed
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a file for a network's state dict, and what a user should hear; nothing but a perfect fit.

    Prefixes that `torch.compile`, `DataParallel`, Lightning, MoCo and one's own wrappers put before the names are left
    out, and so is what stands beside the weights in a checkpoint.

    Args:
        name: of the network.
        may_miss: which of its tensors a file may lack, or have in another shape: those of its classifier.
        may_have: which others a file may hold under the same prefix.
    """
    fits = [fit for part, state in read_states(path) for fit in _fits(part, state, own, may_miss, may_have)]
    good = sorted((fit for fit in fits if fit.perfect), key=lambda fit: fit.preference)
    if not good:
        raise _no_fit(path, max(fits, key=lambda fit: len(fit.tensors)), own, name)
    best = good[0]
    check_finite(best.tensors, str(path))
    note = best.note(path, len(good) - 1)
    return best.tensors, (note,) if note else ()


def is_counter(key: str) -> bool:
    """Return whether a tensor counts batches, which older files lack and no network needs."""
    return key.endswith("num_batches_tracked")


def is_of_a_classifier(key: str) -> bool:
    """Return whether a tensor is of a classifier, which a backbone does not have, by its name in every library."""
    return key.startswith((*AUXILIARY, "head_dist.")) or key.partition(".")[0] in ("fc", "classifier", "head", "heads")


def check_finite(tensors: Mapping[str, Tensor], name: str) -> None:
    """Raise a `UserError` for weights that are NaN or infinite, as a training that diverged leaves them."""
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise UserError(
                f"{name}: {bad} of {tensor.numel()} weights of {key} are NaN or infinite, as after a training that "
                "diverged; give weights of an earlier checkpoint."
            )


def _fits(
    part: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor], may_miss: Allowed, may_have: Allowed
) -> Iterator[Fit]:
    """Yield how well a state dict fits under each prefix by which some of its names are the network's."""
    state = {key.replace(COMPILED, ""): tensor for key, tensor in state.items()}
    ends = ((key, at + 1) for key in state for at, letter in enumerate(key) if letter == ".")
    for prefix in dict.fromkeys(["", *(key[:end] for key, end in ends if key[end:] in own)]):
        under = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        fitting = {key: tensor for key, tensor in under.items() if key in own and own[key].shape == tensor.shape}
        lacking = [key for key in own if key not in fitting and not may_miss(key)]
        yield Fit(
            part,
            prefix,
            fitting,
            tuple(key for key in lacking if key not in under),
            tuple(key for key in lacking if key in under),
            tuple(key for key in under if key not in own and not may_miss(key) and not may_have(key)),
            tuple(key for key in state if key.removeprefix(prefix) not in fitting or not key.startswith(prefix)),
        )


def _no_fit(path: Path, fit: Fit, own: Mapping[str, Tensor], name: str) -> UserError:
    """Return an error that names what the best of all fits lacks."""
    said = []
    if fit.missing:
        said.append(f"{len(fit.missing)} of {len(own)} tensors are missing ({some(fit.missing, most=3)})")
    if fit.misshapen:
        said.append(f"{len(fit.misshapen)} are of another shape ({some(fit.misshapen, most=3)})")
    if fit.surplus:
        said.append(f"{len(fit.surplus)} are unknown ({some(fit.surplus, most=3)})")
    return UserError(f"{path} does not fit the backbone {name}: {', '.join(said)}; give the weights of {name}.")


def read_states(path: Path) -> list[tuple[str, dict[str, Tensor]]]:
    """Return every state dict that a file holds, by the names on the way to it: "", "state_dict", "model.ema" …"""
    if not path.is_file():
        raise UserError(f"the weights {path} do not exist; give a .safetensors or .pth file, 'default' or 'none'.")
    states = list(_states(_content(path), ""))
    if not states:
        raise UserError(f"{path} is no state_dict; give a file that maps names to tensors.")
    return states


def _content(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # safetensors', torch's and pickle's own errors: a damaged file, an object that is more than tensors.
        if "weights_only" in str(error) or "nsupported" in str(error):
            raise UserError(
                f"{path} holds more than tensors, or none; give a .safetensors or .pth state_dict, as "
                "torch.save(model.state_dict(), FILE) writes it."
            ) from error
        raise UserError(
            f"{path} is no file of weights ({reason(error)}); give a .safetensors or .pth state_dict."
        ) from error


def _states(content: Any, part: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the tensors that a nested mapping holds by name, level by level; what is no tensor is left out."""
    if not isinstance(content, Mapping) or depth > DEEPEST:
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield part, tensors
    for key, value in named.items():
        yield from _states(value, f"{part}.{key}" if part else key, depth + 1)
