"""The detector on painted hands whose 170 points are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import standin
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import PaintedHand, picture, worst_px

from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Read
from rt_hands.inference.preprocess import Crop, fill_input
from rt_hands.tracking.crops import (
    Box,
    box_of,
    crop_round,
    crops_beside,
    extent_of,
    fine_search_crops,
    search_crops,
)
from rt_hands.tracking.readings import joined
from rt_hands.types import Hands2D


@pytest.fixture(scope="module")
def detector(standin_cpm):
    return Detector(cpm=standin_cpm)


def expect(found: Hands2D, *hands: PaintedHand, tolerance: float = 0.025) -> None:
    sides = {hand.side for hand in hands}
    assert found.present.tolist() == [0 in sides, 1 in sides]
    for side in {0, 1} - sides:
        assert np.isnan(found.hand(side)[:, :2]).all() and not found.hand(side)[:, 2].any()
        assert found.presence[side] == 0
    # Measured: 1.8 % of the larger hand at worst, at its own edge.
    assert worst_px(found, *hands) <= tolerance * max((hand.size for hand in hands), default=0)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("size_px", [(640, 480), (1280, 720), (480, 640), (300, 300), (257, 391)])
def test_one_hand_in_pictures_of_any_size(detector, side, size_px):
    hand = PaintedHand(side, (size_px[0] * 0.45, size_px[1] * 0.55), 0.45 * min(size_px), 15)
    expect(detector(picture(hand, size_px=size_px)), hand)


@settings(max_examples=10, deadline=None)
@given(
    st.floats(100, 540), st.floats(100, 380), st.floats(70, 180), st.floats(-60, 60), st.sampled_from([0, 1])
)
def test_any_place_size_and_turn(detector, x, y, size, turn, side):
    hand = PaintedHand(side, (x, y), size, turn)
    expect(detector(picture(hand)), hand)


def test_without_mirrored_readings(standin_cpm):
    hand = PaintedHand(1, (350, 200), 160, 25)
    expect(Detector(cpm=standin_cpm, mirror=False)(picture(hand)), hand)


def test_two_hands_apart(detector):
    hands = PaintedHand(0, (900, 400), 260, 10), PaintedHand(1, (400, 300), 200, -20)
    expect(detector(picture(*hands, size_px=(1280, 720))), *hands)


def test_two_hands_touching(detector):
    hands = PaintedHand(0, (330, 240), 150), PaintedHand(1, (190, 240), 150)
    # Measured: 4.7 %, where one painted hand's edge fades into the other's.
    expect(detector(picture(*hands)), *hands, tolerance=0.08)


def test_crossed_hands_keep_their_sides(detector):
    """The right hand on the left of the picture: sides come from the hands, not from where they are."""
    hands = PaintedHand(0, (160, 240), 150), PaintedHand(1, (480, 240), 150)
    expect(detector(picture(*hands)), *hands)


def test_small_hand_in_a_large_picture(detector):
    hand = PaintedHand(1, (1500, 300), 150)
    expect(detector(picture(hand, size_px=(1920, 1080))), hand)


@pytest.mark.parametrize("side_px", [384, 1000])
def test_small_hands_far_apart_of_which_large_windows_show_one(detector, side_px):
    """A person who stands back: the large windows hint at one hand, the other is in a small one."""
    near = PaintedHand(0, (0.2 * side_px, 0.25 * side_px), 0.156 * side_px)
    far = PaintedHand(1, (0.8 * side_px, 0.75 * side_px), 0.12 * side_px)
    expect(detector(picture(near, far, size_px=(side_px, side_px))), near, far, tolerance=0.06)


def test_no_hand_is_invented(detector):
    rng = np.random.default_rng(0)
    dull = rng.integers(0, 90, (480, 640, 3), np.uint8)
    for image in (picture(), dull):
        expect(detector(image))


def test_hand_cut_by_the_edge_is_found(detector):
    hand = PaintedHand(0, (40, 240), 160)
    found = detector(picture(hand))
    assert found.present.tolist() == [True, False]
    true = hand.points_px()
    inside = true[:, 0] > 15
    # Measured: 1.9 px.
    assert np.hypot(*(found.hand(0)[inside, :2] - true[inside]).T).max() < 5


def test_two_right_hands_give_the_surer_one(detector):
    """Two places for hands, right and left: a second right hand has none, and is not renamed to left."""
    found = detector(picture(PaintedHand(0, (160, 240), 150), PaintedHand(0, (480, 240), 170)))
    assert found.present.tolist() == [True, False]


@pytest.mark.parametrize(
    "bad", [np.zeros((10, 10), np.uint8), np.zeros((9, 9, 3), np.float32), "photo.jpg", None]
)
def test_wrong_pictures_are_named(detector, bad):
    with pytest.raises(InvalidInput, match="wanted uint8"):
        detector(bad)


def test_empty_picture_is_named(detector):
    with pytest.raises(InvalidInput, match="empty"):
        detector(np.zeros((0, 10, 3), np.uint8))


def test_tiny_pictures_give_nothing_rather_than_a_crash(detector):
    for size_px in ((1, 1), (3, 200), (2000, 2)):
        expect(detector(picture(size_px=size_px)))


def test_views_of_other_arrays_are_read_right(detector):
    hand = PaintedHand(0, (300, 200), 150)
    wide = np.zeros((480, 1280, 3), np.uint8)
    wide[:, ::2] = picture(hand)
    expect(detector(wide[:, ::2]), hand)


# --- two readings of one crop -------------------------------------------------------------------------------


def read_of(points: np.ndarray, presence: tuple[float, float] = (0.9, 0.2)) -> Read:
    return Read(points[None], np.array([presence], np.float32), (Crop(10, 20, 100),), np.zeros((1, 1, 1, 1)))


def test_mirroring_a_reading_twice_gives_it_back_and_turns_its_crop():
    points = np.random.default_rng(0).uniform(0, 100, (2, 85, 3)).astype(np.float32)
    once = read_of(points).mirrored(640)
    np.testing.assert_allclose(once.points_px[0, 1, :, 0], 639 - points[0, :, 0], rtol=1e-6)
    np.testing.assert_allclose(once.presence, [[0.2, 0.9]])
    twice = once.mirrored(640)
    np.testing.assert_allclose(twice.points_px[0], points, rtol=1e-4, atol=1e-4)
    assert twice.crops == (Crop(10, 20, 100),)


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_a_mirrored_crop_shows_the_mirrored_crop(turn):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8), (9, 9), 3)
    crop, out = Crop(120, 60, 150, turn), np.zeros((2, 3, 224, 224), np.float32)
    fill_input([(image, crop), (image[:, ::-1], crop.mirrored(400))], out)
    np.testing.assert_allclose(out[0], out[1, ..., ::-1], atol=1e-4)  # measured 3e-6


def test_joined_readings_are_means_by_score_where_they_agree_and_the_surer_where_not():
    near = np.full((2, 85, 3), [50, 50, 0.6], np.float32)
    other = np.full((2, 85, 3), [53, 50, 0.3], np.float32)
    other[1, 0] = [90, 50, 0.8]  # 40 px of a crop of 100: another thing
    both = joined(read_of(near), read_of(other, (0.5, 0.4)))
    np.testing.assert_allclose(both.points_px[0, 0, 5], [51, 50, 0.45], rtol=1e-5)
    np.testing.assert_allclose(both.points_px[0, 1, 0, :2], [90, 50])
    np.testing.assert_allclose(both.presence, [[0.7, 0.3]], rtol=1e-6)


# --- where it looks ------------------------------------------------------------------------------------------


@given(st.integers(30, 4000), st.integers(30, 4000))
def test_search_windows_cover_the_picture(width, height):
    for windows in (search_crops((width, height))[1:], fine_search_crops((width, height))):
        if windows:
            xs = np.array([[c.left, c.left + c.side] for c in windows])
            ys = np.array([[c.top, c.top + c.side] for c in windows])
            assert xs.min() <= 0 and xs.max() >= width and ys.min() <= 0 and ys.max() >= height
    whole = search_crops((width, height))[0]
    assert whole.side == max(width, height)


@given(st.floats(-50, 900), st.floats(20, 600), st.floats(0.3, 1.0), st.floats(0, 100), st.floats(-3.1, 3.1))
def test_crops_hold_the_hand_its_margin_and_turn_with_it(x, size, aspect, motion, turn):
    rng = np.random.default_rng(0)
    upright = rng.uniform(-0.5, 0.5, (85, 2)) * [aspect, 1]
    upright[[0, 9]] = [0, 0.5], [0, 0]
    c, s = np.cos(turn), np.sin(turn)
    points = np.column_stack([upright @ np.array([[c, s], [-s, c]]) * size + x, np.ones(85)])
    crop = crop_round(points, 0.5, motion)
    assert abs(crop.turn_rad - turn) < 1e-6
    assert crop.holds(*extent_of(points, 0.5, crop.turn_rad))
    assert crop.side >= 1.25 * 0.9 * size + 2 * motion - 1


@given(st.floats(-180, 180), st.floats(-180, 180), st.sampled_from([0.4, 0.9]))
def test_one_crop_beside_a_hand_shows_the_other_nearly_upright(turn, other_turn, apart):
    """Two hands that meet, whatever way they point."""
    first = PaintedHand(0, (300, 300), 200, turn).points_px()
    other = PaintedHand(1, (300 + 200 * apart / 2, 300), 200, other_turn).points_px()
    crops = crops_beside(np.column_stack([first, np.ones(85)]), 0.05)[1:]
    up = np.radians(other_turn)
    nearest = min(crops, key=lambda c: abs((c.turn_rad - up + np.pi) % (2 * np.pi) - np.pi))
    off = abs((nearest.turn_rad - up + np.pi) % (2 * np.pi) - np.pi)
    # The painted hand's middle finger lies a little off its square's axis.
    assert off <= np.pi / 4 + 0.1
    local = (other - np.asarray(nearest.centre_px)) @ nearest.rotation
    inside = (np.abs(local) <= nearest.side / 2).all(1).mean()
    assert inside > (0.9 if apart < 0.5 else 0.6)


def test_crops_leave_out_points_with_low_scores():
    points = np.column_stack([np.random.default_rng(0).uniform(0, 100, (85, 2)), np.ones(85)])
    points[70] = [5000, 5000, 0.01]
    assert crop_round(points, 0.05).side < 250
    assert crop_round(points, 0.0).side > 5000


@pytest.mark.parametrize("turn", [0.0, 0.4, -2.0, np.pi])
@pytest.mark.parametrize("side", [90, 368, 900, 1700])
def test_a_turned_crop_shows_what_its_affine_says(turn, side):
    """A smooth picture, cut, equals itself at the places that `picture_from_map` names for cells of one pixel."""
    y, x = np.mgrid[0:1080, 0:1920]
    image = np.stack([127 + 90 * np.sin(x / 70), 127 + 90 * np.sin(y / 70), 0.05 * x + 0.05 * y], -1)
    crop, planes = Crop.around((960, 540), side, turn), np.zeros((1, 3, 368, 368), np.float32)
    fill_input([(image.astype(np.uint8), crop)], planes)
    out = 255 * planes[0, ::-1].transpose(1, 2, 0)
    u = np.stack(np.meshgrid(np.arange(368), np.arange(368)), -1).reshape(-1, 2)
    at = u @ crop.picture_from_map(368, 368)[:, :2].T + crop.picture_from_map(368, 368)[:, 2]
    there = (at > 8).all(1) & (at < [1911, 1071]).all(1)
    x, y = at[there].T
    want = np.stack([127 + 90 * np.sin(x / 70), 127 + 90 * np.sin(y / 70), 0.05 * x + 0.05 * y], -1)
    # Measured: 1.1 levels from truncation, 1.6 at the largest zoom; a slip of one picture pixel costs 1.3 more.
    assert np.abs(out.reshape(-1, 3)[there] - want).mean(0).max() < 0.9
    assert np.abs(out.reshape(-1, 3)[there] - want).max() < 3.5


def test_box_ignores_points_with_low_scores():
    points = np.array([[0, 0, 1], [10, 0, 1], [10, 20, 1], [0, 20, 0.9], [500, 500, 0.01]], np.float32)
    assert box_of(points, 0.05) == Box(0, 0, 10, 20)
    assert box_of(points, 0.95) is None


@given(st.floats(-1000, 1000), st.floats(8, 2000))
def test_crop_around_is_centred_to_half_a_pixel(centre, side):
    crop = Crop.around((centre, -centre), side)
    assert np.abs(np.array(crop.centre_px) - [centre, -centre]).max() <= 0.5 + 1e-9
    assert abs(crop.side - side) <= 0.5


def test_standin_paints_what_it_says():
    """The oracle's own check: left is the mirror image of right."""
    right, left = PaintedHand(0, (199.5, 200), 100), PaintedHand(1, (199.5, 200), 100)
    np.testing.assert_allclose(399 - right.points_px()[:, 0], left.points_px()[:, 0])
    assert standin.RED[0] != standin.RED[1]


def test_leaving_frees_the_network_it_loaded_and_no_other(standin_path, standin_cpm):
    image = picture(PaintedHand(0, (320, 240), 200))
    with Detector("onnxruntime", str(standin_path), threads=1) as own:
        assert own(image).present[0]
    with pytest.raises(InvalidInput, match="engine was closed"):
        own(image)
    with Detector(cpm=standin_cpm) as given_one:
        pass
    given_one.close()
    assert given_one(image).present[0]


@pytest.mark.parametrize("threads", ["a", 2.5, True])
def test_threads_are_a_whole_number(threads):
    with pytest.raises(InvalidInput, match=f"--threads is {threads!r}; give a whole number"):
        Detector(threads=threads)


@pytest.mark.parametrize("model", [3, None])
def test_a_model_that_is_no_text_is_named(model):
    with pytest.raises(InvalidInput, match=f"The model is {model}; give a name"):
        Detector(model=model)
