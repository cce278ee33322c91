"""Hands of several calibrated views to one pair of dense hands in the world, in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.errors import InvalidInput
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS, N_POINTS, hand_slice
from rt_hands.lifting.canonical import canonical_frame
from rt_hands.lifting.fit import Fitted, drop_impossible, fit_joints
from rt_hands.lifting.identity import plainly_agreed, settle_hands
from rt_hands.lifting.moment import middle
from rt_hands.lifting.rtc import MIN_VALID_JOINTS, Rtc, Surface
from rt_hands.lifting.shape_prior import shape_prior
from rt_hands.lifting.trust import trust
from rt_hands.types import Hands2D, Hands3D

PALM_MM: Final = (
    25.0,
    150.0,
)  # wrist to middle knuckle, toddler to giant: anything else is a bad triangulation
MAX_RESIDUAL_OF_SIDE: Final = 0.03  # of the picture's longer side: beyond it a view shows another thing
FUSION_WEIGHT: Final = 0.25
"""Of a triangulated surface point against RTC's. On train people (four views, 114 hands) the surface is off by 4.93,
4.94, 5.01 and 5.16 mm with 0, 0.25, 0.5 and 0.75; real fingers' thickness follows their bones less than those of RTC's
people."""
FUSION_REACH_MM: Final = 6.0
"""A triangulated surface point so far from RTC's counts half: RTC is seldom so wrong, triangulation often."""
MOST_MISS: Final = 0.3
"""In palms: where not even two views have joints this near to the best fitting hand, they saw no hand."""
FILLED_SCORE: Final = 0.05
"""Of a joint that comes from the rest of its hand."""
Value = TypeVar("Value", bound=np.generic)


@cache
def _default_rtc() -> Rtc:
    return Rtc()


def lift(
    hands_per_view: Mapping[str, Hands2D] | Sequence[Hands2D],
    rig: Rig,
    *,
    rtc: Surface | None = None,
    fusion: float = FUSION_WEIGHT,
    settle: bool = True,
    bones_mm: NDArray[np.float64] | None = None,
) -> Hands3D:
    """Triangulate the joints, let RTC add the skin, and fuse in the surface points that the views saw themselves.

    hands_per_view: {camera id: Hands2D} for two or more of the rig's cameras, or one per camera in the rig's order;
    a view that has no picture at this moment is `Hands2D.empty()`.
    rtc: the network, or what does its work elsewhere; the packaged default when None.
    fusion: 0 (RTC alone) .. 1 (triangulated where there is one).
    settle: bring each view's readings under the hand they are of, by all views and the shapes of the hands in 3D (see
    `identity`). bones_mm: (2, 20) lengths of these hands' bones in the order of JOINT_BONES, where
    the past has shown them, NaN elsewhere.
    Views of different size count as if they were as large as the largest; residuals are in its pixels.
    A hand is present when two or more views give it 12 joints with possible bones, its palm has a hand's size, and the
    hand that fits the views best is near what they saw. Joints that no view agrees with come from the rest of their
    hand: views 0, residual NaN, a low score.
    Raises InvalidInput for an unknown camera, a wrong number of views, less than two of them, what is no Hands2D or no
    Rig, or a fusion outside 0 .. 1.
    """
    if not 0 <= fusion <= 1:
        raise InvalidInput(f"fusion is {fusion}; give 0 (RTC alone) to 1 (triangulated points alone).")
    points_px = np.stack([view.points_px for view in _by_view(hands_per_view, rig)])
    rig.check_depth()
    if isinstance(hands_per_view, Mapping) and len(hands_per_view) < 2:
        raise InvalidInput(
            f"3D needs two views of the rig; got {', '.join(hands_per_view) or 'none'}: give one more, or "
            "Hands2D.empty() for a view without a picture."
        )
    # The network errs by shares of the hand, which has more pixels in a larger picture.
    points_px, rig = rig.levelled(points_px), rig.level
    points = _triangulate(points_px, rig)
    if settle and not plainly_agreed(points_px, points.world_mm, rig):
        points_px = settle_hands(points_px, rig)
        points = _triangulate(points_px, rig)
    return _with_surface(_fitted(points, points_px, rig, bones_mm), rtc or _default_rtc(), fusion)


