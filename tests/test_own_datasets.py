"""Datasets and loaders of one's own: items are asked for at each step, transforms kept, labels understood."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from jointadapt.data import from_dataset
from jointadapt.data.batches import Batches
from jointadapt.errors import UserError
from jointadapt.experiment import train

CLASSES = ["cat", "dog"]
QUICK = {"steps": 3, "batch_size": 6, "baseline": False, "report": False}


class Drawn(Dataset):
    """Items (x, y) whose transform draws from torch, NumPy and Python; it counts how often it is asked."""

    def __init__(self, rows: int = 20, labelled: bool = True) -> None:
        self.labelled, self.rows, self.asked, self.classes = labelled, rows, 0, CLASSES

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int):
        self.asked += 1
        noise = torch.randn(5) + np.random.normal() + random.gauss(0, 1)
        x = index + 0.01 * noise
        return (x, index % 2) if self.labelled else x


def test_items_are_drawn_anew_and_repeatably():
    source, target = from_dataset(Drawn(), "s"), from_dataset(Drawn(labelled=False), "t")
    assert (source.classes, source.labels.tolist()[:3], target.labelled) == (("cat", "dog"), [0, 1, 0], False)
    batches, again = (Batches(source, target, 20, seed=0) for _ in range(2))
    first, second = batches[0][0], batches[1][0]
    assert torch.equal(first, again[0][0])
    assert torch.equal(first.round().sort(0).values, second.round().sort(0).values)
    assert not torch.equal(first.sort(0).values, second.sort(0).values)
    halves = [Batches(source, target, 20, seed=0, part=(part, 2))[0][0] for part in range(2)]
    assert torch.equal(torch.cat(halves), first)
    assert torch.equal(source.rows([3, 4]), source.rows([3, 4]))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_workers_make_no_difference_and_the_callers_generators_stay():
    source, target = Drawn(), Drawn(labelled=False)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    alone, several = (train(source, target, workers=workers, **QUICK) for workers in (0, 1))
    probabilities = [run.model.predict_proba(from_dataset(Drawn())) for run in (alone, several)]
    assert torch.equal(*probabilities)
    assert source.asked > QUICK["steps"] * 6
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


def test_random_transforms_are_told_of():
    notes = from_dataset(Drawn(), "mine").notes
    assert any("transforms are random" in note for note in notes)
    assert not from_dataset(TensorDataset(torch.randn(4, 3), torch.arange(4) % 2)).notes


def test_loaders_say_batch_size_and_collate():
    x, y = torch.randn(12, 2, 16), torch.arange(12) % 2

    def padded(items):
        return torch.stack([x[:, :8] for x, _ in items]), torch.stack([y for _, y in items])

    data = TensorDataset(x, y)
    loaders = [DataLoader(data, batch_size=5, shuffle=True, collate_fn=padded) for _ in range(2)]
    run = train(*loaders, steps=2, baseline=False, report=False)
    assert run.model.config.batch_size == 5
    assert run.model.shape == (2, 8)
    assert run.summary.evaluation.rows == 12  # the target's labels serve evaluation
    assert train(*loaders, **QUICK).model.config.batch_size == 6


def test_a_sampler_is_not_used_and_that_is_told():
    sampler = WeightedRandomSampler(torch.ones(6), 6)
    loader = DataLoader(TensorDataset(torch.randn(6, 2), torch.arange(6) % 2), sampler=sampler)
    assert any("WeightedRandomSampler is not used" in note for note in from_dataset(loader).notes)


class Targets(Dataset):
    """As torchvision's: `targets` and `classes`, the labels of which need no item."""

    def __init__(self, wrong: bool = False) -> None:
        self.targets, self.classes, self.asked, self.wrong = [0, 1, 1, 0, 1, 0, 0, 1], CLASSES, 0, wrong

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        self.asked += 1
        return torch.randn(3, 8, 8), 1 - self.targets[index] if self.wrong else self.targets[index]


def test_labels_are_read_off_the_dataset_where_they_agree_with_its_items():
    data = Targets()
    domain = from_dataset(data)
    assert [domain.classes[label] for label in domain.labels[:2]] == ["cat", "dog"]
    assert data.asked < 8
    assert from_dataset(Targets(wrong=True)).labels.tolist()[:2] == [1, 0]
    assert from_dataset(Subset(data, [1, 0, 3])).labels.tolist() == [1, 0, 0]
    assert from_dataset(ConcatDataset([data, data])).labels.tolist() == 2 * data.targets
    assert domain.select([2, 3]).select([1]).rows([0]).shape == (1, 3, 8, 8)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_report_shows_a_datasets_pictures(tmp_path):
    run = train(Targets(), Targets(), tmp_path / "run", steps=2, batch_size=4)
    assert run.model.config.backbone == "cnn"
    assert (tmp_path / "run" / "report.html").exists()


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2)


class Items(Dataset):
    def __init__(self, *items) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Stream(), "map-style"),
        (DataLoader(Stream()), "map-style"),
        (Items(), "empty"),
        (Items((Image.new("RGB", (2, 2)), 0), (Image.new("RGB", (2, 2)), 1)), "PIL images"),
        (Items(({"a": 1}, 0)), "x of dict"),
        (Items((1.0, 0)), "one number"),
    ],
)
def test_what_is_no_dataset_of_rows_is_told(data, words):
    with pytest.raises(UserError, match=words):
        train(data, data, **QUICK)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_items_of_several_shapes_are_told():
    data = Items((torch.zeros(2), 0), (torch.zeros(3), 1))
    with pytest.raises(UserError, match="let its transform give them one"):
        train(data, data, **QUICK)
