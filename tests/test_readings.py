"""From what the network says of crops to hands: one hand read twice, sides, parts of hands."""

from __future__ import annotations

import numpy as np
import pytest
import standin
from hypothesis import given
from hypothesis import strategies as st

from rt_hands.inference.cpm import Read
from rt_hands.inference.preprocess import Crop
from rt_hands.layout import N_HAND
from rt_hands.tracking.readings import Sighting, Spot, assign_sides, hands_in, sightings, spots
from rt_hands.tracking.thresholds import Bar, Thresholds
from rt_hands.tracking.track import State
from rt_hands.tracking.tracker import Tracker

STEP_NS = 33_333_333
SEEN, LOST = State.SEEN, State.LOST


def sighting(
    side: int, at: tuple[float, float] = (0, 0), size: float = 100, evidence: float = 0.9
) -> Sighting:
    points = np.zeros((N_HAND, 3), np.float32)
    points[:, :2] = standin.TEMPLATE_UV * size + at
    points[:, 2] = 1
    read = Read(
        points[None, None].repeat(2, 1), np.full((1, 2), evidence, np.float32), (Crop(0, 0, 150),), points
    )
    return next(s for s in sightings(read, 0, Bar(0.0, 0.0, 0.1), Thresholds()) if s.side == side)


def spot(right: float, left: float, at: tuple[float, float] = (0, 0)) -> Spot:
    pair = [sighting(side, at, evidence=e) if e else None for side, e in enumerate((right, left))]
    return Spot((pair[0], pair[1]))


def test_a_reading_torn_between_two_hands_is_no_hand():
    points = np.zeros((N_HAND, 3), np.float32)
    points[:, :2] = standin.TEMPLATE_UV * 100
    points[:, 2] = 1
    crop, there = (Crop(0, 0, 150),), np.full((1, 2), 0.99, np.float32)
    torn = points.copy()
    torn[11:21, 0] += 200  # half of the fingers are another hand's
    unsure = torn.copy()
    unsure[11, 2] = 0.01  # a guess: nothing is known of the bones at it
    unsure[12:21, :2] = points[12:21, :2]
    found = {}
    for name, hand in {"whole": points, "torn": torn, "unsure": unsure}.items():
        read = Read(np.array([[hand, hand]]), there, crop, points)
        found[name] = len(sightings(read, 0, Thresholds().found, Thresholds(), Thresholds().bone))
    assert found == {"whole": 2, "torn": 0, "unsure": 2}


def test_two_readings_of_one_hand_are_one_spot():
    (only,) = spots([sighting(0), sighting(1, (8, 0), evidence=0.4)], Thresholds())
    assert only.evidence(0) == pytest.approx(0.9) and only.evidence(1) == pytest.approx(0.4)
    assert only.best.side == 0


def test_hands_laid_on_each_other_are_two_spots():
    assert len(spots([sighting(0), sighting(1, (45, 0))], Thresholds())) == 2


@pytest.mark.parametrize(
    ("evidence", "apart", "count"),
    [(0.99, 22, 2), (0.99, 8, 1), (0.9, 22, 1)],
    ids=["both certain", "both certain, but one on the other", "one not certain"],
)
def test_hands_palm_to_palm_are_two_where_both_are_certain(evidence, apart, count):
    """A fifth of a hand apart, where readings of one hand may lie, too."""
    assert (
        len(spots([sighting(0, evidence=0.99), sighting(1, (apart, 0), evidence=evidence)], Thresholds()))
        == count
    )


def test_a_certain_hand_of_the_other_side_is_no_part():
    """Within the first hand's box and half as large: fingers of it, unless it is a certain hand of its own."""
    large = sighting(0, evidence=0.99)
    for evidence, is_part in ((0.99, False), (0.9, True)):
        small = sighting(1, (25, 20), size=50, evidence=evidence)
        assert spot_of(small).is_of(large, Thresholds()) is is_part


