"""Is an example of none of the source's classes? The source's labels, spread over the neighbours in both domains.

A classifier cannot say: adaptation pulls examples of unknown classes into the known ones, and under a shift the
confidence of examples of known classes falls as well. What stays is the shape of the data. Each labelled source
example casts a vote for its class; votes pass from neighbour to neighbour, through source and target alike, so that
they follow a known class along a shift. Examples of a class that nobody voted for get few votes, or get them from
several classes at once. Where to draw the line is found half by a rehearsal, in which each known class in turn loses
its votes, and half by the gap in the target's scores.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot
from torch.special import entr

NEIGHBOURS = 20
PASSED_ON = 0.9  # α: the part of its votes that an example passes on
ROUNDS = 50  # PASSED_ON ** ROUNDS < 0.01
MOST_ROWS = 2_000  # of each domain, that votes pass through
FALSE_ALARMS = 0.05  # of held-out source examples, where there are too few others
FOLDS = 5
FEWEST_REHEARSED = 5
TINY = 1e-30


@dataclass(frozen=True, eq=False)
class UnknownClasses:
    """A score of "none of these classes" for any example, and the threshold above which it is called unknown.

    Args:
        center: (d,), the mean of both domains.
        scale: what distances are divided by, so that they fit the numbers' precision.
        examples: (r, d), the examples that votes have passed through, centred and scaled, in float16.
        widths: (r,), the distance of each to its last neighbour among them.
        votes: (r, classes), what each has got.
        usual: the most votes for one class that half of the target's examples have; None: the score looks at how votes
            are divided, not at how many they are.
        threshold: the score above which an example is called unknown.
        source_scores: scores of source examples, each found without its own label.
    """

    center: Tensor
    scale: Tensor
    examples: Tensor
    widths: Tensor
    votes: Tensor
    usual: float | None
    threshold: float
    source_scores: Tensor

    def scores(self, x: Float[Tensor, "n d"], at_once: int = 1024) -> Float[Tensor, " n"]:
        """Return the score (`doubt`) of each example, from 0 to 1, by the weighted mean of its neighbours' votes.

        That is what an example that was not there would have got (Delalleau, Bengio, Le Roux, AISTATS 2005, Eq. (9)).
        An example that was there is its own nearest neighbour.
        """
        parts = ((part.float() - self.center) / self.scale for part in x.split(at_once))
        return torch.cat([doubt(self._votes(part), self.usual) for part in parts])

    def _votes(self, x: Tensor) -> Tensor:
        distances = torch.cdist(x, self.examples.float())
        near = distances.topk(min(NEIGHBOURS, len(self.examples)), largest=False)
        widths = near.values[:, -1:].maximum(self.widths[near.indices]).clamp_min(TINY)
        weights = (-(near.values / widths).square()).exp()
        return (weights[:, :, None] * self.votes[near.indices]).sum(1) / weights.sum(1, keepdim=True)

    def values(self) -> dict[str, Any]:
        """Return the numbers, as JSON has them."""
        return {"usual": self.usual, "threshold": self.threshold}

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    @classmethod
    def restore(cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "UnknownClasses":
        """Return what had these."""
        return cls(**tensors, usual=values["usual"], threshold=float(values["threshold"]))


def doubt(votes: Float[Tensor, "n c"], usual: float | None = None) -> Float[Tensor, " n"]:
    """Return how little each example has for one class, in [0, 1]: u / (u + max_c v_c), or H(q) / log C without u.

    u, the `usual` number of votes, has the score ½; q are the votes as shares.

    >>> votes = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    >>> doubt(votes, usual=1.0), doubt(votes).round(decimals=3)
    (tensor([0.2500, 0.5000, 1.0000]), tensor([0., 1., 1.]))
    """
    if usual is not None:
        return usual / (usual + votes.max(1).values).clamp_min(TINY)
    votes = votes.clamp_min(TINY)
    return entr(votes / votes.sum(1, keepdim=True)).sum(1) / torch.tensor(votes.shape[1]).log()


@dataclass(frozen=True, eq=False)
class Graph:
    """Each example's neighbours: (n, k) indices and weights, and the degree (n,) of each example.

    The weight of i and j is the mean of exp(−d_ij² / w_i²) where j is a neighbour of i, and the same the other way
    round; w_i is the distance of i to the last of its neighbours.
    """

    indices: Tensor
    weights: Tensor
    widths: Tensor

    @classmethod
    def of(cls, x: Float[Tensor, "n d"], neighbours: int = NEIGHBOURS, at_once: int = 1024) -> "Graph":
        """Return the graph of some examples; cost O(n² d)."""
        parts = []
        count = min(neighbours, len(x) - 1)
        for start in range(0, len(x), at_once):
            distances = torch.cdist(x[start : start + at_once], x)
            own = torch.arange(len(distances))
            distances[own, own + start] = torch.inf
            parts.append(distances.topk(count, largest=False))
        distances, indices = (torch.cat([part[i] for part in parts]) for i in range(2))
        widths = distances[:, -1].clamp_min(TINY)
        return cls(indices, (-(distances / widths[:, None]).square()).exp(), widths)

    def spread(self, votes: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Return F ← α S F + (1 − α) Y, repeated from F = Y; S = D^(−½) W D^(−½), D the degrees.

        Source: Zhou, Bousquet, Lal, Weston, Schölkopf, NIPS 2003, Section 2. Cost O(n k c) a round.
        """
        scale = self._mean_both_ways(torch.ones_like(self.widths[:, None])).clamp_min(TINY).rsqrt()
        found = votes
        for _ in range(ROUNDS):
            found = PASSED_ON * scale * self._mean_both_ways(scale * found) + (1 - PASSED_ON) * votes
        return found

    def _mean_both_ways(self, votes: Tensor) -> Tensor:
        """Return W votes: what neighbours have, and what those have whose neighbour an example is."""
        here = (self.weights[:, :, None] * votes[self.indices]).sum(1)
        sent = (self.weights[:, :, None] * votes[:, None]).flatten(0, 1)
        return (here + torch.zeros_like(votes).index_add(0, self.indices.flatten(), sent)) / 2


