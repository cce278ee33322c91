"""extent, mean_step and one_euro against their NumPy twins, and what may be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands import _core


def hand(seed: int, dtype: str = "f4") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(300, 80, (85, 2)), rng.random(85)]).astype(dtype)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.floats(-0.1, 1.1), st.floats(-4, 4), st.sampled_from(["f4", "f8"]))
def test_extent_is_its_twin(seed: int, least: float, turn: float, dtype: str) -> None:
    points = hand(seed, dtype)
    *box, count = _core.extent(points, least, turn)
    wanted, number = reference.extent(points, least, turn)
    assert count == number
    np.testing.assert_allclose(box, wanted, atol=1e-9)


def test_points_that_are_nowhere_leave_no_box() -> None:
    points = hand(0)
    points[3] = np.nan, np.nan, 0.0  # absent: it does not count
    assert np.isfinite(_core.extent(points, 0.01)[:4]).all()
    points[4] = np.nan, 5, 1.0
    assert np.isnan(_core.extent(points, 0.01)[:4]).all()
    assert _core.extent(points[:0], 0.0)[4] == 0 and np.isnan(_core.extent(points, 2.0)[0])


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(0, 2))
def test_longest_way_is_its_twin(seed: int, broken: int) -> None:
    points = hand(seed)[:20]
    points[:broken, 0] = np.nan
    found = _core.longest_way(points, 4, 0.3)
    assert found == pytest.approx(reference.longest_way(points, 4, 0.3), abs=1e-4)


def test_longest_way_stays_inside_a_chain_and_skips_what_scores_low() -> None:
    points = np.array([[0, 0, 1], [1, 0, 1], [9, 0, 1], [9, 2, 1], [9, 9, 0.1], [50, 9, 1]], float)
    assert _core.longest_way(points, 2, 0.5) == 2
    assert _core.longest_way(points, 2, 0.0) == 41
    assert _core.longest_way(points[:1], 2, 0.0) == 0


@settings(deadline=None)
@given(st.integers(0, 999))
def test_mean_step_is_its_twin(seed: int) -> None:
    a, b = hand(seed), hand(seed + 1, "f8")
    np.testing.assert_allclose(_core.mean_step(a, b), reference.mean_step(a, b), atol=1e-10)


@settings(deadline=None)
@given(st.integers(0, 999), st.floats(1e-4, 1), st.floats(0, 500), st.integers(1, 4))
def test_one_euro_is_its_twin(seed: int, dt: float, size: float, axes: int) -> None:
    rng = np.random.default_rng(seed)
    now, last, speed = rng.normal(0, 50, (3, 85, axes))
    rates = rng.uniform(0.1, 9, 3)
    named = dict(zip(("min_cutoff_hz", "beta", "d_cutoff_hz"), rates.tolist(), strict=True))
    kept = last.copy(), speed.copy()
    found = _core.one_euro(now, last, speed, dt_s=dt, size=size, **named)
    wanted = reference.one_euro(now, last, speed, dt, size, rates)
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    np.testing.assert_array_equal((last, speed), kept)  # what went in stays as it was


@settings(deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 3), st.floats(0, 1))
def test_moved_back_is_its_twin(seed: int, most: float, lost: float) -> None:
    rng = np.random.default_rng(seed)
    before = np.stack([hand(seed), hand(seed + 1)])
    points = before + rng.normal(0, 10, before.shape).astype("f4") + rng.normal(0, 40, (2, 1, 1)).astype("f4")
    for which in (points, before):
        which[rng.random(which.shape[:2]) < lost / 2, :2] = np.nan
    share, kept = rng.random(2), points.copy()
    found = _core.moved_back(points, before, share, joints=21, most=most)
    wanted = [reference.moved_back(*a, 21, most) for a in zip(points, before, share, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_array_equal(points, kept)  # what went in stays as it was


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(0, 5))
def test_support_is_its_twin(seed: int, views: int, hands: int) -> None:
    rng = np.random.default_rng(seed)
    drawn, read = rng.normal(0, 30, (views, hands, 21, 2)), rng.normal(0, 30, (views, 2, 21, 2))
    weight, reach = rng.random((views, 2, 21)), rng.uniform(1, 50, (views, 2))
    gone = rng.random((views, 2, 21)) < 0.3
    read[gone], weight[gone] = np.nan, 0
    drawn[rng.random((views, hands, 21)) < 0.1] = np.nan
    found = _core.support(drawn, read, weight, reach)
    np.testing.assert_allclose(found, reference.support(drawn, read, weight, reach), atol=1e-12)


def test_wrong_arrays_are_named() -> None:
    with pytest.raises(ValueError, match="before must be of the shape of points_px"):
        _core.moved_back(hand(0)[None], hand(0)[None, :5], np.zeros(1), joints=21, most=1.0)
    with pytest.raises(ValueError, match=r"joints must be 0 .. P, got 86"):
        _core.moved_back(hand(0)[None], hand(0)[None], np.zeros(1), joints=86, most=1.0)
    with pytest.raises(ValueError, match=r"weight must be \(V, R, J\)"):
        _core.support(np.zeros((1, 2, 3, 2)), np.zeros((1, 2, 3, 2)), np.zeros((1, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"points_px must be \(N, 3\)"):
        _core.extent(hand(0)[:, :2], 0.1)
    with pytest.raises(ValueError, match="chain must be 1 or more, got 0"):
        _core.longest_way(hand(0), 0, 0.1)
    with pytest.raises(ValueError, match="N = 85"):
        _core.mean_step(hand(0), hand(0)[:5])
    euro = {"size": 1.0, "min_cutoff_hz": 1.0, "beta": 1.0, "d_cutoff_hz": 1.0}
    with pytest.raises(ValueError, match="last must be of the shape of now"):
        _core.one_euro(hand(0), hand(0)[:5], hand(0), dt_s=0.1, **euro)
    with pytest.raises(ValueError, match="dt_s must be above 0"):
        _core.one_euro(hand(0), hand(0), hand(0), dt_s=float("nan"), **euro)
