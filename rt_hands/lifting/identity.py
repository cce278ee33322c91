"""Which reading of which view is which hand: settled over the views of a rig, by rays that meet, names and shapes.

A camera confuses right and left now and then, or takes something else for a hand. Any two readings of two views make a
hand in 3D; the others support it or don't. The right and the left hand are the pair of such hands that the views'
readings support best: each reading goes to one hand, under another name at a price, and shapes speak for a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
from rt_hands.lifting.chirality import SURE, right_handedness
from rt_hands.lifting.shape_prior import bone_lengths, shape_prior
from rt_hands.lifting.trust import SCORE_FALL, USUAL_SCORE

Floats = NDArray[np.float64]

TOLERANCE: Final = 0.1
"""In sizes of the hand in the picture: a joint so far from where others see it supports them half."""
LEAST_JOINTS: Final = 12
LEAST_SUPPORT: Final = 0.2
"""A reading that supports a hand less is not of it; two hands laid on each other lie near 0.15."""
REST: Final = 0.05
"""What no hand was made from still goes to the hand it supports so much: some fingers of it may be seen well."""
RENAMING: Final = 0.3
"""Price of a reading under the other name, in supports of a reading that is all sure."""
A_HAND: Final = 0.4
"""Price of saying that there is a hand: two poor readings that meet by chance don't pay it."""
IMPOSSIBLE_BONES: Final = 0.5
"""Price of a hand all of whose bones are impossible."""
SHAPE: Final = 0.4
"""Worth of a palm of `right_handedness` for or against a side, of which at most ..."""
MOST_SHAPE: Final = 0.6
"""... so much counts: hands made from two views are bent by their noise."""
TURNED, BELIEVED = 0.4, 0.95
"""Where the shapes of finished hands speak against their names by the first, and readings support these hands by the
second, the names are wrong, whatever the views say: rays that miss each other bend a hand to any shape."""
POSSIBLE_BONES: Final = (0.5, 1.7)
PALMS_MM: Final = (40.0, 140.0)
SAME_HAND: Final = 0.35
"""Hands in 3D nearer to each other than this, in palms, are one hand seen twice."""
MOST_PAIRS, MOST_TRIED = 600, 15
OTHER_HAND_MM: Final = 50.0
PLAIN: Final = 0.5
"""Support from which on a reading is plainly of the hand it is named after: nothing is gained by trying others."""
_ROUNDS: Final = 2


@dataclass(frozen=True, slots=True)
class _Readings:
    """joints_px: (V, 2, 21, 2). trust: (V, 2, 21), 0 where unseen. size_px, sure: (V, 2); sure is 0 for no hand."""

    joints_px: Floats
    trust: Floats
    size_px: Floats
    sure: Floats
    rig: Rig
    tolerance: float

    @staticmethod
    def of(points_px: NDArray[np.float32], rig: Rig, tolerance: float) -> _Readings:
        # The network errs by shares of the hand, which has more pixels in a larger picture.
        points_px, rig = rig.levelled(points_px), rig.level
        hands = points_px.reshape(len(rig), N_HANDS, N_HAND, 3)
        read = _core.readings(
            hands, joints=N_JOINTS, least=LEAST_JOINTS, usual_score=USUAL_SCORE, score_fall=SCORE_FALL
        )
        return _Readings(*read, rig, tolerance)

    def support(self, hands_mm: Floats) -> Floats:
        """How much each reading says the same as each hand (K, 21, 3): (K, V, 2), 0 .. 1."""
        rig = self.rig
        drawn_px, _, _ = _core.project(
            hands_mm.reshape(-1, 3), rig.K, rig.distortion, rig.cam_from_world, None
        )
        drawn_px = drawn_px.reshape(len(rig), len(hands_mm), N_JOINTS, 2)
        return _core.support(drawn_px, self.joints_px, np.sqrt(self.trust), self.tolerance * self.size_px)

    def triangulated(self, of: NDArray[np.bool_]) -> Floats:
        """Hands from the readings marked in (K, V, 2), one a view at most: (K, 21, 3) mm."""
        points = np.where(of[:, :, 0, None, None], self.joints_px[:, 0], self.joints_px[:, 1])
        weight = (of[..., None] * self.trust).sum(2)
        limit_px = 3 * self.tolerance * float(self.size_px.max())
        world_mm, _, _, _ = _core.triangulate(
            points.transpose(1, 0, 2, 3).reshape(len(self.rig), -1, 2),
            weight.transpose(1, 0, 2).reshape(len(self.rig), -1),
            self.rig.K,
            self.rig.distortion,
            self.rig.cam_from_world,
            max_residual_px=limit_px,
            # Of two views none can be told to be the wrong one, and all must be judged.
            reject=bool((of.sum((1, 2)) > 2).any()),
        )
        return world_mm.reshape(len(of), N_JOINTS, 3)