def test_a_hand_that_could_be_either_side_is_a_hand():
    """Neither side's presence reaches the bar, but that there is a hand is all but certain."""
    read = reading_of((0.6, 0.5), peak=0.15)
    assert sightings(read, 0, Thresholds().found, Thresholds()) == []
    (only,) = hands_in(read, 0, Thresholds().found, Thresholds())
    assert only.presence == pytest.approx(1 - 0.4 * 0.5) and only.best.side == 0
    assert only.as_side(1).presence == only.presence
    # One doubtful side alone is no hand.
    assert hands_in(reading_of((0.6, 0.01), peak=0.3), 0, Thresholds().found, Thresholds()) == []


def reading_of(presence: tuple[float, float], peak: float) -> Read:
    points = np.zeros((1, 2, N_HAND, 3), np.float32)
    points[..., :2] = standin.TEMPLATE_UV * 100
    points[..., 2] = peak
    return Read(points, np.array([presence], np.float32), (Crop(0, 0, 150),), points)


def spot_of(one: Sighting) -> Spot:
    return Spot((one, None) if one.side == 0 else (None, one))


def test_sides_go_to_the_most_evidence_in_all():
    unsure, sure = spot(0.6, 0.5), spot(0.9, 0.01, (300, 0))
    assert assign_sides([unsure, sure], Thresholds()) == {0: sure, 1: unsure}


def test_a_hand_is_not_renamed_without_evidence():
    first, second = spot(0.9, 0.0), spot(0.8, 0.05, (300, 0))
    assert assign_sides([first, second], Thresholds()) == {0: first}


@given(st.permutations([spot(0.9, 0.1), spot(0.2, 0.7, (300, 0)), spot(0.5, 0.4, (0, 300))]))
def test_assignment_does_not_depend_on_order(found):
    chosen = assign_sides(found, Thresholds())
    assert {side: s.evidence(side) for side, s in chosen.items()} == pytest.approx({0: 0.9, 1: 0.7})


def test_broken_network_output_is_no_hand():
    nan = np.full((1, 2, N_HAND, 3), np.nan, np.float32)
    read = Read(nan, np.ones((1, 2), np.float32), (Crop(0, 0, 100),), nan)
    assert sightings(read, 0, Bar(0.0, 0.0, 0.1), Thresholds()) == []


def test_a_smudge_is_no_hand():
    points = np.zeros((1, 2, N_HAND, 3), np.float32)
    points[..., :2] = standin.TEMPLATE_UV * 10
    points[..., 2] = 1
    read = Read(points, np.ones((1, 2), np.float32), (Crop(0, 0, 150),), points)
    assert sightings(read, 0, Thresholds().found, Thresholds()) == []


class Names(Tracker):
    """A tracker fed with made-up network output: one still hand, read as right and left with given evidence."""

    def feed(self, right: float, left: float, t_ns: int) -> tuple[State, State]:
        looks = self.plan((640, 480), t_ns)
        points = np.zeros((len(looks), 2, N_HAND, 3), np.float32)
        points[..., :2] = standin.TEMPLATE_UV * 150 + 200
        points[..., 2] = 1
        presence = np.tile(np.array([right, left], np.float32), (len(looks), 1))
        return self.update(
            looks, Read(points, presence, tuple(look.crop for look in looks), points), t_ns
        ).states


def test_a_side_misread_for_three_frames_keeps_its_name_and_for_half_a_second_turns():
    names, t = Names(), 0
    for _ in range(15):
        t += STEP_NS
        states = names.feed(0.9, 0.1, t)
    assert states == (SEEN, LOST)
    for _ in range(3):
        t += STEP_NS
        assert names.feed(0.1, 0.9, t) == (SEEN, LOST)
    for _ in range(12):
        t += STEP_NS
        states = names.feed(0.1, 0.9, t)
    assert states == (LOST, SEEN)


def test_presence_has_hysteresis():
    names, t = Names(), 0
    for _ in range(10):
        t += STEP_NS
        assert names.feed(0.4, 0.0, t) == (LOST, LOST)
    for _ in range(5):
        t += STEP_NS
        names.feed(0.9, 0.0, t)
    for _ in range(20):
        t += STEP_NS
        assert names.feed(0.4, 0.0, t) == (SEEN, LOST)
