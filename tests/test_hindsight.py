"""The second reading of a recording: found where both trackers missed, two names on one hand, mirrored crops."""

from __future__ import annotations

import numpy as np
import pytest
from standin import PaintedHand, picture, truth, worst_px

from rt_hands.inference.preprocess import Crop
from rt_hands.layout import N_POINTS, hand_slice
from rt_hands.tracking.both_ways import both_ways, two_sizes
from rt_hands.tracking.crops import crop_round
from rt_hands.tracking.hindsight import look_again, places, settled
from rt_hands.tracking.readings import distance
from rt_hands.tracking.thresholds import Thresholds
from rt_hands.types import Hands2D

LIMITS = Thresholds()
SIZE = (480, 360)
STEP_NS = 33_333_333


def pair(i: int) -> tuple[PaintedHand, PaintedHand]:
    return PaintedHand(0, (330 + 3 * i, 180), 130), PaintedHand(1, (110, 170 + i), 120)


def tracked(*hands: PaintedHand) -> np.ndarray:
    """(170, 3) as a tracker gives them."""
    points = np.full((N_POINTS, 3), np.nan, np.float32)
    points[:, 2] = 0
    for hand in hands:
        points[hand_slice(hand.side)] = np.column_stack([hand.points_px(), np.full(85, 0.8)])
    return points


def nothing(count: int) -> np.ndarray:
    return np.tile(Hands2D.empty().points_px, (count, 1, 1, 1)).reshape(count, 1, N_POINTS, 3)


def times(count: int) -> tuple[np.ndarray, np.ndarray]:
    return (np.arange(count) * STEP_NS)[:, None], np.ones((count, 1), bool)


def read(cpm, expected, images) -> list[Hands2D]:
    found = [look_again(cpm, [image], here, LIMITS) for image, here in zip(images, expected, strict=True)]
    return [row[0] for row in settled(found, 1, LIMITS)]


@pytest.mark.parametrize("several", [both_ways, two_sizes])
def test_crops_of_pictures_of_different_widths(standin_cpm, several):
    small, large = PaintedHand(0, (100, 110), 120), PaintedHand(1, (420, 300), 200)
    jobs = [
        (picture(small, size_px=(240, 220)), Crop.around((100, 110), 170.0)),
        (picture(large, size_px=(640, 480)), Crop.around((420, 300), 280.0)),
    ]
    both = several(standin_cpm, jobs)
    for i, hand in enumerate((small, large)):
        # Measured: 1.6 and 2.7 px, under a cell of the belief map.
        assert np.hypot(*(both.points_px[i, hand.side, :, :2] - hand.points_px()).T).max() < 4
        assert both.presence[i, hand.side] > 0.7 > 0.3 > both.presence[i, 1 - hand.side]
    assert both.crops == tuple(crop for _, crop in jobs) and len(several(standin_cpm, []).crops) == 0


def test_a_hand_that_both_trackers_missed_is_found_on_its_way(standin_cpm):
    count, gap = 12, range(4, 8)
    forward = np.stack([tracked(*pair(i)[i in gap :]) for i in range(count)])[:, None]
    expected = places(forward, nothing(count), *times(count))
    assert [len(here) for here in expected] == [2] * count
    assert all(place.seen_by == (i not in gap) for i, here in enumerate(expected) for place in here[:1])
    hands = read(standin_cpm, expected, [picture(*pair(i), size_px=SIZE) for i in range(count)])
    for i, found in enumerate(hands):
        assert found.present.all() and worst_px(found, *pair(i)) < 4
    # Where there is no hand on the way, none is made up.
    gone = read(standin_cpm, expected, [picture(*pair(i)[i in gap :], size_px=SIZE) for i in range(count)])
    assert [found.present.tolist() for found in gone] == [[i not in gap, True] for i in range(count)]


def test_what_both_trackers_saw_stays_though_it_is_not_read_again(standin_cpm):
    seen = np.tile(tracked(*pair(0)), (3, 1, 1, 1))
    images = [picture(pair(0)[0], size_px=SIZE)] * 3
    both = read(standin_cpm, places(seen, seen, *times(3)), images)
    assert all(found.present.all() for found in both)
    assert worst_px(both[1], pair(0)[0]) < 4
    assert np.allclose(both[1].hand(1)[:, :2], truth(pair(0)[1])[hand_slice(1)], atol=0.5)
    assert 0 < both[1].presence[1] < 0.5
    one = read(standin_cpm, places(seen, nothing(3), *times(3)), images)
    assert all(found.present.tolist() == [True, False] for found in one)


