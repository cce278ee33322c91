"""Tracking on painted hands: found, followed, held, lost, found again; sides through crossings; smoothing."""

from __future__ import annotations

import numpy as np
import pytest
import standin
from hypothesis import given
from hypothesis import strategies as st
from standin import PaintedHand, picture

from rt_hands.tracking.crops import box_of, crop_round, fine_search_crops, search_crops
from rt_hands.tracking.one_euro import OneEuro, Smoothing
from rt_hands.tracking.readings import Sighting, Spot
from rt_hands.tracking.thresholds import Thresholds, Timing
from rt_hands.tracking.track import State
from rt_hands.tracking.tracker import Look, Tracked, Tracker

STEP_NS = 33_333_333
SEEN, HELD, LOST = State.SEEN, State.HELD, State.LOST


class Film:
    """Runs a tracker over painted pictures, one frame at a time, and counts crops."""

    def __init__(self, cpm, size_px=(640, 480)):
        self.cpm, self.size_px, self.tracker, self.t_ns = cpm, size_px, Tracker(), 0
        self.crops: list[int] = []

    def __call__(self, *hands: PaintedHand, step_ns: int = STEP_NS) -> Tracked:
        self.t_ns += step_ns
        image = picture(*hands, size_px=self.size_px)
        looks = self.tracker.plan(self.size_px, self.t_ns)
        self.crops.append(len(looks))
        read = self.cpm([(image, look.crop) for look in looks])
        return self.tracker.update(looks, read, self.t_ns)


@pytest.fixture
def film(standin_cpm):
    return Film(standin_cpm)


def near(found: Tracked, *hands: PaintedHand, px: float) -> bool:
    return standin.worst_px(found.measured, *hands) < px


def test_found_confirmed_and_followed(film):
    hand = PaintedHand(0, (300, 240), 160)
    # A search, and a closer look that is all but certain.
    assert [film(hand).states[0] for _ in range(2)] == [LOST, SEEN]
    for _ in range(10):
        found = film(hand)
        assert found.states == (SEEN, LOST) and near(found, hand, px=4)


def test_one_crop_a_frame_in_the_steady_state(film):
    """Two hands apart: two crops. One hand: one crop, and a search now and then. All in one batch in any case."""
    hands = PaintedHand(0, (480, 240), 140), PaintedHand(1, (160, 240), 140)
    for _ in range(12):
        film(*hands)
    assert film.crops[2:] == [2] * 10
    film.crops.clear()
    for _ in range(66):
        film(hands[0])
    # Lost after 200 ms; then searched every other frame for a second, and every 170 ms: once in six frames.
    soon, late = film.crops[8:34], film.crops[40:]
    assert set(soon) == {1, 2} and 12 <= soon.count(2) <= 14
    assert set(late) == {1, 2} and 3 <= late.count(2) <= 5


def test_moving_hand_is_followed(film):
    found = film(PaintedHand(1, (150, 200), 140))
    for i in range(25):
        hand = PaintedHand(1, (150 + 12 * i, 200 + 4 * i), 140, 2 * i)
        found = film(hand)
        # Measured: 2.6 px.
        assert i == 0 or (found.states == (LOST, SEEN) and near(found, hand, px=5))


def test_stamps_that_jitter_do_not_throw_the_hand_off(film):
    """A stream's pictures are stamped as they arrive; two of them 1 ms apart once told of 30 times the hand's speed."""
    rng = np.random.default_rng(1)
    arrived_ms = np.maximum.accumulate(33.0 * np.arange(40) + rng.exponential(10.0, 40))
    lost = 0
    for i, step_ms in enumerate(np.maximum(np.diff(arrived_ms), 0.8)):
        hand = PaintedHand(0, (60 + 14 * i, 240), 140)
        found = film(hand, step_ns=int(step_ms * 1e6))
        lost += i > 2 and not (found.states[0] is SEEN and near(found, hand, px=20))
    assert lost == 0  # 15 with the steps as they are stamped


