"""Lifting on synthetic rigs with exact answers: identity across views, outliers, absent hands."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rt_hands import Camera, Hands2D, InvalidInput, Rig
from rt_hands.layout import JOINT_BONES, MIRROR, N_HAND, hand_slice
from rt_hands.lifting.canonical import PALM_JOINTS, PALM_TEMPLATE
from rt_hands.lifting.chirality import right_handedness
from rt_hands.lifting.fit import drop_impossible
from rt_hands.lifting.identity import settle_hands
from rt_hands.lifting.lift import FILLED_SCORE, FUSION_REACH_MM, _triangulate, lift, settled
from rt_hands.lifting.shape_prior import bone_lengths, shape_prior

SIZE = (1280, 720)


class OffsetRtc:
    """Stands in for the network: every surface point lies a fixed way from the hand's middle knuckle."""

    offsets_mm = np.random.default_rng(7).normal(0, 30, (64, 3))

    def __call__(self, joints_mm: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        surface = joints_mm[:, 9:10] + self.offsets_mm
        confidence = np.where(np.isfinite(joints_mm).all((1, 2)), 0.9, 0)
        surface[confidence == 0] = np.nan
        return surface, np.repeat(confidence[:, None], 64, 1).astype(np.float32)


def ring_rig(views: int) -> Rig:
    cameras = []
    for v in range(views):
        turn = cv2.Rodrigues(np.array([0.1 * (v % 3), -0.9 + 1.8 * v / max(views - 1, 1), 0]))[0]
        pose = np.column_stack([turn, (0, 0, 700)])
        k = np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]])
        cameras.append(Camera(f"cam_{v}", SIZE, k, np.array([-0.1, 0.02, 0, 0, 0]), pose))
    return Rig(tuple(cameras))


def hand_mm(side: int) -> np.ndarray:
    """(21, 3) joints of a half-closed hand, 85 mm palm, palm towards +z; side 1 is the mirror image."""
    joints = np.zeros((21, 3))
    joints[list(PALM_JOINTS)] = PALM_TEMPLATE
    for j in (2, 3, 4):
        joints[j] = joints[j - 1] + (0.15, 0.25, 0.12)
    for knuckle in (5, 9, 13, 17):
        for j, (length, bend) in enumerate(((0.5, 0.4), (0.3, 1.0), (0.25, 1.4)), start=knuckle + 1):
            joints[j] = joints[j - 1] + (0, length * np.cos(bend), length * np.sin(bend))
    return joints * (-85 if side else 85, 85, 85)


def hands_mm() -> np.ndarray:
    """(170, 3): two hands 160 mm apart, their surface by OffsetRtc."""
    points = np.zeros((2, N_HAND, 3))
    for side, x in enumerate((-80.0, 80.0)):
        # At different heights, or the two would fall on the same epipolar lines and pass for one hand.
        points[side, :21] = hand_mm(side) + (x, -60 + 50 * side, 0)
        points[side, 21:] = points[side, 9] + OffsetRtc.offsets_mm
    return points.reshape(170, 3)


def views_of(points_mm: np.ndarray, rig: Rig, noise_px: float = 0.0, seed: int = 0) -> np.ndarray:
    """(V, 170, 3) float32 x, y, score 0.8."""
    px = rig.project(points_mm) + np.random.default_rng(seed).normal(0, noise_px, (len(rig), 170, 2))
    return np.concatenate([px, np.full((len(rig), 170, 1), 0.8)], 2).astype(np.float32)


def as_hands(points_px: np.ndarray) -> list[Hands2D]:
    present = np.isfinite(points_px[..., 0]).reshape(len(points_px), 2, N_HAND).any(2)
    return [Hands2D(p, h) for p, h in zip(points_px, present, strict=True)]


