"""project against cv2.projectPoints and its NumPy twin at every SIMD level, and everything that may be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from core_scenes import cv2_project, hand_points, ring
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rt_hands import _core


@pytest.mark.parametrize("views", [1, 8, 80])
def test_same_as_cv2(level: str, views: int) -> None:
    """float32 within 1e-4 px (3e-5 to 7e-5 measured; float32 rounds 1024 px by 6e-5), float64 within 1e-9 (3e-13)."""
    K, dist, poses, size = ring(views)
    points = hand_points(170)
    single = points.astype(np.float32)
    got, in_front, inside = _core.project(single, K, dist, poses, size)
    assert got.dtype == np.float32 and in_front.all() and inside.mean() > 0.9
    assert np.abs(got - cv2_project(single, K, dist, poses)).max() < 1e-4
    assert (
        np.abs(_core.project(points, K, dist, poses, size)[0] - cv2_project(points, K, dist, poses)).max()
        < 1e-9
    )


def random_rig(rng: np.random.Generator, views: int) -> tuple[np.ndarray, ...]:
    """Cameras of 640x480 to 3840x2160 with lenses of all five terms, 0.3 to 3 m from the origin."""
    K, dist, poses, size = (part.copy() for part in ring(views))
    for v in range(views):
        size[v] = [(640, 480), (1280, 720), (1920, 1080), (3840, 2160)][rng.integers(4)]
        K[v, 0, 0] = K[v, 1, 1] = size[v, 0] * rng.uniform(0.5, 1.6)
        K[v, :2, 2] = size[v] / 2 + rng.normal(0, 20, 2)
        dist[v] = rng.normal(0, 1, 5) * [0.15, 0.08, 2e-3, 2e-3, 0.03]
        poses[v, :, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        depth = rng.uniform(300, 3000)
        poses[v, :, 3] = [*rng.uniform(-0.5, 0.5, 2) * size[v] / K[v, 0, 0] * depth, depth]
    return K, dist, poses, size


def test_float32_holds_for_any_rig(level: str) -> None:
    """Within 1e-4 px of float64 up to 2048 px (9.4e-5 in 2e9 coordinates, measured apart), and beyond it
    within what float32 can say there, 1.221e-4 px. Clouds of one hand, of two and of points on a plane."""
    rng = np.random.default_rng(5)
    for round_ in range(60):
        points = rng.normal(0, rng.uniform(5, 60), (170, 3))
        points[:85, 0] += 200 * (round_ % 2)
        points[:, 2] *= round_ % 3 > 0
        points = (points + rng.normal(0, 0.1, 3)).astype(np.float32)
        rig = random_rig(rng, 8)
        got, in_front, inside = _core.project(points, *rig)
        wanted, front, within = _core.project(points.astype(float), *rig)
        seen = within[..., None] & (np.abs(wanted) < 2048)
        assert np.abs(got - wanted)[seen].max(initial=0) < 1e-4
        assert np.abs(got - wanted)[within].max(initial=0) < 1.25e-4
        np.testing.assert_array_equal(in_front, front)
        assert (inside != within).sum() <= 1  # a point on the border may fall on either side


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 31, 32, 33, 191, 192, 193, 208, 400])
@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
def test_float32_any_count_and_a_point_without_a_place(level: str, count: int, bad: float | None) -> None:
    """The same masks as float64, and NaN for the point without a place only."""
    rig = ring(9)
    points = hand_points(count, 4).astype(np.float32)
    if bad is not None:
        points[count // 2, 1] = bad
    got, wanted = _core.project(points, *rig), _core.project(points.astype(float), *rig)
    np.testing.assert_allclose(got[0], wanted[0], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(got[1], wanted[1])
    np.testing.assert_array_equal(got[2], wanted[2])


def test_float32_partly_out_of_the_picture(level: str) -> None:
    """A small picture: many points beside it, each counted as float64 counts it."""
    K, dist, poses, size = ring(12)
    K[:, :2, 2], size[:] = [99.5, 59.5], [200, 120]
    points = hand_points(170).astype(np.float32)
    inside, wanted = (_core.project(p, K, dist, poses, size)[2] for p in (points, points.astype(float)))
    assert 0.2 < inside.mean() < 0.9
    np.testing.assert_array_equal(inside, wanted)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 191, 192, 193, 400])
def test_any_count_same_as_numpy(level: str, count: int) -> None:
    K, dist, poses, size = ring(3)
    points = np.random.default_rng(2).normal(0, 900, (count, 3))
    got = _core.project(points, K, dist, poses, size)
    wanted = reference.project(points, K, dist, poses, size)
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(got[1], wanted[1])
    np.testing.assert_array_equal(got[2], wanted[2])


def test_borders_of_the_picture(level: str) -> None:
    """Pixel centres lie at integers, so a 1280 px wide picture spans -0.5 <= x < 1279.5."""
    K, dist = np.diag([1.0, 1, 1])[None], np.zeros((1, 5))
    pose = np.eye(3, 4)[None]
    x = np.array([-0.51, -0.5, 0, 1279.49, 1279.5])
    points = np.stack([x, 0 * x, 0 * x + 1], -1)
    for dtype in (np.float32, np.float64):
        _, _, inside = _core.project(points.astype(dtype), K, dist, pose, [[1280, 720]])
        assert inside.tolist() == [[False, True, True, True, False]]


def test_behind_and_not_finite_is_nan(level: str) -> None:
    points = np.array([[0, 0, -5.0], [0, 0, 0], [np.nan, 0, 5], [0, np.inf, 5], [0, 0, np.inf], [1, 2, 5]])
    for dtype in (np.float32, np.float64):
        pixels, in_front, inside = _core.project(
            points.astype(dtype), np.eye(3)[None], np.zeros((1, 5)), np.eye(3, 4)[None], [[10, 10]]
        )
        assert np.isnan(pixels[0, :2]).all() and np.isnan(pixels[0, 2]).any() and not inside[0, :5].any()
        assert not in_front[0, :2].any() and pixels[0, 5].tolist() == pytest.approx([0.2, 0.4])
        assert in_front[0, 5] and inside[0, 5]


def test_a_lens_that_folds_back_is_not_inside(level: str) -> None:
    """k1 = -0.3 turns at r = 1.054: a point at r = 1.7 lands inside the picture, but no light takes that way."""
    dist = np.array([[-0.3, 0, 0, 0, 0]])
    K = np.array([[[300.0, 0, 320], [0, 300, 240], [0, 0, 1]]])
    pixels, _, inside = _core.project(
        np.array([[0.9, 0, 1], [1.7, 0, 1.0]]), K, dist, np.eye(3, 4)[None], [[640, 480]]
    )
    assert (pixels[0, :, 0] < 639).all() and inside.tolist() == [[True, False]]


def test_distortion_that_overflows_ends() -> None:
    """A broken calibration file: its slope's terms add up to infinity, of which the search made a step of 0."""
    dist = np.array([[-5e307, -3e307, 0, 0, 0]])
    _, in_front, _ = _core.project(
        np.array([[0, 0, 100.0]]), np.eye(3)[None], dist, np.eye(3, 4)[None], [[640, 480]]
    )
    assert in_front.all()