def test_leaving_hand_is_held_then_lost_then_found_again(film):
    hand = PaintedHand(0, (300, 240), 160)
    for _ in range(4):
        film(hand)
    held = film()
    assert held.states[0] is HELD
    assert held.hands.present[0] and not held.measured.present[0]
    states = [film().states[0] for _ in range(8)]
    # 200 ms at 30 fps: held for six frames after the last sighting, one of them above.
    assert states == [HELD] * 5 + [LOST] * 3
    assert np.isnan(film().hands.points_px[:, :2]).all()
    elsewhere = PaintedHand(0, (420, 300), 130)
    states = [film(elsewhere).states[0] for _ in range(6)]
    assert states[-1] is SEEN
    assert near(film(elsewhere), elsewhere, px=4)


def test_a_blink_changes_nothing(film):
    hand = PaintedHand(0, (300, 240), 160)
    for _ in range(5):
        film(hand)
    assert film().states[0] is HELD
    found = film(hand)
    assert found.states[0] is SEEN and near(found, hand, px=4)


def test_second_hand_is_found_while_the_first_is_followed(film):
    first, second = PaintedHand(0, (470, 240), 140), PaintedHand(1, (150, 240), 140)
    for _ in range(5):
        film(first)
    states = [film(first, second).states for _ in range(20)]
    assert all(state[0] is SEEN for state in states) and states[-1] == (SEEN, SEEN)


def test_what_lies_beside_a_hand_is_looked_at_before_what_lies_upon_it(film):
    """A search may read the hand that is followed upside down: no copy of it, but the other hand is more likely one."""
    first = PaintedHand(0, (480, 240), 140)
    for _ in range(3):
        film(first)
    corner = np.column_stack([standin.TEMPLATE_UV * 100, np.ones(85)]).astype(np.float32)
    upon = np.column_stack([2 * np.array([480, 240]) - first.points_px(), np.ones(85)]).astype(np.float32)
    spots = [Spot((None, Sighting(1, points, 0.9, 1.0, box_of(points, 0.05)))) for points in (upon, corner)]
    assert not film.tracker._is_followed(spots[0])
    whole = Look(search_crops((640, 480))[0])
    film.tracker._hint(spots, whole)
    (hint,) = film.tracker._hints
    assert box_of(corner, 0.05).centre_px == pytest.approx(hint.crop.centre_px, abs=20)


@pytest.mark.parametrize(("size_px", "small"), [(60, 4), (200, 1)])
def test_beside_a_small_hand_small_ones_are_looked_for(film, size_px, small):
    hand = PaintedHand(0, (320, 240), size_px)
    while film.tracker.states[0] is not SEEN:
        film(hand)
    sides = []
    for _ in range(12):
        image = picture(hand, size_px=film.size_px)
        looks = film.tracker.plan(film.size_px, film.t_ns)
        film.tracker.update(looks, film.cpm([(image, look.crop) for look in looks]), film.t_ns)
        film.t_ns += STEP_NS
        sides += [look.crop.side for look in looks if look.hand is None]
    fine = fine_search_crops(film.size_px)[0].side
    assert len(sides) == 6 and sides.count(fine) == small


def test_closer_looks_at_small_hands_have_room() -> None:
    """Seen small in its crop, a hand is read as a clump, smaller than it is; seen large, its own margin is enough."""
    points = np.column_stack([standin.TEMPLATE_UV * 100, np.ones(85)]).astype(np.float32)
    box = box_of(points, 0.05)
    seen_small, seen_large = (Sighting(0, points, 0.9, 1.0, box, crop_px) for crop_px in (800, 160))
    limits = Thresholds()
    assert seen_large.closer(limits) == crop_round(points, limits.point_in_box)
    wider = seen_small.closer(limits).side - seen_large.closer(limits).side
    assert wider == pytest.approx(0.15 * 800 - 0.35 * box.size_px, abs=1)


