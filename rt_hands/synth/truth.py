"""Exact truth of a rendered view: image points, which of them can be seen, and crop boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera
from rt_hands.layout import HAND_POINT_NAMES, N_HANDS, N_JOINTS, N_POINTS, hand_slice
from rt_hands.synth.render import Rendered

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

ABSENT, OUTSIDE, OCCLUDED, VISIBLE = 0, 1, 2, 3
"""Codes of `ViewTruth.visibility`: no such hand in the scene, out of frame, hidden behind something, seen."""

SKIN_TOLERANCE_MM: Final = 2.5  # a skin point lies on the surface; slopes and pixel size make it look deeper
_GRAZING_COSINE: Final = -0.1  # skin that faces away more than this can't be seen, whatever the depth says


def _joint_depths_mm() -> F32:
    """How deep each joint of an average hand lies under the skin, whichever side it is looked at from."""
    by_name = {"wrist": 24, "thumb_cmc": 22, "thumb_mcp": 17, "thumb_ip": 13, "thumb_tip": 12}
    by_level = {"mcp": 19, "pip": 13, "dip": 11, "tip": 11}
    names = HAND_POINT_NAMES[:N_JOINTS]
    return np.array([by_name.get(n, by_level.get(n.rsplit("_")[-1], 0)) for n in names], np.float32)


JOINT_DEPTH_MM: Final = _joint_depths_mm()
BOX_MARGIN: Final = 0.15
_AVERAGE_PALM_MM: Final = 92.0  # wrist to middle knuckle


@dataclass(frozen=True, slots=True)
class ViewTruth:
    """What is known of one picture.

    points_px: (170, 2) float32, NaN where the hand is absent or the point is behind the camera.
    visibility: (170,) uint8, see ABSENT .. VISIBLE. points_cam_mm: (170, 3) float32.
    masks: (h, w, 2) uint8 share of each pixel, right and left. boxes_px: (2, 4) float32 x0 y0 x1 y1, NaN if absent.
    """

    points_px: F32
    visibility: U8
    points_cam_mm: F32
    masks: U8
    boxes_px: F32


def hand_tolerance_mm(points_world_mm: F64) -> F32:
    """(85,) mm behind the drawn surface at which a point of one hand still counts as seen."""
    palm = np.linalg.norm(points_world_mm[9] - points_world_mm[0])
    tolerance = np.full(len(points_world_mm), SKIN_TOLERANCE_MM, np.float32)
    tolerance[:N_JOINTS] = JOINT_DEPTH_MM * palm / _AVERAGE_PALM_MM
    return tolerance


def surface_depth_mm(depth_mm: F32, points_px: F32) -> F32:
    """Deepest drawn surface among the four pixels round each point: (N,) mm, inf off the picture."""
    h, w = depth_mm.shape
    corner = np.floor(np.nan_to_num(points_px, nan=-9.0, posinf=-9.0, neginf=-9.0)).astype(np.int64)
    deepest = np.zeros(len(points_px), np.float32)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = np.clip(corner[:, 0] + dx, 0, w - 1), np.clip(corner[:, 1] + dy, 0, h - 1)
        deepest = np.maximum(deepest, depth_mm[y, x])
    return deepest


def in_frame(points_px: F32, size_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether points lie on the picture: (N, 2) px -> (N,); NaN is not."""
    with np.errstate(invalid="ignore"):
        return np.asarray(((points_px > -0.5) & (points_px < np.array(size_px) - 0.5)).all(-1))


def view_truth(rendered: Rendered, camera: Camera, points_world_mm: F64, normals_world: F64) -> ViewTruth:
    """Truth of a picture drawn by `Renderer.draw`.

    points_world_mm: (170, 3), NaN for a hand that is not there. normals_world: (170, 3) outward skin normals, NaN for
    joints, which have none.
    """
    points_px = camera.project(points_world_mm).astype(np.float32)
    cam = points_world_mm @ camera.rotation.T + camera.translation_mm
    tolerance = np.concatenate([hand_tolerance_mm(points_world_mm[hand_slice(h)]) for h in range(N_HANDS)])
    view = camera.centre_world_mm - points_world_mm
    with np.errstate(invalid="ignore"):
        facing = np.einsum("ni,ni->n", normals_world, view) / np.linalg.norm(view, axis=1)
        away = facing < _GRAZING_COSINE
        hidden = cam[:, 2] - surface_depth_mm(rendered.depth_mm, points_px) > tolerance
    visibility = np.where(hidden | away, OCCLUDED, VISIBLE)
    visibility[~in_frame(points_px, camera.size_px)] = OUTSIDE
    visibility[np.isnan(points_world_mm).any(1)] = ABSENT
    return ViewTruth(
        points_px,
        visibility.astype(np.uint8),
        cam.astype(np.float32),
        rendered.masks[..., :2],
        boxes_px(points_px),
    )


def boxes_px(points_px: F32) -> F32:
    """Box round each hand's points, wider by BOX_MARGIN of its longest side: (170, 2) -> (2, 4), NaN where absent."""
    boxes = np.full((N_HANDS, 4), np.nan, np.float32)
    for hand in range(N_HANDS):
        points = points_px.reshape(N_POINTS, 2)[hand_slice(hand)]
        points = points[np.isfinite(points).all(1)]
        if len(points):
            low, high = points.min(0), points.max(0)
            pad = BOX_MARGIN * (high - low).max()
            boxes[hand] = *(low - pad), *(high + pad)
    return boxes
