"""draw against its NumPy twin at every SIMD level, and everything that may be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands import _core


def random_strokes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    strokes = rng.uniform(-20, 100, (count, 5))
    strokes[:, 4] = rng.uniform(0.2, 9, count)
    strokes[::4, 2:4] = strokes[::4, :2]  # discs
    strokes[1::8, 3] = strokes[1::8, 1]  # level lines
    strokes[5::8, 2] = strokes[5::8, 0]  # upright ones
    return strokes.astype(np.float32), rng.integers(0, 256, (count, 3), np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_same_as_its_twin(level: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (70, 90, 3), np.uint8)
    strokes, colours = random_strokes(rng, 40)
    wanted = reference.draw(image, strokes, colours)
    _core.draw(image, strokes, colours)
    # Measured 1: float32 against float64 in the last of 256 steps of cover.
    assert np.abs(image.astype(int) - wanted).max() <= 2


def test_a_disc_has_its_area_and_place(level: str) -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    _core.draw(image, np.array([[30.3, 27.8, 30.3, 27.8, 20.0]]), np.array([[255, 255, 255]], np.uint8))
    cover = image[..., 0] / 255
    y, x = np.mgrid[:60, :60]
    assert cover.sum() == pytest.approx(np.pi * 100, rel=0.005)
    assert (cover * x).sum() / cover.sum() == pytest.approx(30.3, abs=0.01)
    assert (cover * y).sum() / cover.sum() == pytest.approx(27.8, abs=0.01)


def test_a_line_has_its_width_and_full_colour(level: str) -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    _core.draw(image, np.array([[10.0, 10.4, 50, 10.4, 3.0]]), np.array([[10, 200, 30]], np.uint8))
    assert image[:, 30, 1].sum() / 200 == pytest.approx(3, abs=0.02)
    assert image[10, 30].tolist() == [10, 200, 30]


def test_rows_may_be_anywhere(level: str) -> None:
    rng = np.random.default_rng(0)
    strokes, colours = random_strokes(rng, 12)
    whole = rng.integers(0, 256, (80, 100, 3), np.uint8)
    part = whole[10:60, 20:70][::-1]
    before, wanted = whole.copy(), reference.draw(part, strokes, colours)
    _core.draw(part, strokes, colours)
    assert np.abs(part.astype(int) - wanted).max() <= 2
    whole[10:60, 20:70] = before[10:60, 20:70]
    np.testing.assert_array_equal(whole, before)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 300.0, 1e5, 9e5, 1e30]))
def test_wild_strokes_are_clipped_or_left_out(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    strokes = rng.normal(0, spread, (20, 5))
    strokes[rng.random((20, 5)) < 0.05] = rng.choice([np.nan, np.inf, -np.inf, 1e300])
    image = np.full((30, 40, 3), 7, np.uint8)
    with np.errstate(over="ignore"):
        _core.draw(image, strokes.astype(np.float32), np.full((20, 3), 200, np.uint8))
    sound = (np.abs(strokes) <= 1e6).all(1) & (strokes[:, 4] > 0)
    assert image.min() >= 7 and image.max() <= 200
    assert sound.any() or (image == 7).all()


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (1, 1, 3)])
def test_tiny_pictures(level: str, shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    _core.draw(image, np.array([[-5.0, -5, 5, 5, 4]]), np.full((1, 3), 9, np.uint8))
    assert (image == 9).all()  # of none, where there are none


GOOD = (np.zeros((8, 8, 3), np.uint8), np.zeros((2, 5), np.float32), np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ("place", "bad", "says"),
    [
        (0, np.zeros((8, 8, 3)), "image must be a writable"),
        (0, np.zeros((8, 8, 4), np.uint8), "image"),
        (0, np.zeros((8, 8, 3), np.uint8)[:, ::-1], "rows lie together"),
        (0, np.broadcast_to(np.uint8(0), (8, 8, 3)), "writable"),
        (0, [[[0, 0, 0]]], "image"),
        (1, np.zeros((2, 4)), "strokes"),
        (1, np.full((2, 5), "x"), "strokes must hold real numbers"),
        (2, np.zeros((3, 3), np.uint8), "N = 2"),
        (2, np.zeros((2, 3)), "colours"),
    ],
)
def test_wrong_arrays_are_named(place: int, bad: object, says: str) -> None:
    arguments: list[object] = list(GOOD)
    arguments[place] = bad
    with pytest.raises(ValueError, match=says):
        _core.draw(*arguments)  # type: ignore[arg-type]