def test_what_a_closer_look_shows_too_badly_is_looked_at_once_more(film):
    """A search may place a hand half beside itself."""
    first = PaintedHand(0, (480, 240), 140)
    for _ in range(3):
        film(first)
    corner = np.column_stack([standin.TEMPLATE_UV * 100, np.ones(85)]).astype(np.float32)
    weak, strong = (Spot((None, Sighting(1, corner, p, 1.0, box_of(corner, 0.05)))) for p in (0.8, 0.93))
    once = Look(search_crops((640, 480))[0], closer=1)
    film.tracker._hint([strong], once)
    assert not film.tracker._hints
    film.tracker._hint([weak], once)
    looks = film.tracker.plan((640, 480), film.t_ns + STEP_NS)
    assert [look.closer for look in looks] == [0, 2] and looks[1].crop.side > 100
    # Nothing is seen there, and that is that.
    black = film.cpm([(picture(first), look.crop) for look in looks])
    film.tracker.update(looks, black, film.t_ns + STEP_NS)
    assert not film.tracker._hints


def test_beside_a_followed_hand_another_must_be_surer_and_upon_it_all_but_certain(film):
    first = PaintedHand(0, (480, 240), 140)
    for _ in range(3):
        film(first)
    corner = np.column_stack([standin.TEMPLATE_UV * 100, np.ones(85)]).astype(np.float32)
    upon = np.column_stack([first.points_px(), np.ones(85)]).astype(np.float32)
    for points, wanted in ((corner, [False, True, True]), (upon, [False, False, True])):
        box = box_of(points, 0.05)
        spots = [Spot((None, Sighting(1, points, p, 1.0, box))) for p in (0.8, 0.93, 0.99)]
        assert [film.tracker._is_strong(spot) for spot in spots] == wanted
        assert Tracker()._is_strong(spots[0])


def test_sides_survive_a_crossing(film):
    """The hands pass over each other, one hidden for a while; each keeps its name throughout."""
    for i in range(61):
        right, left = PaintedHand(0, (120 + 7 * i, 230), 130), PaintedHand(1, (540 - 7 * i, 250), 130)
        found = film(left, right)
        for side, hand in ((0, right), (1, left)):
            if found.measured.present[side]:
                apart = np.median(np.hypot(*(found.measured.hand(side)[:, :2] - hand.points_px()).T))
                assert apart < 45, f"frame {i}: hand {side} is {apart:.0f} px from itself"
    assert found.states == (SEEN, SEEN)
    # Measured: 3.1 px at the end, hands apart again.
    assert near(found, right, left, px=6)


def test_no_hand_is_ever_invented(film):
    for _ in range(25):
        found = film()
        assert found.states == (LOST, LOST) and not found.hands.present.any()


def test_three_windows_in_turn_find_hands_of_all_sizes(standin_cpm):
    for size in (120, 300, 600):
        film = Film(standin_cpm, (1280, 720))
        hand = PaintedHand(0, (500, 400), size)
        states = [film(hand).states[0] for _ in range(12)]
        assert SEEN in states


def test_a_long_gap_starts_anew(film):
    hand = PaintedHand(0, (300, 240), 160)
    for _ in range(4):
        film(hand)
    assert film(hand, step_ns=2_000_000_000).states[0] is LOST
    assert film(hand).states[0] is SEEN


def test_time_that_runs_backwards_starts_anew(film):
    hand = PaintedHand(0, (300, 240), 160)
    for _ in range(4):
        film(hand)
    assert film(hand, step_ns=-STEP_NS).states[0] is LOST


def test_frame_rate_does_not_change_how_long_a_hand_is_held(standin_cpm):
    for step_ns in (8_333_333, 66_666_667):
        film = Film(standin_cpm)
        for _ in range(4):
            film(PaintedHand(0, (300, 240), 160), step_ns=step_ns)
        frames = 0
        while film(step_ns=step_ns).states[0] is HELD:
            frames += 1
        assert abs(frames * step_ns - Timing().hold_ms * 1e6) <= step_ns