def fit_unknown_classes(
    source: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    target: Float[Tensor, "m d"],
    classes: int,
    pixels: bool = False,
) -> UnknownClasses:
    """Return the score for examples like these, and its threshold.

    Every class has as many votes as any other, however many examples it has. The threshold is the mean of the one that
    a rehearsal finds and the one that parts the target's scores in two best (`otsu`). Where too few target examples can
    rehearse, it is the score that 5 % of the source examples exceed, each scored without its own label.

    Args:
        source, target: rows of numbers, the source's with their labels.
        classes: how many the source has.
        pixels: of pixels distances tell tilt and contrast as well as class, and the number of votes with them: the
            score then looks at how votes are divided alone.
    """
    source, target = source.float(), target.float()
    x, n = torch.cat([source, target]), len(source)
    center = x.mean(0)
    scale = (x - center).norm(dim=1).mean().clamp_min(TINY)
    x = ((x - center) / scale).half()
    graph = Graph.of(x.float())
    own = one_hot(labels, classes).float()
    own = own * (n / classes / own.sum(0).clamp_min(1))
    first = torch.cat([own, own.new_zeros(len(target), classes)])
    votes = graph.spread(first)
    usual = None if pixels else votes[n:].max(1).values.median().clamp_min(TINY).item()
    folds = torch.arange(n + len(target)) % FOLDS
    held_out = torch.empty(n)
    for fold in range(FOLDS):
        without = graph.spread(first * (folds != fold)[:, None])[:n]
        held_out = torch.where(folds[:n] == fold, doubt(without, usual), held_out)
    known = doubt(votes[n:], usual)
    unknown = torch.cat([known[:0], *_rehearsals(graph, first, votes[n:], usual)])
    clear = known[_clear(known, votes[n:].argmax(1))]
    if min(len(clear), len(unknown)) >= FEWEST_REHEARSED:
        threshold = (best_threshold(clear, unknown) + otsu(known)) / 2
    else:
        threshold = held_out.quantile(1 - FALSE_ALARMS).item()
    return UnknownClasses(center, scale, x, graph.widths, votes, usual, threshold, held_out)


def _rehearsals(graph: Graph, first: Tensor, votes: Tensor, usual: float | None) -> Iterator[Tensor]:
    """Yield, class by class, the scores that its clear target examples have when nobody votes for it."""
    classes, m = first.shape[1], len(votes)
    predicted = votes.argmax(1)
    clear = _clear(doubt(votes, usual), predicted)
    for held_back in range(classes if usual is not None or classes > 2 else 0):
        rows = clear & (predicted == held_back)
        others = [c for c in range(classes) if c != held_back]
        yield doubt(graph.spread(first[:, others])[-m:][rows], usual)


def _clear(scores: Tensor, predicted: Tensor) -> Tensor:
    """Return which examples are in the lower half of the scores of their predicted class, (n,)."""
    clear = torch.zeros(len(scores), dtype=torch.bool)
    for label in predicted.unique():
        rows = predicted == label
        clear |= rows & (scores <= scores[rows].median())
    return clear


def best_threshold(known: Float[Tensor, " n"], unknown: Float[Tensor, " m"]) -> float:
    """Return the threshold of the highest harmonic mean of two shares: known at or below it, unknown above it.

    >>> best_threshold(torch.tensor([0.1, 0.2, 0.6]), torch.tensor([0.4, 0.8, 0.9, 1.0]))
    0.7
    """
    scores = torch.cat([known, unknown]).double().unique()
    cuts = (scores[:-1] + scores[1:]) / 2 if len(scores) > 1 else scores
    below = torch.searchsorted(known.double().sort().values, cuts, right=True) / len(known)
    above = 1 - torch.searchsorted(unknown.double().sort().values, cuts, right=True) / len(unknown)
    h = 2 * below * above / (below + above).clamp_min(TINY)
    return round(cuts[h.argmax()].item(), 6)


def otsu(scores: Float[Tensor, " n"]) -> float:
    """Return the threshold that parts scores into the two groups whose means differ most: max n₁ n₂ (μ₁ − μ₂)².

    Source: Otsu, IEEE Transactions on Systems, Man, and Cybernetics, 1979, Eq. (14).

    >>> otsu(torch.tensor([0.0, 0.1, 0.8, 1.0]))
    0.45
    """
    ordered = scores.double().sort().values
    below = torch.arange(1, len(ordered))
    above, sums = len(ordered) - below, ordered.cumsum(0)[:-1]
    between = below * above * (sums / below - (ordered.sum() - sums) / above).square()
    cut = int(between.argmax())
    return round((ordered[cut] + ordered[cut + 1]).item() / 2, 6)
