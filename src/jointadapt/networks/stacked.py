"""The heads of several networks → one head over a leading axis of runs: one batched product for all of them."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from jointadapt.discrepancy.distances import wide
from jointadapt.networks.network import Activations, Head, Network
from jointadapt.networks.reversal import reverse


def shape_of(network: Network) -> Hashable | None:
    """Return what is equal of networks whose heads can be stacked; None of one that is more than a head.

    A backbone has to be without weights or statistics, as one is that stands for features.
    """
    backbone, head = network.backbone, network.head
    if type(head) is not Head or backbone.own or any(True for _ in backbone.state_dict()):
        return None
    if not all(p.requires_grad for p in head.parameters()):
        return None
    return type(backbone), backbone.widths, str(backbone.body), str(head), head.classifier.weight.dtype


class StackedHead:
    """K heads of one shape as one, in training mode, for rows (K, n, d): of each head its own rows.

    The weights and statistics of the heads become views of the stack's, so that each head, used alone, is always as
    the stack has left it. `release` gives them their own again.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        self.heads = heads
        self._whole: dict[str, Tensor] = {}
        names = [name for name, _ in heads[0].named_parameters()]
        for name in heads[0].state_dict():
            self._whole[name] = together([head.state_dict(keep_vars=True)[name] for head in heads])
        self.weights = {name: self._whole[name].requires_grad_() for name in names}
        layers = [*heads[0].bottleneck.children()]  # none where there is no bottleneck
        self.norm = cast(nn.BatchNorm1d, layers[1]) if layers else None
        self.dropout = cast(nn.Dropout, layers[3]).p if layers else 0.0
        # The largest of the gradients is written where it was in the step before: new pages cost a tenth of a step.
        self._room = torch.empty_like(self._whole["bottleneck.0.weight"]) if layers else None

    def __call__(self, hidden: Sequence[Tensor], masks: Callable[[Tensor], Tensor]) -> Activations:
        """Return the activations (K, n, …) of the hidden layers (K, n, d).

        Args:
            masks: a tensor to be filled with dropout's masks, of 0 and 1 / (1 − p) → that tensor.
        """
        *others, features = hidden
        if self.norm is not None:
            features = self._bottleneck(features)
            if self.dropout:
                features = features * masks(torch.empty_like(features, memory_format=torch.contiguous_format))
        logits = self.classify(features)
        return Activations(features, logits, (*others, features, wide(logits).softmax(-1)))

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features."""
        return _Linear.apply(features, self.weights["classifier.weight"], self.weights["classifier.bias"])  # pyright: ignore[reportReturnType]

    def with_reversed_logits(self, sample: Activations) -> Activations:
        """Return the activations with `reversed_logits`."""
        return sample._replace(reversed_logits=self.classify(reverse(sample.features)))

    def _bottleneck(self, x: Tensor) -> Tensor:
        """Return linear layer, BatchNorm and ReLU of x, the channels of all runs side by side as those of one layer."""
        own, norm = self._whole, self.norm
        assert norm is not None
        y = cast(Tensor, _Linear.apply(x, own["bottleneck.0.weight"], own["bottleneck.0.bias"], self._room))
        runs, rows, width = y.shape
        own["bottleneck.1.num_batches_tracked"].add_(1)
        named = (own[f"bottleneck.1.{name}"].view(-1) for name in ("running_mean", "running_var", "weight", "bias"))
        flat = y.transpose(0, 1).reshape(rows, runs * width)
        y = batch_norm(flat, *named, training=True, momentum=norm.momentum or 0.0, eps=norm.eps)
        return y.relu_().view(rows, runs, width).transpose(0, 1)

    def release(self) -> None:
        """Give each head weights and statistics of its own, as they are now."""
        for head in self.heads:
            for tensor in head.state_dict(keep_vars=True).values():
                tensor.data = tensor.data.clone()


class _Linear(torch.autograd.Function):
    """K linear layers of K batches; the gradient of the weights comes as they lie, not transposed.

    It is written into `room`, if there is any: for a layer that is used once a step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, room: Tensor | None = None) -> Tensor:
        """Return x Wᵀ + b, (K, n, out)."""
        ctx.save_for_backward(x, weight)
        ctx.room = room
        return torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        """Return the gradients of rows, weights and bias."""
        (gradient,), (x, weight) = grad_outputs, ctx.saved_tensors
        to_rows = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        return to_rows, torch.bmm(gradient.mT, x, out=ctx.room), gradient.sum(1), None


def together(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors of one shape as one with a leading axis; each becomes a view of it."""
    whole = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, own in zip(tensors, whole.unbind(), strict=True):
        tensor.data = own
    return whole
