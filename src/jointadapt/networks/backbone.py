"""What a backbone is: any module whose hidden layers feed a head; its inner layers, its widths, its digest."""

import copy
import hashlib
import reprlib
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jointadapt.data import Preprocessing
from jointadapt.errors import UserError, unknown_name
from jointadapt.runtime.random_state import preserved_rng_state


class Backbone(nn.Module):
    """Images or arrays → the hidden layers that are to be adapted, matrices (n, widths[i]); the last feeds the head.

    Args:
        body: its output is the hidden layers: a tensor, or a tuple of them, each flattened to a matrix.
        widths: of the layers; () where they are still to be found, by `measured`.
        preprocessing: what it expects of image files.
        pretrained: the weights come from elsewhere: the backbone then learns at a tenth of the head's rate, and its
            BatchNorm layers keep the statistics they came with.
        own: it is a user's own, so that nothing is known of it but what it says.

    `notes` are what a user should hear of its weights.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        body: nn.Module,
        widths: Sequence[int] = (),
        preprocessing: Preprocessing | None = None,
        pretrained: bool = False,
        own: bool = False,
    ) -> None:
        super().__init__()
        self.body, self.widths, self.preprocessing, self.pretrained = body, tuple(widths), preprocessing, pretrained
        self.own = own

    @classmethod
    def of(
        cls,
        module: nn.Module,
        layers: Sequence[str] = (),
        *,
        preprocessing: Preprocessing | None = None,
        pretrained: bool = False,
    ) -> "Backbone":
        """Return a module of one's own as a backbone; one that is a backbone already as it is.

        Args:
            module: its output is a matrix (n, d), or a tuple of matrices for several layers (JAN's L).
            layers: names of inner modules (`module.named_modules()`) whose outputs are the layers instead.
            preprocessing: of image files; by default that of ImageNet's networks.
            pretrained: as above.

        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> Backbone.of(net, layers=["1", "2"]).measured((4,)).widths
        (8, 3)
        """
        if isinstance(module, Backbone):
            if layers:
                raise UserError("layers are picked from a module; this is a backbone with layers of its own.")
            return module
        body = PickedLayers(module, layers) if layers else module
        return cls(body, (), preprocessing or Preprocessing(), pretrained, own=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the hidden layers of a batch."""
        layers = self.body(x)
        return tuple(layer.flatten(1) for layer in (layers if isinstance(layers, tuple | list) else (layers,)))

    def measured(self, shape: Sequence[int] | None) -> "Backbone":
        """Return a copy that knows its widths, by one pass of two rows of this shape (None: of image files).

        The module itself, and every random generator's state, stay as they are.
        """
        found = copy.deepcopy(self).cpu().float().eval()
        found.widths = tuple(layer.shape[1] for layer in found.layers_of_rows(shape, name_of(self)))
        return found

    def layers_of_rows(self, shape: Sequence[int] | None, name: str) -> tuple[Tensor, ...]:
        """Return the layers of two rows of a shape (None: of image files), always the same rows.

        Raises a `UserError` where it makes none of them.
        """
        if shape is None:
            assert self.preprocessing is not None
            shape = (3, self.preprocessing.crop, self.preprocessing.crop)
        rows = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
        try:
            with preserved_rng_state(), torch.no_grad():
                layers = self(rows)
        except UserError:
            raise
        except Exception as error:
            # Whatever a module raises of rows it was not made for.
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"the backbone {name} takes no rows of shape {tuple(shape)} ({reason}); give one that does."
            ) from error
        if not layers or any(len(layer) != len(rows) or not layer.is_floating_point() for layer in layers):
            raise UserError(
                f"the backbone {name} has to make a matrix (n, d) of n rows, or a tuple of matrices; of {len(rows)} "
                f"rows of shape {tuple(shape)} it made {[tuple(layer.shape) for layer in layers]}."
            )
        return layers

    def digest(self) -> str:
        """Return a digest of the weights: the part of a feature cache's key that they are."""
        digest = hashlib.sha256(repr(self.widths).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(
                name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()

    def probe(self) -> str:
        """Return a digest of what it makes of two fixed images: the part of that key that its code is, one's own."""
        layers = copy.deepcopy(self).cpu().eval().layers_of_rows(None, name_of(self))
        return hashlib.sha256(b"".join(layer.float().numpy().tobytes() for layer in layers)).hexdigest()


class PickedLayers(nn.Module):
    """A module whose output is that of some of its inner modules, each as it leaves them."""

    def __init__(self, module: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        known = [name for name, _ in module.named_modules() if name]
        for name in layers:
            if name not in known:
                raise unknown_name("layer", name, known)
        self.module, self.layers = module, tuple(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the picked modules, in the order in which they were named."""
        seen: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for name in self.layers:
                stack.enter_context(self.module.get_submodule(name).register_forward_hook(partial(_keep, seen, name)))
            self.module(x)
        for name in self.layers:
            if name not in seen:
                raise UserError(f"the layer {name!r} is not passed on the module's way forward; pick another.")
        return tuple(seen[name] for name in self.layers)


def _keep(seen: dict[str, Tensor], name: str, module: nn.Module, given: tuple, output: Tensor) -> None:  # noqa: ARG001
    seen[name] = output.clone()  # what follows may work in place


def check_is_backbone(given: Any) -> None:
    """Raise a `UserError` for what is neither a backbone's name nor a module."""
    if isinstance(given, str | nn.Module):
        return
    called = " (call it: a module is needed, not what makes one)" if callable(given) else ""
    raise UserError(
        f"a backbone is a name, an import path 'module:factory' or a torch.nn.Module; got {reprlib.repr(given)}"
        f"{called}."
    )


def innermost(module: nn.Module) -> nn.Module:
    """Return the module that a backbone was made of."""
    while isinstance(module, Backbone | PickedLayers):
        module = module.body if isinstance(module, Backbone) else module.module
    return module


def name_of(module: nn.Module) -> str:
    """Return what a module of one's own is called: the import path of its class.

    >>> name_of(Backbone.of(nn.Linear(2, 2)))
    'torch.nn.modules.linear:Linear'
    """
    cls = type(innermost(module))
    return f"{cls.__module__}:{cls.__qualname__}"
