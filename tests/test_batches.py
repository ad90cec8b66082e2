"""Training batches: functions of the step alone; each domain cycles on its own; no target label."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_folder

from jointadapt.data import Batches, Domain, Preprocessing, from_arrays, read_domain


def _numbers(rows: int) -> Domain:
    return from_arrays(np.arange(rows)[:, None], [index % 2 for index in range(rows)])


def test_every_row_comes_once_a_round_in_domains_of_different_sizes() -> None:
    batches = Batches(_numbers(10), _numbers(15), batch_size=5, seed=0)
    seen = [batches[step] for step in range(6)]
    assert Counter(torch.cat([batch.x_s for batch in seen]).flatten().tolist()) == dict.fromkeys(range(10), 3)
    assert Counter(torch.cat([batch.x_t for batch in seen]).flatten().tolist()) == dict.fromkeys(range(15), 2)


def test_labels_are_those_of_the_source_rows() -> None:
    x_s, y_s, *_ = Batches(_numbers(10), _numbers(15), 5, 0)[3]
    assert torch.equal(x_s.flatten().long() % 2, y_s)


def test_rounds_are_shuffled_anew_and_domains_apart() -> None:
    batches = Batches(_numbers(20), _numbers(20), 20, 0)
    orders = [tuple(part.flatten().tolist()) for step in range(2) for part in batches[step][0:3:2]]
    assert len(set(orders)) == 4


def test_batch_larger_than_a_domain_repeats_its_rows() -> None:
    x_s, _, x_t, *_ = Batches(_numbers(3), _numbers(40), 8, 0)[0]
    assert len(x_s) == len(x_t) == 8
    assert set(x_s.flatten().tolist()) == {0, 1, 2}


def test_target_labels_are_not_in_a_batch() -> None:
    target = _numbers(15)
    with_labels, without = (Batches(_numbers(10), domain, 5, 0)[2] for domain in (target, target.unlabelled()))
    assert all(torch.equal(a, b) for a, b in zip(with_labels[:3], without[:3], strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_seed_and_step_make_the_batch(seed: int) -> None:
    first, second = (Batches(_numbers(30), _numbers(30), 5, seed) for _ in range(2))
    assert torch.equal(first[7][0], second[7][0])
    assert not torch.equal(first[7][0], first[8][0])


@pytest.fixture
def pictures(tmp_path: Path) -> Batches:
    domain = read_domain(draw_folder(tmp_path / "a", 4))
    return Batches(domain, domain, 3, seed=1, transform=Preprocessing(32, 32).training())


def test_random_transforms_depend_on_the_step_alone(pictures: Batches) -> None:
    state = torch.get_rng_state()
    first = pictures[5]
    assert torch.equal(torch.get_rng_state(), state)
    pictures[4]
    torch.rand(3)
    assert torch.equal(pictures[5][0], first[0])


def test_workers_give_the_same_batches_and_take_no_chance_from_training(pictures: Batches) -> None:
    state = torch.get_rng_state()
    alone, together = list(pictures.iterate(2, 5)), list(pictures.iterate(2, 5, workers=2))
    assert torch.equal(torch.get_rng_state(), state)
    for first, second in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first[:3], second[:3], strict=True))


def test_finished_range_gives_no_batch(pictures: Batches) -> None:
    assert list(pictures.iterate(5, 5, workers=2)) == []