@settings(max_examples=60, deadline=None)
@given(dist=hnp.arrays(float, 5, elements=st.integers(-40, 40).map(lambda n: n / 100)), r=st.floats(0, 3))
def test_fold_radius(dist: np.ndarray, r: float) -> None:
    dist[2:4] = 0
    limit = reference.fold_radius2(dist)
    if abs(r * r - limit) < 1e-3:
        return
    K = np.array([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]])
    size = [[2e9, 2e9]]
    inside = _core.project(np.array([[r, 0, 1.0]]), K, dist[None], np.eye(3, 4)[None], size)[2][0, 0]
    x = reference.distort(np.array(r), np.array(0.0), dist)[0]
    assert inside == (r * r <= limit and x >= -0.5)


@settings(max_examples=60, deadline=None)
@given(
    points=hnp.arrays(np.float32, st.tuples(st.integers(0, 20), st.just(3)), elements=st.floats(width=32)),
    steps=st.sampled_from([1, 2, -1, -3]),
)
def test_any_values_and_strides(points: np.ndarray, steps: int) -> None:
    K, dist, poses, size = ring(2)
    view = points[::steps]
    pixels, in_front, inside = _core.project(view, K, dist, poses, size)
    assert pixels.shape == (2, len(view), 2) and not (inside & ~in_front).any()
    assert np.isfinite(pixels[inside]).all()


def test_four_by_four_no_size_and_no_camera() -> None:
    K, dist, poses, size = ring(4)
    square = np.concatenate([poses, np.tile([[[0, 0, 0, 1.0]]], (4, 1, 1))], 1)
    points = hand_points(10)
    np.testing.assert_array_equal(
        _core.project(points, K, dist, square, size)[0], _core.project(points, K, dist, poses, size)[0]
    )
    assert not _core.project(points, K, dist, poses, None)[2].any()
    empty = _core.project(points, K[:0], dist[:0], poses[:0], size[:0])
    assert [part.shape for part in empty] == [(0, 10, 2), (0, 10), (0, 10)]


K1, DIST1, POSES1, SIZE1 = ring(2)
POINTS = np.zeros((4, 3), np.float32)
SKEW = K1.copy()
SKEW[1, 0, 1] = 0.5
BAD = [
    ({"points": POINTS[0]}, r"points must be \(N, 3\) in mm, got \(3,\) float32"),
    ({"points": POINTS.astype(int)}, r"points must be float32 or float64, got \(4, 3\) int64"),
    ({"points": None}, "points must be"),
    ({"K": K1[0]}, r"K must be \(V, 3, 3\), got \(3, 3\) float64"),
    ({"K": SKEW}, r"K of camera 1 must be \[\[fx, 0, cx\]"),
    ({"K": -K1}, "K of camera 0 must be"),
    ({"K": K1 * np.nan}, "K of camera 0 must be finite, got"),
    ({"dist": DIST1[:, :4]}, r"dist must be \(V, 5\) with V = 2 as in K, got \(2, 4\) float64"),
    ({"dist": DIST1 + np.inf}, "dist of camera 0 must be finite, got inf"),
    ({"cam_from_world": POSES1[:1]}, r"cam_from_world must be \(V, 3, 4\) or \(V, 4, 4\) with V = 2"),
    ({"cam_from_world": POSES1 * np.nan}, "cam_from_world of camera 0 must be finite"),
    ({"size": SIZE1[:, :1]}, r"size must be \(V, 2\) with V = 2 as in K, got \(2, 1\)"),
    ({"size": SIZE1.astype(str)}, "size must hold real numbers"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_says_what_came(change: dict[str, object], message: str) -> None:
    good = {"points": POINTS, "K": K1, "dist": DIST1, "cam_from_world": POSES1, "size": SIZE1}
    with pytest.raises(ValueError, match=message):
        _core.project(**{**good, **change})  # type: ignore[call-overload]
