"""Network and method as one module: a batch → the two terms of Eq. (9)."""

from collections.abc import Sequence
from itertools import compress
from operator import itemgetter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from jointadapt.methods import Method
from jointadapt.networks.network import Activations, Network
from jointadapt.networks.reversal import reverse
from jointadapt.training.distributed import ALONE, Ranks

TEACHER_DECAY = 0.99


class Objective(nn.Module):
    """Network and method as one module: a batch → the two terms of Eq. (9).

    It adds to the activations what the method says it needs, and keeps the EMA teacher: an exponential moving average
    of the network's weights, without dropout.

    Of several ranks each passes its own rows through the backbone; the rest is computed from the rows of all.

    Args:
        origin_weights: α_k of several sources, of which a batch says the `o_s`; none: all are equal.
        recompute_chunks: activation checkpointing: the batch passes the backbone in so many chunks, each recomputed in
            the backward pass: the memory of one chunk.
        channels_last: the layout of images.
    """

    def __init__(
        self,
        network: Network,
        method: Method,
        ranks: Ranks = ALONE,
        origin_weights: Sequence[float] = (),
        recompute_chunks: int = 1,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.method, self.teacher = network, method, None
        self.ranks, self.origin_weights, self.recompute_chunks = ranks, origin_weights, recompute_chunks
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        if method.needs.teacher:
            self.teacher = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(TEACHER_DECAY), use_buffers=True)
            self.teacher.requires_grad_(False)

    def forward(
        self,
        x_s: Tensor,
        y_s: Tensor,
        x_t: Tensor,
        w_s: Tensor | None = None,
        o_s: Tensor | None = None,
        *,
        step: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Return risk and transfer term; both domains pass the network in one call.

        With weights of source examples the risk is Σ w_i ℓ_i / Σ w_i, and the method is handed them. Of several sources
        both terms are Σ_k α_k term_k / Σ_k α_k, term_k that of source k and the target.
        """
        needs = self.method.needs
        used = [*compress((x_s, x_t), (needs.source, needs.target))]
        lengths = self.ranks.numbers(*map(len, used), device=x_s.device)
        seen = self.network.head(self._hidden(self.network, torch.cat(used), lengths, step))
        source, target = (seen, None) if needs.source else (None, seen)
        if needs.source and needs.target:
            source, target = seen.split(sum(map(itemgetter(0), lengths)))
        if needs.reversed_logits:
            source, target = self._with_reversed_logits(source), self._with_reversed_logits(target)
        if self.teacher is not None and target is not None:
            with torch.no_grad():
                network = self.teacher.eval().module
                assert isinstance(network, Network)
                hidden = self._hidden(network, x_t, [own[-1:] for own in lengths], step)
                target = target._replace(teacher=network.head(hidden).layers[-1])
        if source is None:
            transfer = self.method(None, target)
            return torch.zeros_like(transfer), transfer
        own = [*map(itemgetter(slice(1)), lengths)]
        y_s = self.ranks.gather(y_s, own)
        w_s, o_s = (None if x is None else self.ranks.gather(x, own) for x in (w_s, o_s))
        source = source._replace(labels=y_s, weights=w_s)
        if o_s is None:
            return self._terms(source, target)
        origins = o_s.unique().tolist()
        weights = [self.origin_weights[k] if self.origin_weights else 1.0 for k in origins]
        terms = [self._terms(source.chosen((o_s == k).nonzero().flatten()), target) for k in origins]
        shares = y_s.new_tensor([weight / sum(weights) for weight in weights], dtype=terms[0][0].dtype)
        risk_s, transfer = (shares * torch.stack(each) for each in zip(*terms, strict=True))
        return risk_s.sum(), transfer.sum()

    def _terms(self, source: Activations, target: Activations | None) -> tuple[Tensor, Tensor]:
        """Return risk and transfer term of one source."""
        assert source.labels is not None
        return risk(self.method.source_logits(source), source.labels, source.weights), self.method(source, target)

    def _hidden(self, network: Network, x: Tensor, lengths: list[list[int]], step: int) -> Sequence[Tensor]:
        """Return the backbone's layers of this rank's rows, and of all others'."""
        if x.ndim == 4:
            x = x.contiguous(memory_format=self.layout)
        with self.ranks.own_rng(step, x.device):
            if self.recompute_chunks == 1:
                layers = network.backbone(x)
            else:
                chunks = x.chunk(self.recompute_chunks)
                found = [checkpoint(network.backbone, chunk, use_reentrant=False) for chunk in chunks]
                layers = [torch.cat(layer) for layer in zip(*found, strict=True)]
        return layers if self.ranks.count == 1 else [self.ranks.gather(layer, lengths) for layer in layers]

    def _with_reversed_logits(self, sample: Activations | None) -> Activations | None:
        return sample and sample._replace(reversed_logits=self.network.head.classifier(reverse(sample.features)))

    def follow(self) -> None:
        """Let the teacher follow the network; to be called after each step."""
        if self.teacher is not None:
            self.teacher.update_parameters(self.network)


def risk(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy; with weights Σ w_i ℓ_i / Σ w_i, and 0 where all weights are.

    >>> logits, labels = torch.tensor([[0.0, 0], [5, 0]]), torch.tensor([0, 0])
    >>> risk(logits, labels, torch.tensor([1.0, 0]))
    tensor(0.6931)
    """
    if weights is None:
        return cross_entropy(logits, labels)
    losses = cross_entropy(logits, labels, reduction="none")
    return (weights * losses).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
