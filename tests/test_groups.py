"""Rows of one group, as windows of one recording are: no split parts them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jointadapt import from_arrays
from jointadapt.diagnostics.shift_kind import _first_half
from jointadapt.discrepancy.a_distance import _thirds_and_half, a_distance
from jointadapt.errors import UserError
from jointadapt.selection.checkpoints import CheckpointSelection
from jointadapt.selection.criteria import FOLDS, hold_out
from jointadapt.selection.models import nearest

RECORDINGS, WINDOWS = 12, 5


@pytest.fixture
def recordings():
    """A domain of 12 recordings of three classes, in any order, of five windows each that are all but equal."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.arange(RECORDINGS).repeat(WINDOWS))
    x = rng.normal(size=(RECORDINGS, 24))[groups] + 0.001 * rng.normal(size=(len(groups), 24))
    return replace(from_arrays(x, groups % 3), groups=torch.from_numpy(groups))


def parted(groups, chosen):
    """Return the groups of which some rows are chosen and some are not."""
    return {*groups[chosen].tolist()} & {*groups[~chosen].tolist()}


def test_a_selection_of_rows_keeps_their_groups(recordings):
    assert torch.equal(recordings.select([3, 1]).groups, recordings.groups[[3, 1]])


@pytest.mark.parametrize("fold", range(FOLDS))
def test_rows_that_are_held_out_are_whole_groups(recordings, fold):
    held = hold_out(recordings.labels, fold, recordings.groups)
    assert held.any()
    assert not parted(recordings.groups, held)
    assert {*recordings.labels[~held].tolist()} == {0, 1, 2}


@pytest.mark.parametrize("rule", ["dev", "transfer-cv"])
def test_what_checkpoints_are_selected_by_shares_no_group_with_the_training(recordings, rule):
    selection = CheckpointSelection(rule, recordings, recordings, torch.ones(3) / 3)
    held = {*recordings.groups[selection.held_out].tolist()}
    assert held
    assert not held & {*selection.training_source.groups.tolist()}


def test_classes_of_one_recording_each_cannot_be_held_out():
    with pytest.raises(UserError, match="one recording, and none can be held out"):
        hold_out(torch.tensor([0, 0, 1, 1]), 0, torch.tensor([3, 3, 4, 4]))


@pytest.mark.parametrize("rows", [60, 40])
@pytest.mark.parametrize("number", range(3))
def test_an_a_distance_holds_out_whole_groups(recordings, rows, number):
    generator = torch.Generator().manual_seed(number)
    places = torch.arange(60.0)[:, None]
    parts = _thirds_and_half(places, recordings.groups, rows, generator)
    seen = [{*recordings.groups[part[:, 0].long()].tolist()} for part in parts]
    assert all(seen)
    assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]


def parts_by_loop(groups: list[int], rows: int, number: int) -> list[list[int]]:
    """Return the rows of a third, a sixth and a half: whole groups in random order, one a part at least."""
    names = sorted({*groups})
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(number)).tolist()
    sizes = [groups.count(names[place]) for place in order]
    first = max(k for k in range(len(names) - 1) if k <= 1 or sum(sizes[:k]) <= rows // 3)
    second = max(k for k in range(first, len(names)) if k == first + 1 or sum(sizes[:k]) <= rows // 2)
    chosen = [order[:first], order[first:second], order[second:]]
    return [[row for row, own in enumerate(groups) if names.index(own) in part][:rows] for part in chosen]


@pytest.mark.parametrize("sizes", [(10,) * 6, (1, 1, 58), (40, 7, 7, 6), (5, 1, 9, 2, 3, 8, 1, 1, 4, 6), (20, 20, 20)])
@pytest.mark.parametrize("number", range(6))
def test_whole_groups_make_a_third_a_sixth_and_a_half_as_near_as_they_can(sizes, number):
    groups = [7 * name for name, size in enumerate(sizes) for _ in range(size)]
    places = torch.arange(float(len(groups)))[:, None]
    for rows in (len(groups), len(groups) // 2):
        found = _thirds_and_half(places, torch.tensor(groups), rows, torch.Generator().manual_seed(number))
        assert [part[:, 0].long().tolist() for part in found] == parts_by_loop(groups, rows, number)


def test_rows_without_groups_are_parted_exactly():
    places = torch.arange(100.0)[:, None]
    parts = _thirds_and_half(places, None, 60, torch.Generator().manual_seed(0))
    assert [len(part) for part in parts] == [20, 10, 30]
    assert len({*torch.cat(parts).flatten().tolist()}) == 60


def test_groups_that_are_told_apart_by_heart_are_no_distance(recordings):
    """Every recording of one distribution: a classifier that has seen its windows knows its domain, and only then."""
    x, groups = recordings.content, recordings.groups
    first = groups < RECORDINGS // 2
    torn = a_distance(x[first], x[~first])
    whole = a_distance(x[first], x[~first], groups=(groups[first], groups[~first]))
    assert torn.distance > 1.5 > 1.0 > whole.distance


def test_an_a_distance_needs_three_recordings(recordings):
    x, groups = recordings.content, recordings.groups.clamp_max(1)
    with pytest.raises(UserError, match="3 or more recordings"):
        a_distance(x, x, groups=(groups, None))
    with pytest.raises(UserError, match="got 2"):
        a_distance(x, x, splits=1, groups=(recordings.groups, groups))
    a_distance(x, x, splits=1, groups=(recordings.groups.clamp_max(2), None))


def test_the_halves_of_a_diagnosis_are_whole_groups(recordings):
    first = _first_half(recordings.groups)
    assert 0 < first.sum() < len(first)
    assert not parted(recordings.groups, first)


def test_windows_of_one_recording_are_no_neighbours(recordings):
    own = recordings.groups
    assert (own[nearest(recordings.content, 3)] == own[:, None]).all()
    assert not (own[nearest(recordings.content, 10, own)] == own[:, None]).any()
