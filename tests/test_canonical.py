"""The canonical frame: exact inverses, equivariance, mirror, missing joints, wrong units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rt_hands.errors import InvalidInput
from rt_hands.lifting.canonical import (
    MIN_SCALE_MM,
    PALM_JOINTS,
    PALM_TEMPLATE,
    canonical_frame,
    canonicalise,
    check_joints,
)

RIGHT, LEFT = np.zeros(1, int), np.ones(1, int)


def hand(rng: np.random.Generator, n: int = 1, palm_mm: float = 95.0) -> np.ndarray:
    """Plausible right hands (n, 21, 3) mm: the template palm, jittered, with fingers going on from the knuckles."""
    joints = np.zeros((n, 21, 3))
    joints[:, PALM_JOINTS] = PALM_TEMPLATE + rng.normal(0, 0.03, (n, 6, 3))
    for base in PALM_JOINTS[1:]:
        for k in range(1, 4):
            joints[:, base + k] = joints[:, base + k - 1] + [0.0, 0.3, 0.1] + rng.normal(0, 0.05, (n, 3))
    return joints * palm_mm


def moved(joints: np.ndarray, seed: int) -> np.ndarray:
    """The hands turned, grown and shifted at random."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    return joints @ turn.T * rng.uniform(0.7, 1.4) + rng.uniform(-800, 800, 3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), side=st.integers(0, 1))
def test_to_world_inverts_to_canonical(seed: int, side: int) -> None:
    joints = moved(hand(np.random.default_rng(seed), 3), seed)
    frame = canonical_frame(joints, np.full(3, side))
    back = frame.to_world(frame.to_canonical(joints))
    np.testing.assert_allclose(back, joints, atol=1e-9)  # measured 5e-13 mm


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_frame_ignores_where_how_and_how_large_the_hand_is(seed: int) -> None:
    joints = hand(np.random.default_rng(seed))
    here, _, _ = canonicalise(joints, RIGHT)
    there, _, _ = canonicalise(moved(joints, seed), RIGHT)
    np.testing.assert_allclose(there, here, atol=2e-6)  # float32 output; measured 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), axis=st.integers(0, 2))
def test_left_hand_is_the_mirror_of_the_right(seed: int, axis: int) -> None:
    joints = moved(hand(np.random.default_rng(seed)), seed)
    mirrored = joints.copy()
    mirrored[..., axis] *= -1  # any mirror plane makes a left hand
    right, _, _ = canonicalise(joints, RIGHT)
    left, _, _ = canonicalise(mirrored, LEFT)
    np.testing.assert_allclose(left, right, atol=2e-6)


