"""Names of a rig's hands over a whole recording: exchanged stretches are put right, right ones stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import TEMPLATE_UV
from test_camera import camera

from rt_hands import Rig
from rt_hands.layout import MIRROR, N_POINTS
from rt_hands.tracking import naming
from rt_hands.tracking.naming import exchanged, views_exchanged

RIG = Rig((camera("a", 1), camera("b", 2)))
COUNT = 60


def world(apart_mm: np.ndarray) -> np.ndarray:
    """(T, 170, 3): two flat hands, of which the shape says nothing, at these distances."""
    flat = np.column_stack([(TEMPLATE_UV - 0.5) * 150, np.zeros(85)])
    right, left = flat * (-1, 1, 1), flat
    return np.stack([np.concatenate([right - (d / 2, 0, 0), left + (d / 2, 0, 0)]) for d in apart_mm])


def seen(points_mm: np.ndarray) -> np.ndarray:
    """(T, V, 170, 3): what the views see of it, rightly named."""
    px = np.stack([RIG.project(moment) for moment in points_mm])
    return np.concatenate([px, np.full((*px.shape[:-1], 1), 0.8)], -1).astype(np.float32)


@pytest.fixture(scope="module")
def meeting() -> np.ndarray:
    """Hands that come together and part."""
    return world(300 - 280 * np.exp(-(((np.arange(COUNT) - 30) / 8) ** 2)))


def with_exchange(points: np.ndarray, at: slice) -> np.ndarray:
    wrong = points.copy()
    wrong[at] = wrong[at][:, MIRROR]
    return wrong


def turned(points: np.ndarray, px: np.ndarray, present: np.ndarray | None = None) -> list[int]:
    present = np.ones((len(points), 2), bool) if present is None else present
    return np.flatnonzero(exchanged(points, present, np.arange(len(points)) * 33_333_333, px, RIG)).tolist()


def test_right_names_stay(meeting):
    assert turned(meeting, seen(meeting)) == []


@pytest.mark.parametrize("at", [slice(31, 45), slice(30, COUNT), slice(0, COUNT), slice(5, 6)])
def test_what_the_views_call_otherwise_is_put_right(meeting, at):
    assert turned(with_exchange(meeting, at), seen(meeting)) == list(range(COUNT))[at]


def test_views_that_are_wrong_for_a_moment_are_overruled_by_the_others(meeting):
    px = seen(meeting)
    px[8:11] = px[8:11][:, :, MIRROR]
    px[20:40, 0] = px[20:40, 0][:, MIRROR]
    assert turned(meeting, px) == []


def test_the_shape_decides_where_the_views_are_even(meeting, monkeypatch):
    px = seen(meeting)
    px[:, 0] = px[:, 0][:, MIRROR]
    monkeypatch.setattr(naming, "_shapes_say", lambda joints: np.full(len(joints), -0.4))
    assert turned(meeting, px) == list(range(COUNT))


def test_lone_hands_and_moments_without_any(meeting):
    points, px = meeting.copy(), seen(meeting)
    present = np.ones((COUNT, 2), bool)
    # The left hand goes; the right one is called left for a while.
    points[40:, 85:], px[40:, :, 85:], present[40:, 1] = np.nan, np.nan, False
    named = px.copy()
    points[45:50], present[45:50] = points[45:50][:, MIRROR], present[45:50, ::-1]
    points[52:54], present[52:54] = np.nan, False
    assert turned(points, named, present) == [45, 46, 47, 48, 49]
    assert turned(np.full((3, N_POINTS, 3), np.nan), px[:3], np.zeros((3, 2), bool)) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=COUNT, max_size=COUNT))
def test_any_exchanges_of_hands_apart_are_undone(flags):
    flags = np.array(flags)
    points = world(np.full(COUNT, 250.0))
    wrong = np.where(flags[:, None, None], points[:, MIRROR], points)
    assert turned(wrong, seen(points)) == np.flatnonzero(flags).tolist()


def test_each_picture_is_named_as_the_rig_names_it(meeting):
    px = seen(meeting)
    wrong = np.zeros((COUNT, 2), bool)
    wrong[8:11], wrong[20:40, 0] = True, True
    px[wrong] = px[wrong][:, MIRROR]
    px[50:, 1, 85:], px[55:, 1] = np.nan, np.nan  # a picture may show one hand or none
    assert np.array_equal(views_exchanged(meeting, px, RIG), wrong)
    assert not views_exchanged(np.full_like(meeting, np.nan), px, RIG).any()
