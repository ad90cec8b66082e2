"""Several trainings: those that can train as one do, the others go one after the other."""

import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment.fit import Training, begin
from jointadapt.experiment.session import Session
from jointadapt.networks.network import Network
from jointadapt.runtime.signals import stop_requests
from jointadapt.selection.checkpoints import CheckpointSelection
from jointadapt.training.stack import MOST_TOGETHER, Stack, stacking_key


class Order(NamedTuple):
    """A training to be made: the arguments of `begin`."""

    session: Session
    selection: CheckpointSelection
    trained: Network | None


Made = tuple[int, Training | UserError]
"""The number of an order, and its training with the last step made, or why it could not be."""


def fit_together(orders: Sequence[Order]) -> Iterator[Made]:
    """Yield each training as it has ended; the caller finishes it before the next: its random numbers go on till then.

    Each comes out as it does alone, up to rounding, and so do its files; one that fails costs no other. Raises
    `Interrupted`, with a checkpoint of each that was under way, where that is asked for.
    """
    alike: dict[Hashable, list[tuple[int, Training]]] = defaultdict(list)
    for number, order in enumerate(orders):
        try:
            training = begin(*order)
            key = _key(training) if len(orders) > 1 else None
            if key is None:
                training.run()
        except UserError as error:
            yield number, error
            continue
        if key is None:
            yield number, training
        else:
            training.trainer.draw_apart()
            alike[key].append((number, training))
    for group in alike.values():
        for first in range(0, len(group), MOST_TOGETHER):
            numbers, trainings = zip(*group[first : first + MOST_TOGETHER], strict=True)
            for place, made in _stacked(trainings, [orders[number] for number in numbers]):
                yield numbers[place], made


def _key(training: Training) -> Hashable | None:
    """Return what is equal of trainings that can be made as one; None of one that has to be made alone."""
    batches, source = training.batches, training.batches.source
    if not batches.at_hand or source.weights is not None or source.origins is not None:
        return None
    key = stacking_key(training.trainer)
    return key and (key, batches.batch_size, source.shape)


def _stacked(trainings: Sequence[Training], orders: Sequence[Order]) -> Iterator[Made]:
    """Yield trainings that were made as one; where some fail, the others go on without them."""
    waiting, failed = dict(enumerate(trainings)), {}
    while len(waiting) > 1:
        failed, lost = _steps(waiting)
        if not failed:
            break
        waiting = {place: training for place, training in waiting.items() if place not in failed}
        yield from failed.items()
        if lost:  # a step was half made: from the newest checkpoint, then
            for place, training in waiting.items():
                waiting[place] = begin(orders[place].session, training.selection.anew(), orders[place].trained)
                waiting[place].trainer.draw_apart()
    for place, training in waiting.items():
        training.trainer.draw_as_ever()
        try:
            training.run()  # what is left of it, if anything
        except UserError as error:
            yield place, error
        else:
            yield place, training


def _steps(trainings: dict[int, Training]) -> tuple[dict[int, UserError], bool]:
    """Make the steps that are left as one, up to the first that some fail at.

    Return these with their errors, and whether the step was lost to the others, too.
    """
    group, started = [*trainings.values()], time.monotonic()
    config, start = group[0].session.config, group[0].trainer.step
    batches = zip(*(training.batches.iterate(start, config.steps) for training in group), strict=True)
    stack, failed = Stack([training.trainer for training in group]), {}
    try:
        with stop_requests() as requested:
            for records in group[0].session.track(stack.train(batches), config.steps, _described(group), start):
                stop = sum(requested[:1])
                for (place, training), record in zip(trainings.items(), records, strict=True):
                    try:
                        training.follow(record, bool(stop))
                    except UserError as error:
                        failed[place] = error
                if stop:
                    raise Interrupted(stop)
                if failed:
                    return failed, False
    except RuntimeError:  # such as a decomposition's, of weights that are not finite
        for place, training in trainings.items():
            try:
                training.check_finite()
            except UserError as error:
                failed[place] = error
        if not failed:
            raise
        return failed, True
    finally:
        stack.release()
        for training in group:
            training.seconds += (time.monotonic() - started) / len(group)
    return {}, False


def _described(trainings: Sequence[Training]) -> str:
    methods = [training.session.config.method for training in trainings]
    counted = ((name, methods.count(name)) for name in dict.fromkeys(methods))
    return "training " + ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counted)