def run(points_px: np.ndarray, rig: Rig, **options: object):
    return lift(as_hands(points_px), rig, rtc=OffsetRtc(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("views", [2, 3, 4, 8, 16, 100])
def test_clean_views_give_the_truth(views: int) -> None:
    rig, truth = ring_rig(views), hands_mm()
    hands = run(views_of(truth, rig), rig)
    np.testing.assert_allclose(hands.points_world_mm, truth, atol=2e-3)  # float32 pixels: 4e-4 mm seen
    assert hands.present.all() and (hands.views == views).all() and np.nanmax(hands.residual_px) < 1e-3
    np.testing.assert_allclose(hands.score[:21], 0.8, atol=1e-6)
    np.testing.assert_allclose(hands.score[21:85], 0.8 * 0.9, atol=1e-6)


@pytest.mark.parametrize("views", [2, 3, 4, 5, 8])
def test_exchanged_sides_are_settled(views: int) -> None:
    rig, truth = ring_rig(views), hands_mm()
    clean = views_of(truth, rig, noise_px=2)
    clean[-1, :, 2] = (
        0.5  # the view that is wrong is also the less certain, which decides the tie of two views
    )
    wrong = clean.copy()
    wrong[-1] = wrong[-1, MIRROR]
    np.testing.assert_array_equal(settle_hands(wrong, rig), clean)
    np.testing.assert_array_equal(settle_hands(clean, rig), clean)
    np.testing.assert_allclose(run(wrong, rig).points_world_mm, run(clean, rig).points_world_mm, atol=1e-9)


def test_presence_goes_with_the_hand_that_is_renamed() -> None:
    rig, truth = ring_rig(4), hands_mm()
    hands = as_hands(views_of(truth, rig))
    seen = [Hands2D(h.points_px, h.present, np.array([0.9, 0.7], np.float32)) for h in hands]
    turned = seen[-1].points_px[MIRROR]
    seen[-1] = Hands2D(turned, seen[-1].present, np.array([0.8, 0.6], np.float32))
    one = seen[1].points_px.copy()
    one[85:] = (np.nan, np.nan, 0)
    seen[1] = Hands2D(one, np.array([True, False]), np.array([0.9, 0.2], np.float32))
    presence = [view.presence.tolist() for view in settled(seen, rig)]
    np.testing.assert_allclose(presence, [[0.9, 0.7], [0.9, 0.0], [0.9, 0.7], [0.6, 0.8]], atol=1e-6)


def test_two_of_eight_exchanged_views_are_settled() -> None:
    rig, points = ring_rig(8), views_of(hands_mm(), ring_rig(8), noise_px=3)
    wrong = points.copy()
    wrong[[2, 5]] = points[[2, 5]][:, MIRROR]
    np.testing.assert_array_equal(settle_hands(wrong, rig), points)


def test_one_hand_named_differently_is_found() -> None:
    rig, points = ring_rig(3), views_of(hands_mm(), ring_rig(3), noise_px=1)
    points[:, hand_slice(1)] = (np.nan, np.nan, 0)
    points[2] = points[2, MIRROR]
    hands = run(points, rig)
    assert hands.present.tolist() == [True, False]
    assert np.abs(hands.points_world_mm[:21] - hands_mm()[:21]).max() < 8  # 3.9 mm seen at 1 px noise


def test_handedness_is_read_from_the_shape() -> None:
    joints = np.stack([hand_mm(0), hand_mm(1), np.full((21, 3), np.nan)])
    right, left, absent = right_handedness(joints)
    assert right > 0.5 and left == pytest.approx(-right) and np.isnan(absent)  # 0.77 palm lengths seen


def test_sides_wrong_in_every_view_are_settled_by_the_shape() -> None:
    rig, points = ring_rig(4), views_of(hands_mm(), ring_rig(4))
    hands = run(points[:, MIRROR], rig)
    np.testing.assert_allclose(hands.points_world_mm[:21], hands_mm()[:21], atol=2e-3)
    only_left = points[:, MIRROR].copy()
    only_left[:, hand_slice(0)] = (np.nan, np.nan, 0)  # the right hand, called left, alone
    assert run(only_left, rig).present.tolist() == [True, False]
    assert run(only_left, rig, settle=False).present.tolist() == [False, True]


def test_hands_that_differ_are_not_merged() -> None:
    """View 0 sees only the right hand, view 1 only the left: nothing to triangulate, and nothing invented."""
    rig, points = ring_rig(2), views_of(hands_mm(), ring_rig(2))
    points[0, hand_slice(1)] = points[1, hand_slice(0)] = (np.nan, np.nan, 0)
    hands = run(points, rig)
    assert not hands.present.any() and np.isnan(hands.points_world_mm).all() and (hands.score == 0).all()


def test_a_wrong_view_is_left_out() -> None:
    rig, points = ring_rig(5), views_of(hands_mm(), ring_rig(5))
    points[3, :, :2] += 150
    hands = run(points, rig)
    np.testing.assert_allclose(hands.points_world_mm, hands_mm(), atol=2e-3)
    assert (hands.views == 4).all()


def test_views_by_name_and_missing_views() -> None:
    rig = ring_rig(4)
    views = as_hands(views_of(hands_mm(), rig))
    named = lift({"cam_3": views[3], "cam_0": views[0]}, rig, rtc=OffsetRtc())  # type: ignore[arg-type]
    np.testing.assert_allclose(named.points_world_mm, hands_mm(), atol=5e-3)
    assert (named.views == 2).all()
    with pytest.raises(InvalidInput, match="no camera 'cam_9'"):
        lift({"cam_9": views[0]}, rig)
    with pytest.raises(InvalidInput, match="2 views for a rig of 4"):
        lift(views[:2], rig)


def test_one_view_is_no_rig() -> None:
    rig = ring_rig(3)
    views = as_hands(views_of(hands_mm(), rig))
    for given, got in (({"cam_1": views[1]}, "cam_1"), ({}, "none")):
        with pytest.raises(InvalidInput, match=f"3D needs two views of the rig; got {got}"):
            lift(given, rig)
    with pytest.raises(InvalidInput, match="3D needs two cameras of the rig; got cam_0: "):
        lift(views[:1], rig.subset(["cam_0"]))
    assert not lift({"cam_0": views[0], "cam_1": Hands2D.empty()}, rig).present.any()


def test_what_is_no_hands_or_no_rig_is_named() -> None:
    rig = ring_rig(2)
    views = as_hands(views_of(hands_mm(), rig))
    with pytest.raises(InvalidInput, match="^The rig is a str; wanted a Rig, .*load_rig"):
        lift(views, "rig.toml")  # type: ignore[arg-type]
    pictures = {c: np.zeros((480, 640, 3), np.uint8) for c in rig.ids}
    with pytest.raises(InvalidInput, match="^View 'cam_0' is a ndarray; wanted its Hands2D, .*Detector"):
        lift(pictures, rig)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="^View 'cam_1' is a ndarray"):
        lift([views[0], pictures["cam_1"]], rig)  # type: ignore[list-item]


def test_no_hand_anywhere_is_absent() -> None:
    rig = ring_rig(3)
    hands = lift([Hands2D.empty()] * 3, rig, rtc=OffsetRtc())  # type: ignore[arg-type]
    assert not hands.present.any() and np.isnan(hands.points_world_mm).all() and (hands.views == 0).all()


def test_a_palm_of_no_hands_size_is_absent() -> None:
    rig = ring_rig(4)
    tiny = hands_mm() * 0.1
    assert not run(views_of(tiny, rig), rig).present.any()


@pytest.mark.parametrize("off_mm", [1.0, 6.0, 60.0])
def test_fusion_moves_from_rtc_to_the_seen_points_that_are_near(off_mm: float) -> None:
    rig, truth = ring_rig(4), hands_mm()
    seen = truth.copy()
    seen[21:85, 2] += off_mm  # the views see the skin off what RTC says
    moved = [
        run(views_of(seen, rig), rig, fusion=f).points_world_mm[21:85, 2] - truth[21:85, 2]
        for f in (0, 0.5, 1)
    ]
    agreement = 1 / (1 + (off_mm / FUSION_REACH_MM) ** 2)
    expected = np.array([[0.0], [0.5], [1.0]]) * off_mm * agreement
    np.testing.assert_allclose(moved, expected.repeat(64, 1), atol=2e-3)


def test_a_joint_that_flies_off_is_brought_back() -> None:
    """Two views agree on a fingertip a hand's length away, as happens with clasped hands."""
    rig, truth = ring_rig(3), hands_mm()
    wrong = truth.copy()
    wrong[8] += (0, 150, 40)
    points = views_of(truth, rig, noise_px=1)
    points[:2, 8] = views_of(wrong, rig)[:2, 8]
    points[2, 8] = (np.nan, np.nan, 0)
    hands = run(points, rig)
    # 8.2 mm seen, where the joint's triangulation is 155 mm off: its place is what the rest of the hand says.
    assert np.linalg.norm(hands.points_world_mm[8] - truth[8]) < 30
    assert (
        hands.views[8] == 0 and np.isnan(hands.residual_px[8]) and hands.score[8] == np.float32(FILLED_SCORE)
    )
    others = np.delete(np.arange(21), 8)
    assert np.linalg.norm(hands.points_world_mm[others] - truth[others], axis=1).max() < 5  # 2 seen


def test_a_joint_that_one_view_sees_lies_on_its_ray() -> None:
    rig, truth = ring_rig(4), hands_mm()
    points = views_of(truth, rig)
    points[1:, 12] = (np.nan, np.nan, 0)
    hands = run(points, rig)
    drawn = rig.cameras[0].project(hands.points_world_mm[12:13])[0]
    assert np.linalg.norm(drawn - points[0, 12, :2]) < 0.5 and hands.views[12] == 1
    assert np.linalg.norm(hands.points_world_mm[12] - truth[12]) < 25


def usual_hands_mm() -> np.ndarray:
    """As `hands_mm`, with bones as long as people's."""
    points, template = hands_mm().reshape(2, N_HAND, 3), hands_mm().reshape(2, N_HAND, 3)
    for (parent, child), palms in zip(JOINT_BONES, shape_prior().bones, strict=True):
        along = template[:, child] - template[:, parent]
        points[:, child] = points[:, parent] + 85 * palms * along / np.linalg.norm(along, axis=1)[:, None]
    points[:, 21:] = points[:, 9:10] + OffsetRtc.offsets_mm
    return points.reshape(170, 3)


@pytest.mark.parametrize("views", [2, 4, 8])
def test_noise_is_less_by_what_hands_look_like(views: int) -> None:
    """8 px of noise: joints fitted as a hand against each triangulated alone. Seen: 5.5 for 9.1 mm, 3.7 for 6.8, 2.8
    for 5.0."""
    rig, truth = ring_rig(views), usual_hands_mm()
    alone, fitted = [], []
    for seed in range(6):
        points = views_of(truth, rig, noise_px=8, seed=seed)
        hands = run(points, rig)
        fitted.append(np.linalg.norm(hands.points_world_mm - truth, axis=1)[:21].mean())
        raw = _triangulate(points, rig).world_mm
        alone.append(np.nanmean(np.linalg.norm(raw - truth, axis=1)[:21]))
    assert np.mean(fitted) < 0.8 * np.mean(alone)


def test_known_bones_keep_a_hand_at_its_size() -> None:
    """Two views 20 degrees apart tell depth badly; the hand's own bones help."""
    rig, truth = ring_rig(9).subset(("cam_4", "cam_5")), usual_hands_mm()
    bones = bone_lengths(truth.reshape(2, 85, 3)[:, :21])
    errors = {known: [] for known in (False, True)}
    for seed in range(6):
        points = views_of(truth, rig, noise_px=5, seed=seed)
        for known, kept in errors.items():
            hands = run(points, rig, bones_mm=bones if known else None)
            kept.append(np.nanmean(np.linalg.norm(hands.points_world_mm - truth, axis=1)[:21]))
    assert np.mean(errors[True]) < 0.95 * np.mean(errors[False])  # 8.3 against 9.2 mm seen


def test_a_face_is_no_hand() -> None:
    """Points gathered in a clump in every view, as a network that takes a face for a hand gives them."""
    rig, points = ring_rig(4), views_of(hands_mm(), ring_rig(4))
    middle = rig.project(np.zeros((1, 3)))
    points[:, :, :2] = middle + np.random.default_rng(5).normal(0, 25, (4, 170, 2))
    assert not run(points, rig).present.any()


def test_impossible_bones_are_dropped_from_the_wrist_outwards() -> None:
    joints = np.stack([hand_mm(0), hand_mm(1)])
    usual = bone_lengths(joints)
    broken = joints.copy()
    broken[0, 7] += (0, 200, 0)
    broken[1, 0] += (0, -300, 0)
    kept = np.isfinite(drop_impossible(broken, usual)[..., 0])
    assert np.flatnonzero(~kept[0]).tolist() == [7] and np.flatnonzero(~kept[1]).tolist() == [0]
    assert np.isfinite(drop_impossible(joints, usual)).all()


def resized(rig: Rig, camera: str, times: float) -> Rig:
    """One camera with larger pictures of the same view."""
    size = (round(SIZE[0] * times), round(SIZE[1] * times))
    return Rig(tuple(c.resized(size) if c.id == camera else c for c in rig))


def test_names_are_settled_as_if_all_pictures_were_as_large() -> None:
    """A small picture's readings are as good as those of large ones, for hands in single views and in the world."""
    rig, hands = ring_rig(4), usual_hands_mm()
    small = Rig(tuple(c if c.id != "cam_3" else c.resized((SIZE[0] // 8, SIZE[1] // 8)) for c in rig))
    scale = small.level_scale[:, None].astype(np.float32)
    for seed in range(12):
        points = views_of(hands, rig, noise_px=30, seed=seed)
        points[seed % 4] = points[seed % 4][MIRROR]
        given = points.copy()
        given[..., :2] = (points[..., :2] + 0.5) / scale - 0.5
        same, found = (
            np.stack([v.points_px for v in settled(as_hands(p), r)])
            for p, r in ((points, rig), (given, small))
        )
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(same))
        kept = np.isfinite(found[..., 0])
        np.testing.assert_allclose(small.levelled(found)[kept], same[kept], atol=0.02)


def cut(rig: Rig, size_px: tuple[int, int], *cameras: str) -> Rig:
    """Some cameras with pictures of another shape round the same middle: the same pixels, as many of them on a hand."""
    cuts = []
    for c in rig:
        k = c.K.copy()
        k[:2, 2] += (np.array(size_px) - c.size_px) / 2
        cuts.append(replace(c, size_px=size_px, K=k) if c.id in cameras else c)
    return Rig(tuple(cuts))


def test_cameras_on_their_sides_count_as_upright_ones() -> None:
    """The same pixels of the same hands: whether a picture is wide or tall says nothing of a pixel's worth."""
    rig, hands = ring_rig(4), usual_hands_mm()
    tall = cut(rig, SIZE[::-1], "cam_1", "cam_2")
    assert (tall.level_scale == 1).all() and tall.side_px == rig.side_px
    points = views_of(hands, rig, noise_px=5)
    points[3, 9, :2] += (
        30  # between the limit of a wide picture, 38 px, and what that of a tall one's width would be
    )
    turned = points.copy()
    turned[1:3, :, :2] += ((np.array(SIZE[::-1]) - SIZE) / 2).astype(np.float32)
    same, given = run(points, rig), run(turned, tall)
    np.testing.assert_allclose(given.points_world_mm, same.points_world_mm, atol=1e-3)
    np.testing.assert_allclose(given.residual_px, same.residual_px, rtol=1e-3)
    all_tall = cut(rig, SIZE[::-1], *rig.ids)
    turned = points.copy()
    turned[..., :2] += ((np.array(SIZE[::-1]) - SIZE) / 2).astype(np.float32)
    np.testing.assert_allclose(run(turned, all_tall).points_world_mm, same.points_world_mm, atol=1e-3)


def test_a_view_with_larger_pictures_counts_no_more_than_the_others() -> None:
    """The network's misses are shares of the hand: three times as many pixels where the picture has three times."""
    rig, hands = ring_rig(4), usual_hands_mm()
    points = views_of(hands, rig, noise_px=5)
    mixed = points.copy()
    mixed[1, :, :2] = (points[1, :, :2] + 0.5) * 3 - 0.5
    same, large = run(points, rig), run(mixed, resized(rig, "cam_1", 3.0))
    np.testing.assert_allclose(large.points_world_mm, same.points_world_mm, atol=0.05)
    np.testing.assert_allclose(large.residual_px, 3 * same.residual_px, rtol=0.01)