@dataclass(frozen=True, slots=True)
class _Points:
    """The 170 points as the views give them: world_mm (170, 3), score, residual_px, views and noise_px (170,).

    noise_px: how far the rays miss each other, as for points of the usual score.
    """

    world_mm: NDArray[np.float64]
    score: NDArray[np.floating]
    residual_px: NDArray[np.float64]
    views: NDArray[np.int64]
    noise_px: NDArray[np.float64]

    def with_joints(
        self, joints_mm: NDArray[np.float64], fit: Fitted, scores: NDArray[np.floating]
    ) -> _Points:
        """The same surface points; joints (2, 21, 3), and what the views (V, 2, 21) that agree say of them."""
        count = fit.agree.sum(0)
        seen = np.where(fit.agree, scores, 0).sum(0) / np.maximum(count, 1)
        return _Points(
            _with_joints(self.world_mm, joints_mm),
            _with_joints(self.score, np.where(count > 0, seen, FILLED_SCORE)),
            _with_joints(self.residual_px, fit.rms_px),
            _with_joints(self.views, count),
            self.noise_px,
        )


def _with_joints(points: NDArray[Value], joints: NDArray[np.generic]) -> NDArray[Value]:
    """(170, ...) with the joints of both hands (2, 21, ...) put in."""
    out = points.copy()
    out.reshape(N_HANDS, N_HAND, *points.shape[1:])[:, :N_JOINTS] = joints
    return out


def _triangulate(points_px: NDArray[np.float32], rig: Rig) -> _Points:
    usable = np.isfinite(points_px[..., 0])
    scores = np.where(usable, points_px[..., 2], 0)
    weights = trust(scores)
    world_mm, residual_px, views, used = _core.triangulate(
        points_px[..., :2],
        weights,
        rig.K,
        rig.distortion,
        rig.cam_from_world,
        max_residual_px=MAX_RESIDUAL_OF_SIDE * rig.side_px,
    )
    # Back from the weighted mean, for a joint that counts 1.
    noise_px = residual_px * np.sqrt((weights * used).sum(0) / np.maximum(views, 1))
    score = (scores * used).sum(0) / np.maximum(views, 1)
    return _Points(world_mm, score, residual_px, views, noise_px)


def _fitted(
    points: _Points, points_px: NDArray[np.float32], rig: Rig, bones_mm: NDArray[np.float64] | None
) -> _Points:
    """The points with their joints moved to where all views, bones and shapes fit best; NaN for what is no hand."""
    joints_mm = points.world_mm.reshape(N_HANDS, N_HAND, 3)[:, :N_JOINTS]
    usual_mm = shape_prior().bones * canonical_frame(joints_mm, np.arange(N_HANDS)).scale_mm[:, None]
    if bones_mm is not None:
        usual_mm = np.where(np.isfinite(bones_mm), bones_mm, usual_mm)
    joints_mm = drop_impossible(joints_mm, usual_mm)
    joints_mm[np.isfinite(joints_mm[..., 0]).sum(1) < MIN_VALID_JOINTS] = np.nan
    seen = points_px.reshape(len(rig), N_HANDS, N_HAND, 3)[:, :, :N_JOINTS]
    fitted = fit_joints(seen[..., :2], seen[..., 2], joints_mm, _noise_px(points), rig, bones_mm)
    joints_mm = np.where((fitted.miss < MOST_MISS)[:, None, None], fitted.joints_mm, np.nan)
    return points.with_joints(joints_mm, fitted, seen[..., 2])


def _noise_px(points: _Points) -> NDArray[np.float64]:
    """(2,) standard deviation of the views' joints of the usual score, by how far their rays miss each other."""
    residual, views = (a.reshape(N_HANDS, N_HAND)[:, :N_JOINTS] for a in (points.noise_px, points.views))
    # Of 2 V coordinates three went into the point.
    noise = np.asarray(residual * np.sqrt(views / np.maximum(2 * views - 3, 1)), np.float64)
    usual = middle(noise)
    return np.where(np.isfinite(usual), usual, np.nan)


def settled(hands_per_view: Mapping[str, Hands2D] | Sequence[Hands2D], rig: Rig) -> list[Hands2D]:
    """The views' hands in the rig's order, under the names that all views together give them."""
    given = _by_view(hands_per_view, rig)
    points_px = np.stack([view.points_px for view in given])
    if not plainly_agreed(points_px, _triangulate(rig.levelled(points_px), rig.level).world_mm, rig):
        points_px = settle_hands(points_px, rig)
    there = np.any(np.isfinite(points_px[..., 0]).reshape(len(rig), N_HANDS, N_HAND), axis=2)
    return [Hands2D(points_px[v], there[v], _presence(view, points_px[v])) for v, view in enumerate(given)]


