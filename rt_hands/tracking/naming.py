"""Which hand is which in a whole recording of a rig, where the future is known too.

Between one moment and the next hands that are near each other may change names; what speaks for a name, in any moment,
is what the views call the hands and how their fingers bend. The cheapest run of names through all moments is found by
dynamic programming (Viterbi 1967): names may change where hands are close, and hardly where they are apart.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
from rt_hands.lifting.chirality import right_handedness

Array = NDArray[np.float64]
FAR_MM: Final = 100.0
"""A hand that steps so far between two moments costs 1; much more than any hand moves at 30 fps."""
MOST: Final = 3.0
"""... and no step costs more: hands come and go."""
VIEWS, SHAPE = 0.3, 0.5
"""What a moment says when all views name the hands so, and when their fingers bend by a palm's length to that side."""
FAR_AWAY: Final = 1e6  # px, of a hand that is not there
BLOCK: Final = 4000
"""Moments that are drawn into the views at once, for the memory's sake."""
PARTED_NS: Final = 500_000_000
"""After such a pause a hand may be anywhere."""


def exchanged(
    world_mm: Array,
    present: NDArray[np.bool_],
    t_ns: NDArray[np.int64],
    points_px: NDArray[np.float32],
    rig: Rig,
) -> NDArray[np.bool_]:
    """(T,) moments whose right and left hand should change names.

    world_mm: (T, 170, 3), present: (T, 2), points_px: (T, V, 170, 3) of the rig's cameras, under the views' own names.
    """
    joints = _joints(world_mm)
    seen = np.flatnonzero(present.any(1))
    turn = np.zeros(len(t_ns), bool)
    if len(seen):
        views_say = np.concatenate([_views_say(joints[at], points_px[at], rig) for at in _blocks(seen)])
        for_names = VIEWS * views_say + SHAPE * _shapes_say(joints[seen])
        turn[seen] = _cheapest(for_names, _steps(joints[seen], t_ns[seen]))
    return turn


def views_exchanged(world_mm: Array, points_px: NDArray[np.float32], rig: Rig) -> NDArray[np.bool_]:
    """(T, V) pictures whose right and left hand should change names, for hands in 3D whose names are settled."""
    joints = _joints(world_mm)
    blocks = _blocks(np.arange(len(joints)))
    return np.concatenate([_hands_say(joints[at], points_px[at], rig).sum(2) < 0 for at in blocks])


def _joints(world_mm: Array) -> Array:
    return world_mm.reshape(-1, N_HANDS, N_HAND, 3)[:, :, :N_JOINTS]


def _blocks(moments: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [moments[first : first + BLOCK] for first in range(0, len(moments), BLOCK)]


def _views_say(joints: Array, points_px: NDArray[np.float32], rig: Rig) -> Array:
    """(T,) -1..1: share of the views' hands that lie on the hand of their name, less that of those on the other."""
    hands = np.isfinite(points_px[:, :, ::N_HAND, 0]).sum((1, 2))
    return _hands_say(joints, points_px, rig).sum((1, 2)) / np.maximum(hands, 1)


def _hands_say(joints: Array, points_px: NDArray[np.float32], rig: Rig) -> Array:
    """(T, V, 2) for each view's hand: 1 where it lies on the hand of its name, -1 on the other, 0 on none."""
    moments, views = points_px.shape[:2]
    drawn = rig.project(joints.reshape(-1, 3)).reshape(views, moments, N_HANDS, N_JOINTS, 2).swapaxes(0, 1)
    own = points_px.reshape(moments, views, N_HANDS, N_HAND, 3)[..., :N_JOINTS, :2]
    stay, turn = (np.linalg.norm(own - drawn[:, :, order], axis=-1) for order in ([0, 1], [1, 0]))
    stay, turn = (np.nan_to_num(apart, nan=FAR_AWAY).mean(-1) for apart in (stay, turn))
    size = np.ptp(np.nan_to_num(own), axis=3).max(-1)
    # Only hands that lie on one of the two say which.
    return np.asarray(np.where(np.minimum(stay, turn) < size, np.sign(turn - stay), 0.0), np.float64)


def _shapes_say(joints: Array) -> Array:
    """(T,) palms by which the fingers bend as their names want it; negative against them."""
    right, left = (np.nan_to_num(right_handedness(joints[:, hand])) for hand in range(N_HANDS))
    return np.asarray(right - left, np.float64)


def _steps(joints: Array, t_ns: NDArray[np.int64]) -> Array:
    """(T - 1, 2): what it costs to keep the names between two moments, and to change them."""
    costs = np.empty((len(t_ns) - 1, 2))
    for change, order in enumerate(([0, 1], [1, 0])):
        apart = np.linalg.norm(joints[1:, order] - joints[:-1], axis=-1)
        known = np.isfinite(apart)
        hands = np.where(known, apart, 0).sum(2) / np.maximum(known.sum(2), 1)
        there = known.any(2)
        mean = (hands * there).sum(1) / np.maximum(there.sum(1), 1)
        costs[:, change] = np.where(there.any(1), np.minimum(mean / FAR_MM, MOST), MOST)
    costs[np.diff(t_ns) > PARTED_NS] = 0
    return costs


def _cheapest(for_names: Array, steps: Array) -> NDArray[np.bool_]:
    """(T,) True where names change, of the run of states with the least cost; for_names is paid by exchanged names."""
    keep, change = np.minimum(for_names, 0) * -1, np.maximum(for_names, 0)
    cost, came_from = np.array([keep[0], change[0]]), np.zeros((len(for_names), 2), np.int8)
    for i in range(1, len(for_names)):
        # Rows: the state before; columns: now. The same state keeps the names, another one changes them.
        both = cost[:, None] + np.where(np.eye(2, dtype=bool), steps[i - 1, 0], steps[i - 1, 1])
        came_from[i] = both.argmin(0)
        cost = both.min(0) + (keep[i], change[i])
    states = np.empty(len(for_names), np.int8)
    states[-1] = cost.argmin()
    for i in range(len(for_names) - 1, 0, -1):
        states[i - 1] = came_from[i, states[i]]
    return states == 1
