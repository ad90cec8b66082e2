"""Arrays of images: which axis holds the channels, what white is, and one range for both domains; nothing by guess."""

import numpy as np
import pytest
import torch

from jointadapt import Model, from_arrays, train
from jointadapt.data import Domain
from jointadapt.errors import UserError

GENERATOR = np.random.default_rng(0)
Y = GENERATOR.integers(0, 3, 60)
GREY = GENERATOR.integers(0, 100, (60, 12, 9)).astype(np.uint8)
GREY[np.arange(60), Y * 3] = 255
COLOUR = GREY[..., None].repeat(3, 3)
QUICK = {"steps": 20, "batch_size": 12, "baseline": False, "report": False, "select": "last"}


def content(domain: Domain) -> torch.Tensor:
    assert isinstance(domain.content, torch.Tensor)
    return domain.content


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (GREY.astype(np.float32), "values from 0 to 255 of type float32 were divided by 255"),
        (GREY.astype(np.int64), "values from 0 to 255 of type int64 were divided by 255"),
        (GREY.astype(np.uint16), "values from 0 to 255 of type uint16 were divided by 255"),
        (GREY.astype(np.uint16) * 257, "values from 0 to 65535 of type uint16 were divided by 65535"),
        (GREY / 255, "read as grey images of 12 × 9 pixels; if they are signals"),
        (GREY, None),
        (torch.from_numpy(GREY), None),
        (GREY[:, ::-1][:, ::-1], None),
    ],
)
def test_the_same_pictures_are_the_same_pixels(x: np.ndarray, says: str | None) -> None:
    domain = from_arrays(x)
    torch.testing.assert_close(content(domain), torch.from_numpy(GREY / np.float32(255))[:, None])
    assert domain.kind == "pixels"
    assert any(says in note for note in domain.notes) if says else not domain.notes


@pytest.mark.parametrize(
    ("x", "shape", "says"),
    [
        (COLOUR, (3, 12, 9), None),
        (COLOUR.transpose(0, 3, 1, 2), (3, 12, 9), "read as images of 12 × 9 pixels with 3 channels, these first"),
        (GREY[..., None], (1, 12, 9), None),
        (GREY[:, None], (1, 12, 9), "with 1 channels, these first"),
        (COLOUR[..., [0, 1, 2, 0]], (4, 12, 9), None),
        (GREY[:, :9, :, None].repeat(13, 3), (13, 9, 9), "with 13 channels, these last"),
        (GREY[:, None, :9].repeat(13, 1), (13, 9, 9), "with 13 channels, these first"),
        (COLOUR[:, :4, :4, :1], (1, 4, 4), None),
    ],
)
def test_the_channels_axis_is_told_by_its_length(x: np.ndarray, shape: tuple, says: str | None) -> None:
    domain = from_arrays(x)
    assert domain.shape == shape
    assert content(domain)[5, 0, 2, 3] == GREY[5, 2, 3] / np.float32(255)
    assert any(says in note for note in domain.notes) if says else not domain.notes


@pytest.mark.parametrize("shape", [(9, 3, 3, 3), (9, 12, 9, 13), (9, 3, 12, 3), (9, 1, 12, 4)])
def test_an_axis_that_nobody_can_tell_is_asked_about(shape: tuple) -> None:
    with pytest.raises(UserError, match=r"which axis of .* holds the channels"):
        from_arrays(np.zeros(shape))


@pytest.mark.parametrize(
    "x",
    [
        GENERATOR.normal(size=(60, 50, 9)),
        (GENERATOR.normal(size=(60, 50, 9)) * 1000).astype(np.int16),
        GENERATOR.integers(0, 4000, (60, 50, 9)).astype(np.int32),
        GENERATOR.uniform(0, 16, (60, 8, 8)),
    ],
)
def test_three_axes_with_values_that_are_no_pixels_are_asked_about(x: np.ndarray) -> None:
    with pytest.raises(UserError, match=r'may hold images .* or signals .*; say kind="images" or kind="signal"'):
        from_arrays(x)
    assert from_arrays(x, kind="signal").shape == x.shape[1:]
    assert torch.equal(content(from_arrays(x, kind="signal")), torch.from_numpy(x.astype(np.float32)))
    assert torch.equal(content(from_arrays(x, kind="images")), torch.from_numpy(x.astype(np.float32))[:, None])


