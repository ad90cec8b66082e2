"""Rare classes: told, and shown as often as the others where that is asked for."""

import numpy as np
import pytest
import torch

from jointadapt import train
from jointadapt.data import Batches, Domain, from_arrays


def imbalanced(counts: tuple[int, ...]) -> Domain:
    labels = np.repeat(np.arange(len(counts)), counts)
    return from_arrays(np.arange(len(labels))[:, None].astype(float), labels, "source")


def test_each_class_is_equally_often_in_balanced_batches():
    source = imbalanced((2, 50, 100))
    batches = Batches(source, source, 12, 0, balanced=True)
    for step in range(5):
        assert torch.bincount(batches[step].y_s).tolist() == [4, 4, 4]
    rows = torch.cat([batches[step][0].flatten()[batches[step][1] == 1] for step in range(25)])
    assert sorted(rows[:50].tolist()) == list(range(2, 52))  # each row of a class once, before any again
    assert rows[:50].tolist() != rows[50:].tolist()


def test_balanced_batches_are_a_function_of_the_step_and_of_no_part():
    source = imbalanced((3, 10, 20, 5))
    whole = Batches(source, source, 10, 1, balanced=True)
    again = [Batches(source, source, 10, 1, balanced=True)[step] for step in (7, 3)]
    for step, batch in zip((7, 3), again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(whole[step][:3], batch[:3], strict=True))
    parts = [Batches(source, source, 10, 1, None, (part, 3), balanced=True)[7] for part in range(3)]
    assert torch.equal(torch.cat([part.x_s for part in parts]), whole[7][0])
    assert torch.equal(whole[7][2], Batches(source, source, 10, 1)[7][2])  # the target's stay as they are


def test_a_rare_class_is_told_with_its_number_and_found_in_balanced_batches():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [5, 250, 245])
    centres = generator.normal(size=(3, 10))
    x = centres[labels] + generator.normal(size=(500, 10)) * 0.5
    options = {"method": "source-only", "steps": 150, "report": False}
    with pytest.warns(UserWarning, match="of 500 source rows '0' has 5: so rare a class may never be predicted"):
        train((x, labels), x, **options)
    run = train((x, labels), x, class_balance="batches", **options)
    predicted = run.model.predict_proba(from_arrays(x)).argmax(1).numpy()
    assert (predicted[:5] == 0).all()
    assert run.summary.warnings == ()