def plainly_agreed(points_px: NDArray[np.float32], world_mm: Floats, rig: Rig) -> bool:
    """Whether all views' hands (V, 170, 3) are named as they should be: world_mm (170, 3) is triangulated from them."""
    readings = _Readings.of(points_px, rig, TOLERANCE)
    hands_mm = world_mm.reshape(N_HANDS, N_HAND, 3)[:, :N_JOINTS]
    own = readings.support(hands_mm)[[0, 1], :, [0, 1]].T
    if (own[readings.sure > 0] < PLAIN).any():
        return False
    if np.isfinite(hands_mm[..., 0]).any(axis=1).all() and _same(hands_mm)[0, 1]:
        return False
    right, left = np.nan_to_num(right_handedness(hands_mm))
    return bool(right - left >= -SURE)


def settle_hands(
    points_px: NDArray[np.float32], rig: Rig, tolerance: float = TOLERANCE
) -> NDArray[np.float32]:
    """The points (V, 170, 3: x, y, score) with every view's readings under the hand they are of.

    Readings of no hand are left out.

    tolerance: how far joints may lie from where the others see them, see `TOLERANCE`; more for a rig that was nudged.
    With fewer than two views that see anything the points stay as they are.
    """
    readings = _Readings.of(points_px, rig, tolerance)
    if (readings.sure > 0).any(1).sum() < 2:
        return points_px
    hands_mm, support = _tried(readings)
    given = np.zeros((N_HANDS, len(rig), N_HANDS), bool)
    enough = np.zeros(N_HANDS, bool)
    for _ in range(_ROUNDS + 1):
        if not len(hands_mm):
            return _renamed(points_px, np.zeros_like(given))
        given = _best_pair(hands_mm, support, readings)
        enough = given.sum((1, 2)) >= 2
        hands_mm = readings.triangulated(given[enough]) if enough.any() else hands_mm[:0]
        support = readings.support(hands_mm)
        given[~enough] = False
    turned = enough.any() and _turned(hands_mm, np.array([1, -1])[enough], support[given[enough]])
    given = _with_rest(given, enough, support, readings)
    return _renamed(points_px, given[::-1] if turned else given)


def _turned(hands_mm: Floats, signs: NDArray[np.int64], support: Floats) -> bool:
    """Whether the shapes of hands (K, 21, 3), right ones (1) or left ones (-1), are plainly those of the other side."""
    shape = float(np.mean(signs * np.nan_to_num(right_handedness(hands_mm))))
    return bool(shape < -TURNED and support.mean() > BELIEVED)


def _tried(readings: _Readings) -> tuple[Floats, Floats]:
    """The likeliest hands that two readings make, (K, 21, 3), and how much the readings support them, (K, V, 2)."""
    views, slots = np.nonzero(readings.sure > 0)
    first, second = np.triu_indices(len(views), 1)
    apart = views[first] != views[second]
    first, second = first[apart], second[apart]
    some = np.unique(np.linspace(0, len(first) - 1, min(MOST_PAIRS, len(first))).round().astype(int))
    of = np.zeros((len(some), *readings.sure.shape), bool)
    for at in (first[some], second[some]):
        of[np.arange(len(some)), views[at], slots[at]] = True
    hands_mm = readings.triangulated(of)
    support = readings.support(hands_mm)
    worth = _counted(support, readings).max(2).sum(1) + _shape_worth(hands_mm).max(0)
    whole = np.isfinite(hands_mm[..., 0]).sum(1) >= LEAST_JOINTS
    order = np.argsort(-worth)
    order = order[whole[order]]
    if not len(order):
        return hands_mm[:0], support[:0]
    # A hand that many views see makes many good ones: the other hand must have its place among those tried.
    as_best = _core.mean_apart(hands_mm[order], hands_mm[order[:1]])[:, 0] < OTHER_HAND_MM
    best = np.sort(np.concatenate([np.flatnonzero(which)[:MOST_TRIED] for which in (as_best, ~as_best)]))
    return hands_mm[order[best]], support[order[best]]


