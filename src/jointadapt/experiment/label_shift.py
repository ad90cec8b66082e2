"""`--label-shift`: class shares estimated before the training → weights of the source, and the classifier's prior."""

from dataclasses import replace

import torch
from torch import Tensor

from jointadapt.config import BASELINE
from jointadapt.data import Domain
from jointadapt.data.domain import some_rows
from jointadapt.diagnostics.class_shares import MOST_EXAMPLES, ClassShares, estimate_class_shares, mean_predictions
from jointadapt.diagnostics.shift_kind import diagnose
from jointadapt.experiment.session import Session
from jointadapt.networks.network import Network
from jointadapt.runs.summary import ClassSharesSummary


def with_class_shares(session: Session) -> Session:
    """Return the session with the class shares that its option asks for, and with the source weights that follow.

    Without the option it stays as it is. "missing" takes weight off and gives none: a ratio above 1 becomes 1.
    """
    mode = session.config.label_shift
    if mode == "no":
        return session
    shares = session.fabric.broadcast(_estimate(session, mode))
    if shares is None:
        return session
    return replace(session, data=replace(session.data, source=_weighted(session, shares), shares=shares))


def _estimate(session: Session, mode: str) -> ClassShares | None:
    """Return the class shares; None where "auto" finds that label shift alone does not explain the difference."""
    data, seed = session.data, session.config.seed
    (source, rows), (target, of_target) = (_rows(session, domain) for domain in (data.source, data.target))
    labels, groups = data.source.labels[rows], data.source.groups
    if mode == "auto":
        of_recordings = None if data.target.groups is None else data.target.groups[of_target]
        if diagnose(source, labels, target, seed, of_recordings).kind != "label shift":
            return None
    estimate = mean_predictions if mode == "missing" else estimate_class_shares
    return estimate(source, labels, target, len(data.source.classes), seed, None if groups is None else groups[rows])


def _rows(session: Session, domain: Domain) -> tuple[Tensor, Tensor]:
    """Return some examples of a domain as rows (n, d) from before the training, and their numbers."""
    some = some_rows(len(domain), MOST_EXAMPLES)
    with session.first_alone(local=True):
        domain = session.data.extractor.as_rows(domain.select(some.tolist()))
        return domain.rows(range(len(domain))).flatten(1), some


def _weighted(session: Session, shares: ClassShares) -> Domain:
    """Return the source, its examples weighed by the ratio of their class's share in the target to that in a batch.

    Source-only's are not: its prior is moved afterwards (`move_prior`), which a network that fits its examples feels.
    With "missing" it stays as it is.
    """
    config, source = session.config, session.data.source
    if config.method == BASELINE:
        return source
    ratio = shares.ratio
    if config.label_shift == "missing":
        ratio = ratio.clamp_max(1)
    if config.class_balance == "batches":
        ratio = ratio * shares.source
    weights = ratio.float()[source.labels]
    return replace(source, weights=weights if source.weights is None else weights * source.weights)


@torch.no_grad()
def move_prior(session: Session, network: Network) -> None:
    """Add the log ratio of the shares to source-only's logits: p(y | x) becomes that under the target's shares."""
    config, shares = session.config, session.data.shares
    if shares is not None and config.method == BASELINE and config.label_shift != "missing":
        bias = network.head.classifier.bias
        bias += shares.ratio.log().to(bias)


def describe_shares(session: Session) -> ClassSharesSummary | None:
    """Return the shares in percent, as a summary has them."""
    shares = session.data.shares
    if shares is None:
        return None
    source, target, low, high = (tuple((100 * part).tolist()) for part in shares)
    return ClassSharesSummary(session.config.label_shift, source, target, low, high)