def test_size_of_the_picture_may_change(standin_cpm):
    film = Film(standin_cpm)
    hand = PaintedHand(0, (300, 240), 160)
    for _ in range(4):
        film(hand)
    film.size_px = (320, 240)
    small = PaintedHand(0, (150, 120), 80)
    states = [film(small).states[0] for _ in range(15)]
    assert states[-1] is SEEN


# --- smoothing -----------------------------------------------------------------------------------------------


def by_hand(samples: np.ndarray, dt: float, s: Smoothing, size: float) -> np.ndarray:
    """The paper's algorithm, one point at a time, as a plain loop."""
    out = np.empty_like(samples)
    for p in range(samples.shape[1]):
        x, dx = samples[0, p], np.zeros(2)
        out[0, p] = x
        for i in range(1, len(samples)):
            a = 1 / (1 + 1 / (2 * np.pi * s.d_cutoff_hz * dt))
            dx = a * (samples[i, p] - x) / dt + (1 - a) * dx
            cutoff = s.min_cutoff_hz + s.beta * np.sqrt((dx**2).sum()) / size
            a = 1 / (1 + 1 / (2 * np.pi * cutoff * dt))
            x = a * samples[i, p] + (1 - a) * x
            out[i, p] = x
    return out


def run(samples: np.ndarray, dt: float, size: float, smoothing: Smoothing | None = None) -> np.ndarray:
    smooth = OneEuro(smoothing or Smoothing())
    return np.array([smooth(points, round(i * dt * 1e9), size) for i, points in enumerate(samples)])


def test_one_euro_equals_the_plain_loop():
    samples = np.random.default_rng(0).normal(0, 5, (30, 7, 2)).cumsum(0)
    np.testing.assert_allclose(
        run(samples, 0.03, 120.0), by_hand(samples, 0.03, Smoothing(), 120.0), atol=1e-6
    )


@given(st.floats(0.1, 20), st.floats(-500, 500))
def test_smoothing_does_not_depend_on_scale_or_place(scale, shift):
    samples = np.random.default_rng(1).normal(0, 3, (10, 4, 2)).cumsum(0)
    scaled = run(samples * scale + shift, 0.03, 100.0 * scale)
    np.testing.assert_allclose(scaled, run(samples, 0.03, 100.0) * scale + shift, rtol=1e-6, atol=1e-6)


def test_still_hand_trembles_less_than_a_pixel():
    samples = np.random.default_rng(2).normal(0, 1.5, (300, 85, 2))
    calm = run(samples, 1 / 30, 200.0)[30:]
    steps = np.hypot(*np.diff(calm, axis=0).transpose(2, 0, 1))
    # Measured: 0.62 px a frame where the input steps by 2.66.
    assert steps.mean() < 1.0


def test_fast_hand_lags_little():
    path = np.zeros((40, 85, 2))
    path[:, :, 0] = (np.arange(40) * 800 / 30)[:, None]
    lag = path[-1, 0, 0] - run(path, 1 / 30, 200.0)[-1, 0, 0]
    # Measured: 3.4 px at 800 px/s (four hand sizes a second), 4.3 ms.
    assert lag < 5


def test_reset_lets_the_next_points_through():
    smooth = OneEuro()
    smooth(np.zeros((3, 2)), 0, 100.0)
    smooth.reset()
    np.testing.assert_array_equal(smooth(np.full((3, 2), 50.0), 10**9, 100.0), 50.0)


def test_reacquired_hand_does_not_fly_in(film):
    first, second = PaintedHand(0, (150, 150), 130), PaintedHand(0, (480, 320), 130)
    for _ in range(5):
        film(first)
    for _ in range(9):
        film()
    for _ in range(8):
        found = film(second)
        if found.states[0] is SEEN:
            break
    np.testing.assert_allclose(found.hands.hand(0), found.measured.hand(0), atol=1e-3)
    assert near(found, second, px=4)


def test_smoothing_can_be_switched_off(film):
    film.tracker.smooth = False
    for i in range(8):
        found = film(PaintedHand(0, (200 + 15 * i, 240), 140))
    np.testing.assert_array_equal(found.hands.points_px, found.measured.points_px)