def _counted(support: Floats, readings: _Readings) -> Floats:
    return np.where(support > LEAST_SUPPORT, support, 0.0) * readings.sure


def _shape_worth(hands_mm: Floats) -> Floats:
    """(2, K): what the shapes of hands (K, 21, 3) say for each as a right and as a left hand, less their price."""
    share = bone_lengths(hands_mm) / shape_prior().bones
    palm_mm = _palms_mm(share)
    share = share / palm_mm[:, None]
    possible = ((share > POSSIBLE_BONES[0]) & (share < POSSIBLE_BONES[1])).mean(1)
    sized = (palm_mm > PALMS_MM[0]) & (palm_mm < PALMS_MM[1])
    worth = np.where(sized, -A_HAND - IMPOSSIBLE_BONES * (1 - possible), -np.inf)
    right = SHAPE * np.clip(np.nan_to_num(right_handedness(hands_mm)), -MOST_SHAPE, MOST_SHAPE)
    return np.stack([worth + right, worth - right])


def _palms_mm(share: Floats) -> Floats:
    """(K,) length of the palm by the middle bone, of bones (K, 20) in usual palms; NaN for no bone."""
    ordered = np.sort(share, axis=1)  # NaN last
    middle = np.isfinite(ordered).sum(1) // 2
    return np.asarray(ordered[np.arange(len(share)), middle])


def _best_pair(hands_mm: Floats, support: Floats, readings: _Readings) -> NDArray[np.bool_]:
    """The readings given to the right and to the left hand, (2, V, 2)."""
    count = len(hands_mm)
    counted = _counted(support, readings)
    price = RENAMING * (counted > 0)
    right, left = (np.maximum(counted - price * np.eye(2)[1 - side], 0) for side in range(N_HANDS))
    # One more, which no reading supports: no hand.
    right, left = (np.concatenate([s, np.zeros_like(s[:1])]) for s in (right, left))
    as_named = right[:, None, :, 0] + left[None, :, :, 1]
    crossed = right[:, None, :, 1] + left[None, :, :, 0]
    of_right, of_left = np.concatenate([_shape_worth(hands_mm), np.zeros((2, 1))], axis=1)
    worth = np.maximum(as_named, crossed).sum(2) + of_right[:, None] + of_left
    worth[:count, :count][_same(hands_mm)] = -np.inf
    a, b = (int(i) for i in np.unravel_index(np.argmax(worth), worth.shape))
    straight = as_named[a, b] >= crossed[a, b]
    given = np.zeros((N_HANDS, len(straight), N_HANDS), bool)
    for side, own in enumerate((right[a], left[b])):
        slot = np.where(straight, side, 1 - side)
        given[side, np.arange(len(slot)), slot] = own[np.arange(len(slot)), slot] > 0
    return given


def _same(hands_mm: Floats) -> NDArray[np.bool_]:
    """(K, K) which hands are one."""
    palm_mm = _palms_mm(bone_lengths(hands_mm) / shape_prior().bones)
    return np.asarray(
        ~(_core.mean_apart(hands_mm, hands_mm) > SAME_HAND * np.maximum(palm_mm[:, None], palm_mm))
    )


def _with_rest(
    given: NDArray[np.bool_], enough: NDArray[np.bool_], support: Floats, readings: _Readings
) -> NDArray[np.bool_]:
    """Readings that no hand was made from, given to the hand they support most, where its view has none for it."""
    by_side = np.zeros(given.shape)
    by_side[enough] = np.where(readings.sure > 0, support, 0.0)
    by_side[:, given.any(0)] = 0
    by_side[given.any(2)] = 0
    for _ in range(N_HANDS):
        flat = by_side.transpose(1, 0, 2).reshape(len(readings.sure), -1)
        view = np.flatnonzero(flat.max(1) > REST)
        side, slot = np.divmod(flat[view].argmax(1), N_HANDS)
        given[side, view, slot] = True
        by_side[side, view] = 0
        by_side[:, view, slot] = 0
    return given


def _renamed(points_px: NDArray[np.float32], given: NDArray[np.bool_]) -> NDArray[np.float32]:
    hands = points_px.reshape(len(points_px), N_HANDS, N_HAND, 3)
    out = np.full_like(hands, np.nan)
    out[..., 2] = 0
    for side, view, slot in np.argwhere(given).tolist():
        out[view, side] = hands[view, slot]
    return out.reshape(points_px.shape)