def test_integers_of_two_axes_are_numbers() -> None:
    for kind in (np.uint8, np.int16, np.int64, np.uint16):
        x = GREY.reshape(60, -1).astype(kind)
        assert torch.equal(content(from_arrays(x)), torch.from_numpy(x.astype(np.float32)))


def test_large_numbers_that_float32_cannot_tell_apart_are_told() -> None:
    ids = np.arange(60)[:, None] + np.array([[9_007_199_254_740_993, 0]])
    (note,) = from_arrays(ids).notes
    assert "the numbers of column 0 (60 values become 1) are too large for float32" in note
    assert not from_arrays(np.full((60, 2), 1 << 40)).notes
    (note,) = from_arrays(1.7e18 + 1024.0 * np.arange(60)[:, None]).notes
    assert "column 0 (60 values become 1)" in note


def test_masked_and_complex_arrays_are_refused() -> None:
    with pytest.raises(UserError, match="source: 1 of 4 values are masked"):
        train((np.ma.masked_array(np.eye(2), [[False, True], [False, False]]), [0, 1]), np.eye(2))
    with pytest.raises(UserError, match="numbers are needed; got complex ones"):
        from_arrays(np.eye(2) + 0j)


@pytest.mark.filterwarnings("ignore:.*(read as grey images|were divided by 255)")
def test_integer_and_floating_pixels_train_the_same() -> None:
    floats, unit = GREY.astype(np.float32), GREY / 255
    found = set()
    for x_s, x_t in ((GREY, GREY), (GREY, floats), (floats, floats), (floats, GREY), (GREY, unit)):
        evaluation = train((x_s, Y), (x_t, Y), **QUICK).summary.evaluation
        assert evaluation is not None
        found.add(evaluation.accuracy)
    assert len(found) == 1


def test_dark_floating_pixels_beside_bright_ones_are_brought_to_one_range() -> None:
    dark = np.minimum(GREY, 100).astype(np.float32)
    with pytest.warns(UserWarning, match="dark: pixels from 0 to 100 are divided by 255, as the other domain's are"):
        run = train((GREY, Y), from_arrays(dark, Y, "dark", kind="images"), **QUICK)
    found = run.model.predict_proba(from_arrays(dark, kind="images"))
    torch.testing.assert_close(found, run.model.predict_proba(from_arrays(dark / 255, kind="images")))


def test_a_model_of_raw_pixels_takes_integers_as_they_came(tmp_path) -> None:
    small = (GREY // 16).astype(np.float32)
    run = train((small, Y), from_arrays(small, kind="images"), tmp_path / "run", kind="images", **QUICK)
    model = Model.load(tmp_path / "run")
    raw = from_arrays(small, kind="images")
    assert raw.white == 1
    torch.testing.assert_close(model.predict_proba(from_arrays(small.astype(np.uint8))), model.predict_proba(raw))
    assert torch.equal(run.model.predict_proba(raw), model.predict_proba(raw))


def test_pixels_of_ranges_that_do_not_fit_are_refused_or_told() -> None:
    unit, noisy = GREY / 255, GREY / 255 + GENERATOR.normal(0, 0.5, GREY.shape)
    with pytest.raises(
        UserError, match=r"wide: its pixels lie from .* to 4\.09e\+03, the source's from 0 to 1; bring both"
    ):
        train((GREY, Y), from_arrays(16.05 * GREY, Y, "wide", kind="images"), **QUICK)
    with pytest.warns(UserWarning, match="noisy: its pixels lie from .*, the source's from 0 to 1; are they meant to"):
        train(from_arrays(unit, Y, kind="images"), from_arrays(noisy, name="noisy", kind="images"), **QUICK)


def test_flat_bytes_beside_fractions_are_told() -> None:
    flat = GREY.reshape(60, -1)
    with pytest.warns(UserWarning, match=r"source's values go from 0 to 255, target's from 0 to 0\.9: .* by 255"):
        train((flat, Y), (flat / 255 * 0.9, Y), **QUICK)
    train((flat, Y), (flat / 8, Y), **QUICK)