def _presence(before: Hands2D, points_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2,) presence of a view's hands under their new names; 0 for hands that are no more."""
    hands = [before.hand(0), before.hand(1)]
    presence = np.zeros(N_HANDS, np.float32)
    for new, points in enumerate(points_px.reshape(N_HANDS, N_HAND, 3)):
        for old in (new, 1 - new):
            if np.isfinite(points[:, 0]).any() and np.array_equal(points, hands[old], equal_nan=True):
                presence[new] = before.presence[old]
                break
    return presence


def _by_view(hands_per_view: Mapping[str, Hands2D] | Sequence[Hands2D], rig: Rig) -> list[Hands2D]:
    """In the rig's order; views that are not given are empty."""
    if not isinstance(rig, Rig):
        raise InvalidInput(f"The rig is a {type(rig).__name__}; wanted a Rig, as formats.load_rig reads it.")
    if isinstance(hands_per_view, Mapping):
        for camera in hands_per_view:
            rig[camera]  # names the camera that the rig doesn't have
        hands = [hands_per_view.get(camera, Hands2D.empty()) for camera in rig.ids]
    else:
        hands = list(hands_per_view)
        if len(hands) != len(rig):
            raise InvalidInput(
                f"lift got {len(hands)} views for a rig of {len(rig)}; name them: {{camera id: hands}}."
            )
    for camera, view in zip(rig.ids, hands, strict=True):
        if not isinstance(view, Hands2D):
            raise InvalidInput(
                f"View '{camera}' is a {type(view).__name__}; wanted its Hands2D, as a Detector gives them."
            )
    return hands


def dressed(
    points_mm: NDArray[np.float64], score: NDArray[np.float32], rtc: Surface | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Hands (N, 170, 3) mm and scores (N, 170) with RTC's skin alone on their joints; absent hands stay absent.

    For hands whose names are exchanged: their skin was that of the other side, the palm's on the back.
    """
    hands = points_mm.reshape(-1, N_HAND, 3).copy()
    scores = score.reshape(-1, N_HAND).copy()
    side = np.arange(len(hands)) % N_HANDS
    hands[:, N_JOINTS:], confidence = (rtc or _default_rtc())(hands[:, :N_JOINTS], side)
    scores[:, N_JOINTS:] = confidence * scores[:, :N_JOINTS].mean(1, keepdims=True)
    return hands.reshape(points_mm.shape), scores.reshape(score.shape)


def _with_surface(points: _Points, rtc: Surface, fusion: float) -> Hands3D:
    hands_mm = points.world_mm.reshape(N_HANDS, N_HAND, 3).copy()
    residual_px, views = points.residual_px.astype(np.float32), points.views.astype(np.int32)
    joints_mm = hands_mm[:, :N_JOINTS].copy()
    palm_mm = np.linalg.norm(joints_mm[:, 9] - joints_mm[:, 0], axis=1)
    joints_mm[~((palm_mm > PALM_MM[0]) & (palm_mm < PALM_MM[1])) & np.isfinite(palm_mm)] = np.nan
    surface_mm, confidence = rtc(joints_mm, np.arange(N_HANDS))
    present = np.isfinite(surface_mm[:, 0, 0])
    scores = points.score.reshape(N_HANDS, N_HAND).astype(np.float32)
    joint_score = scores[:, :N_JOINTS].mean(1, keepdims=True)
    hands_mm[:, N_JOINTS:] = _core.blend_skin(
        hands_mm[:, N_JOINTS:], surface_mm, share=fusion, reach_mm=FUSION_REACH_MM
    )
    scores[:, N_JOINTS:] = confidence * joint_score
    for hand in np.flatnonzero(~present).tolist():
        hands_mm[hand], scores[hand] = np.nan, 0
        residual_px[hand_slice(hand)], views[hand_slice(hand)] = np.nan, 0
    scores[~np.isfinite(hands_mm[..., 0])] = 0
    return Hands3D(
        hands_mm.reshape(N_POINTS, 3),
        scores.reshape(N_POINTS),
        residual_px,
        views,
        present,
    )
