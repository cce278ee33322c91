"""The second step of the offline pass: gaps filled, names settled, the network told of what both passes lifted."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from standin import TEMPLATE_UV, Listening
from test_camera import camera

from rt_hands import Rig, offline_reading
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import MIRROR, N_HAND, N_POINTS, hand_slice
from rt_hands.lifting.lift import dressed
from rt_hands.offline import Span, finish_2d, finish_3d, settled_names
from rt_hands.offline_reading import BestReader, Readings

RIG = Rig((camera("cam"),))


def made_readings(count: int, gap: slice) -> Readings:
    """One camera and a rig that see the right hand alone, but for a gap."""
    points = np.full((count, 1, N_POINTS, 3), np.nan, np.float32)
    points[..., 2] = 0
    world = np.full((count, N_POINTS, 3), np.nan)
    seen = np.ones(count, bool)
    seen[gap] = False
    wave = 120 * np.sin(np.arange(count) / 30 * 2 * np.pi / 1.5)
    for i in np.flatnonzero(seen):
        world[i, hand_slice(0)] = np.column_stack([150 * TEMPLATE_UV + (wave[i], 0), np.zeros(N_HAND)])
        points[i, 0, hand_slice(0), :2] = RIG.project(world[i, hand_slice(0)])[0]
    points[seen, 0, hand_slice(0), 2] = 0.9
    present = np.stack([seen, np.zeros(count, bool)], 1)
    index, t_ns = np.arange(count), np.arange(count) * 33_333_333
    there = np.isfinite(world[..., 0])
    return Readings(
        index,
        t_ns,
        index[:, None],
        t_ns[:, None],
        points,
        present[:, None].astype(np.float32),
        present[:, None],
        world,
        there.astype(np.float32),
        np.where(there, 1, np.nan).astype(np.float32),
        4 * there.astype(np.int32),
        present,
    )


def test_filled_hands_in_3d_have_no_views():
    samples, spans = finish_3d(made_readings(30, slice(10, 13)), 200.0)
    assert spans == [Span("", 0, 10, 12)] and [s.frame for s in samples] == list(range(30))
    hands = samples[11].hands
    assert hands.present.tolist() == [True, False] and (hands.views == 0).all()
    assert np.isnan(hands.residual_px).all() and np.isfinite(hands.hand_mm(0)).all()
    assert np.isnan(hands.hand_mm(1)).all() and (samples[9].hands.views[hand_slice(0)] == 4).all()


def test_the_network_is_told_what_both_passes_lifted_at_each_picture_s_own_time(standin_cpm):
    cpm = Cpm(Listening(standin_cpm.engine))
    forward, backward = made_readings(30, slice(10, 13)), made_readings(30, slice(20, 22))
    backward.world_mm[5] += (40.0, 0, 0)  # another thing
    late = replace(forward, frame_t_ns=forward.frame_t_ns + 10_000_000)
    # The backward pass lifts a set at the time of its last picture.
    ahead = replace(backward, world_mm=backward.world_mm + 0.3 * np.gradient(backward.world_mm, axis=0))
    passes = (forward, backward), (late, ahead)
    told, then = (BestReader(cpm, RIG, print)._told(RIG.ids, *both) for both in passes)
    assert list(told) == list(range(30)) and told[0][0].shape == (2, 21, 2)
    assert all(np.isnan(told[i][0][1]).all() for i in told) and np.isnan(told[5][0]).all()
    for i in (8, 11, 21):  # seen by both, by the backward, by the forward pass
        seen = (backward if i == 11 else forward).world_mm[i, :21]
        np.testing.assert_allclose(told[i][0][0], RIG.project(seen)[0], atol=1e-3)
    step = told[9][0][0] - told[8][0][0]
    np.testing.assert_allclose(then[8][0][0] - told[8][0][0], 0.3 * step, atol=0.15 * np.abs(step).max())
    assert BestReader(standin_cpm, RIG, print)._told(RIG.ids, forward, backward) == {}
    assert BestReader(cpm, None, print)._told(RIG.ids, forward, backward) == {}


@pytest.mark.parametrize("views_too", [True, False])
def test_names_settled_in_3d_are_the_pictures_names_too(views_too):
    right = made_readings(30, slice(0, 0))
    wrong = replace(right, **{f.name: getattr(right, f.name).copy() for f in fields(Readings)})
    at = slice(12, 16)
    for values in (wrong.world_mm, wrong.score, wrong.residual_px, wrong.views):
        values[at] = values[at][:, MIRROR]
    wrong.present_3d[at] = wrong.present_3d[at, ::-1]
    if views_too:
        wrong.points_px[at] = wrong.points_px[at][:, :, MIRROR]
        wrong.presence[at], wrong.present[at] = wrong.presence[at, :, ::-1], wrong.present[at, :, ::-1]
    settled = settled_names(wrong, RIG)
    # Under the other name the skin was the other side's: it is made anew from the joints.
    dressed_mm, score = dressed(right.world_mm[at], right.score[at])
    assert np.isfinite(dressed_mm[:, :85]).all()
    right.world_mm[at], right.score[at] = dressed_mm, score
    if views_too:
        right.points_px[at, 0, 21:85, :2] = [RIG.project(mm)[0, 21:85] for mm in dressed_mm]
    for f in fields(Readings):
        np.testing.assert_array_equal(getattr(settled, f.name), getattr(right, f.name), err_msg=f.name)


def test_long_gaps_stay_in_2d_and_cameras_without_a_frame_give_no_sample():
    made = made_readings(30, slice(10, 20))
    made.frame[25] = offline_reading.NO_FRAME
    samples, spans = finish_2d(made, ["cam"], 200.0)
    assert spans == [] and len(samples) == 29
    assert [s.frame for s in samples if not s.hands.present.any()] == list(range(10, 20))


def test_readings_survive_the_round_trip(tmp_path):
    made = made_readings(5, slice(2, 3))
    made.save(tmp_path / "c.npz")
    loaded = Readings.load(tmp_path / "c.npz")
    both = Readings.joined([loaded, loaded])
    assert len(both.index) == 10 and np.array_equal(both.points_px[5:], made.points_px, equal_nan=True)