def test_what_the_trackers_disagree_on_was_seen_by_one_of_them(standin_cpm):
    """Each follows another thing: neither is kept where nothing is read."""
    elsewhere = PaintedHand(0, (120, 250), 130)
    forward, backward = (np.tile(tracked(hand), (3, 1, 1, 1)) for hand in (pair(0)[0], elsewhere))
    expected = places(forward, backward, *times(3))
    assert [[place.seen_by for place in here] for here in expected] == [[1, 1]] * 3
    assert not any(found.present.any() for found in read(standin_cpm, expected, [picture(size_px=SIZE)] * 3))


def test_what_either_tracker_saw_is_looked_for(standin_cpm):
    count = 8
    forward, backward = nothing(count), nothing(count)
    forward[4:, 0], backward[:5, 0] = tracked(*pair(0)), tracked(*pair(0))
    expected = places(forward, backward, *times(count))
    assert [len(here) for here in expected] == [2] * count
    # A hand of each other's place: both are tried, the surer stays.
    other = PaintedHand(0, (110, 170), 120)
    backward[:, 0], forward[:, 0] = tracked(other), tracked(pair(0)[0])
    expected = places(forward, backward, *times(count))
    assert [len(here) for here in expected] == [2] * count and {p.hand for p in expected[3]} == {0}
    (found, *_) = read(standin_cpm, expected[:1], [picture(pair(0)[0], size_px=SIZE)])
    assert found.present.tolist() == [True, False] and worst_px(found, pair(0)[0]) < 4


def test_a_view_without_a_picture_is_left_out(standin_cpm):
    count = 4
    forward = np.tile(tracked(*pair(0)), (count, 2, 1, 1))
    t_ns, there = np.repeat(times(count)[0], 2, 1), np.ones((count, 2), bool)
    there[2, 1], forward[2, 1] = False, Hands2D.empty().points_px
    expected = places(forward, np.tile(nothing(count), (1, 2, 1, 1)), t_ns, there)
    assert [place.view for place in expected[2]] == [0, 0]
    found = look_again(standin_cpm, [None, picture(*pair(0), size_px=SIZE)], expected[1], LIMITS)
    assert {hand.place.view for hand in found} == {1}


def test_of_two_names_on_one_hand_the_likelier_over_time_stays(standin_cpm):
    right = pair(0)[0]
    wrong = tracked(right)
    wrong[hand_slice(1)] = wrong[hand_slice(0)]
    expected = places(np.tile(wrong, (6, 1, 1, 1)), nothing(6), *times(6))
    hands = read(standin_cpm, expected, [picture(right, size_px=SIZE)] * 6)
    assert all(found.present.tolist() == [True, False] for found in hands)


def test_a_hand_drawn_to_its_neighbour_falls_back_to_what_its_tracker_saw(standin_cpm):
    """The left hand is hidden by something, so its crop shows the right one alone."""
    right, left = PaintedHand(0, (200, 180), 130), PaintedHand(1, (255, 180), 130)
    seen = np.tile(tracked(right, left), (6, 1, 1, 1))
    (here, *_) = places(seen, nothing(6), *times(6))
    places_apart = distance(here[0].as_sighting(), here[1].as_sighting())
    assert places_apart > LIMITS.same_hand
    (found, *_) = read(standin_cpm, [here], [picture(right, size_px=SIZE)])
    there = found.present.tolist()
    assert there[0] and worst_px(found, right) < 4
    if there[1]:
        assert np.allclose(found.hand(1)[:, :2], truth(left)[hand_slice(1)], atol=0.5)


@pytest.mark.parametrize("turn_deg", [0, 70, 180])
def test_the_crop_follows_the_hands_turn(standin_cpm, turn_deg):
    hand = PaintedHand(0, (240, 180), 140, turn_deg)
    expected = places(np.tile(tracked(hand), (3, 1, 1, 1)), nothing(3), *times(3))
    crop = crop_round(expected[0][0].points_px, LIMITS.point_in_box)
    assert np.cos(crop.turn_rad - np.deg2rad(turn_deg)) > 0.99
    (found, *_) = read(standin_cpm, expected[:1], [picture(hand, size_px=SIZE)])
    assert worst_px(found, hand) < 4