def test_template_gives_itself() -> None:
    joints = hand(np.random.default_rng(0))
    joints[:, PALM_JOINTS] = PALM_TEMPLATE * 90.0
    frame = canonical_frame(joints, RIGHT)
    np.testing.assert_allclose(frame.rotation[0], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(frame.origin_mm[0], 0.0, atol=1e-9)
    np.testing.assert_allclose(frame.scale_mm[0], 90.0, atol=1e-9)


def test_rotation_agrees_with_scipy() -> None:
    joints = moved(hand(np.random.default_rng(4)), 4)
    palm = joints[0, PALM_JOINTS]
    oracle, _ = Rotation.align_vectors(palm - palm.mean(0), PALM_TEMPLATE - PALM_TEMPLATE.mean(0))
    np.testing.assert_allclose(canonical_frame(joints, RIGHT).rotation[0], oracle.as_matrix(), atol=1e-9)


def test_rotation_is_proper_even_for_a_mirrored_hand_passed_as_right() -> None:
    joints = hand(np.random.default_rng(1), 20) * [-1, 1, 1]
    frame = canonical_frame(joints, np.zeros(20, int))
    np.testing.assert_allclose(np.linalg.det(frame.rotation), 1.0, atol=1e-9)


@pytest.mark.parametrize("missing", [(0,), (5,), (0, 17), (1, 5, 9)])
def test_missing_palm_joints_move_the_frame_little(missing: tuple[int, ...]) -> None:
    joints = hand(np.random.default_rng(2), 50)
    whole = canonical_frame(joints, np.zeros(50, int))
    spoilt = joints.copy()
    spoilt[:, missing] = np.nan
    part = canonical_frame(spoilt, np.zeros(50, int))
    assert part.present.all()
    shift = np.linalg.norm(part.to_canonical(joints) - whole.to_canonical(joints), axis=-1)
    assert np.median(shift) < 0.15  # palm lengths; measured 0.02 .. 0.06 for palms jittered by 0.03


def test_missing_joints_are_zero_and_not_valid() -> None:
    joints = hand(np.random.default_rng(3))
    joints[0, 7, 1] = np.nan
    joints[0, 20] = np.inf
    canonical, valid, frame = canonicalise(joints, RIGHT)
    assert frame.present.all()
    assert np.flatnonzero(valid[0] == 0).tolist() == [7, 20]
    assert (canonical[0, [7, 20]] == 0).all() and np.isfinite(canonical).all()


def absent_hands() -> dict[str, np.ndarray]:
    """Hands without a frame."""
    rng = np.random.default_rng(5)
    two_palm_joints = hand(rng)
    two_palm_joints[0, [0, 1, 5, 9]] = np.nan
    line = hand(rng)
    line[0, PALM_JOINTS] = np.outer(np.arange(6), [20.0, 5.0, 1.0])
    return {
        "all missing": np.full((1, 21, 3), np.nan),
        "two palm joints": two_palm_joints,
        "palm on a line": line,
        "one point": np.full((1, 21, 3), 37.0),
        "collapsed": hand(rng, palm_mm=0.6 * MIN_SCALE_MM),
    }


@pytest.mark.parametrize("case", absent_hands())
def test_hands_without_a_frame_are_absent(case: str) -> None:
    canonical, valid, frame = canonicalise(absent_hands()[case], RIGHT)
    assert not frame.present.any()
    assert not canonical.any() and not valid.any()
    assert np.isnan(frame.scale_mm).all()


def test_an_absent_hand_leaves_its_neighbour_alone() -> None:
    joints = hand(np.random.default_rng(6), 2)
    joints[1] = np.nan
    frame = canonical_frame(joints, np.array([0, 1]))
    assert frame.present.tolist() == [True, False]
    alone = canonical_frame(joints[:1], RIGHT)
    np.testing.assert_array_equal(frame.rotation[0], alone.rotation[0])


@pytest.mark.parametrize("palm_mm", [45.0, 95.0, 150.0])
def test_joints_in_metres_are_named(palm_mm: float) -> None:
    with pytest.raises(InvalidInput, match=r"metres.*1000"):
        canonicalise(hand(np.random.default_rng(7), 2, palm_mm) / 1000, np.array([0, 1]))


def test_wrong_shapes_and_sides_are_named() -> None:
    good = hand(np.random.default_rng(8))
    with pytest.raises(InvalidInput, match=r"\(1, 20, 3\); wanted \(N, 21, 3\)"):
        check_joints(good[:, :20], RIGHT)
    with pytest.raises(InvalidInput, match=r"side has shape \(2,\); wanted \(1,\)"):
        check_joints(good, np.zeros(2, int))
    with pytest.raises(InvalidInput, match="0 is a right hand, 1 a left one"):
        check_joints(good, np.array([2]))


def test_no_hands_is_no_error() -> None:
    canonical, valid, frame = canonicalise(np.zeros((0, 21, 3)), np.zeros(0, int))
    assert canonical.shape == (0, 21, 3) and valid.shape == (0, 21) and frame.present.shape == (0,)


def test_metric_frame_keeps_world_axes() -> None:
    joints = moved(hand(np.random.default_rng(9)), 9)
    raw, valid, frame = canonicalise(joints, RIGHT, normalise=False)
    np.testing.assert_allclose(raw, joints / 100, rtol=1e-6)
    np.testing.assert_allclose(frame.to_world(raw), joints, atol=1e-4)
    assert valid.all()
