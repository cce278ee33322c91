"""Hands of several calibrated views to one pair of dense hands in the world, in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.errors import InvalidInput
from rt_hands.layout import MIRROR, N_HAND, N_HANDS, N_JOINTS, N_POINTS, hand_slice
from rt_hands.lifting.chirality import SURE, right_handedness
from rt_hands.lifting.identity import exchange_hands, settle_sides
from rt_hands.lifting.rtc import Rtc
from rt_hands.types import Hands2D, Hands3D

PALM_MM: Final = (
    25.0,
    150.0,
)  # wrist to middle knuckle, toddler to giant: anything else is a bad triangulation
MAX_RESIDUAL_OF_WIDTH: Final = 0.03  # of the picture's width: beyond it a view shows another thing
FUSION_WEIGHT: Final = (
    0.5  # of a triangulated surface point against RTC's, by `python -m rt_hands.evaluate rig`
)


@cache
def _default_rtc() -> Rtc:
    return Rtc()


def lift(
    hands_per_view: Mapping[str, Hands2D] | Sequence[Hands2D],
    rig: Rig,
    *,
    rtc: Rtc | None = None,
    fusion: float = FUSION_WEIGHT,
    settle: bool = True,
) -> Hands3D:
    """Triangulate the joints, let RTC add the skin, and fuse in the surface points that the views saw themselves.

    hands_per_view: {camera id: Hands2D} for any of the rig's cameras, or one per camera in the rig's order.
    rtc: the network; the packaged default when None. fusion: 0 (RTC alone) .. 1 (triangulated where there is one).
    settle: exchange left and right in views that disagree with the others, and in all where the shapes of the hands
    in 3D say so (see `chirality`).
    A hand is present when two or more views give RTC enough joints and its palm has a hand's size.
    Raises InvalidInput for an unknown camera or a wrong number of views.
    """
    points_px = _stack(hands_per_view, rig)
    max_residual_px = MAX_RESIDUAL_OF_WIDTH * float(rig.size_px[:, 0].max())
    if settle:
        points_px = exchange_hands(points_px, settle_sides(points_px, rig, max_residual_px))
    points = _triangulate(points_px, rig, max_residual_px)
    if settle and _sides_are_wrong(points.world_mm):
        points = points.exchanged()
    return _with_surface(points, rtc or _default_rtc(), fusion)


@dataclass(frozen=True, slots=True)
class _Points:
    """The 170 points as the views give them: world_mm (170, 3), score, residual_px and views (170,)."""

    world_mm: NDArray[np.float64]
    score: NDArray[np.floating]
    residual_px: NDArray[np.float64]
    views: NDArray[np.int64]

    def exchanged(self) -> _Points:
        """Right and left under each other's name."""
        return _Points(
            self.world_mm[MIRROR], self.score[MIRROR], self.residual_px[MIRROR], self.views[MIRROR]
        )


def _triangulate(points_px: NDArray[np.float32], rig: Rig, max_residual_px: float) -> _Points:
    usable = np.isfinite(points_px[..., 0])
    scores = np.where(usable, points_px[..., 2], 0)
    world_mm, residual_px, views, used = _core.triangulate(
        points_px[..., :2],
        scores,
        rig.K,
        rig.distortion,
        rig.cam_from_world,
        max_residual_px=max_residual_px,
    )
    return _Points(world_mm, (scores * used).sum(0) / np.maximum(used.sum(0), 1), residual_px, views)


def _sides_are_wrong(world_mm: NDArray[np.float64]) -> bool:
    """Whether the hands' shapes say that right and left are exchanged; unsure shapes (below SURE) don't."""
    right, left = right_handedness(world_mm.reshape(N_HANDS, N_HAND, 3)[:, :N_JOINTS])
    votes = np.nan_to_num([right, -left])
    return bool(votes.sum() < -SURE)


def _stack(hands_per_view: Mapping[str, Hands2D] | Sequence[Hands2D], rig: Rig) -> NDArray[np.float32]:
    """(V, 170, 3) in the rig's order; views that are not given are empty."""
    if isinstance(hands_per_view, Mapping):
        for camera in hands_per_view:
            rig[camera]  # names the camera that the rig doesn't have
        hands = [hands_per_view.get(camera) or Hands2D.empty() for camera in rig.ids]
    else:
        hands = list(hands_per_view)
        if len(hands) != len(rig):
            raise InvalidInput(
                f"lift got {len(hands)} views for a rig of {len(rig)}; name them: {{camera id: hands}}."
            )
    return np.stack([h.points_px for h in hands])


def _with_surface(points: _Points, rtc: Rtc, fusion: float) -> Hands3D:
    hands_mm = points.world_mm.reshape(N_HANDS, N_HAND, 3).copy()
    residual_px, views = points.residual_px.astype(np.float32), points.views.astype(np.int32)
    joints_mm = hands_mm[:, :N_JOINTS].copy()
    palm_mm = np.linalg.norm(joints_mm[:, 9] - joints_mm[:, 0], axis=1)
    joints_mm[~((palm_mm > PALM_MM[0]) & (palm_mm < PALM_MM[1])) & np.isfinite(palm_mm)] = np.nan
    surface_mm, confidence = rtc(joints_mm, np.arange(N_HANDS))
    present = np.isfinite(surface_mm[:, 0, 0])
    scores = points.score.reshape(N_HANDS, N_HAND).astype(np.float32)
    joint_score = scores[:, :N_JOINTS].mean(1, keepdims=True)
    triangulated = np.isfinite(hands_mm[:, N_JOINTS:, :1])
    weight = np.where(triangulated, fusion, 0.0)
    hands_mm[:, N_JOINTS:] = (1 - weight) * surface_mm + weight * np.nan_to_num(hands_mm[:, N_JOINTS:])
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
