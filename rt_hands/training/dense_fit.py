"""From a teacher's joints of one picture to dense points: fit the 3D joints to the picture, add RTC's skin, project.

The camera of a single photograph is unknown, so the fit is a scaled orthographic one; what it leaves over at the joints
is carried to the skin points near them, which keeps the skin on the fingers as the joints are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput

F64 = NDArray[np.float64]
GOOD_RESIDUAL = 0.06  # of the box: half of the trust is gone there (median on real train pictures: 0.033)
NEIGHBOURS = 3
ROUNDS = 40


@dataclass(frozen=True, slots=True)
class ScaledOrthographic:
    """x_px = linear (2, 3) X_mm + offset (2,); linear is a scale times two rows of a rotation."""

    linear: F64
    offset: F64

    def project(self, points_mm: NDArray[np.floating]) -> F64:
        """(..., 3) mm -> (..., 2) px."""
        return np.asarray(points_mm @ self.linear.T + self.offset)


def fit_scaled_orthographic(
    points_mm: NDArray[np.floating], points_px: NDArray[np.floating]
) -> ScaledOrthographic:
    """The scaled orthographic camera nearest to N >= 4 pairs: (N, 3) mm, (N, 2) px.

    Rounds of: the scale, then the rotation by SVD with the depths of the last round. Starts at the teacher's own
    frame (x right, y down), so a flat hand, whose depths the picture does not tell, keeps the teacher's tilt.
    """
    if points_mm.shape[0] < 4 or points_mm.shape[0] != points_px.shape[0]:
        raise InvalidInput(
            f"A fit needs four or more pairs; got {points_mm.shape[0]} and {points_px.shape[0]} points."
        )
    world = points_mm - points_mm.mean(0)
    image = points_px - points_px.mean(0)
    rotation = np.eye(3)
    for _ in range(ROUNDS):
        flat = world @ rotation[:2].T
        scale = float((flat * image).sum() / max(float((flat**2).sum()), 1e-9))
        scale = scale if scale > 0 else float(np.sqrt((image**2).sum() / max(float((flat**2).sum()), 1e-9)))
        depth = world @ rotation[2]
        u, _, vt = np.linalg.svd(np.column_stack([image / scale, depth]).T @ world)
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    linear = scale * rotation[:2]
    return ScaledOrthographic(linear, points_px.mean(0) - linear @ points_mm.mean(0))


def carry_residuals(joints_mm: F64, residuals_px: F64, surface_mm: F64) -> F64:
    """Residuals at the joints (21, 2) spread to skin points (S, 3), by inverse squared distance: (S, 2)."""
    away = np.linalg.norm(surface_mm[:, None] - joints_mm[None], axis=-1)
    nearest = np.argsort(away, axis=1)[:, :NEIGHBOURS]
    weight = 1 / (np.take_along_axis(away, nearest, 1) ** 2 + 1.0)
    weight /= weight.sum(1, keepdims=True)
    return np.asarray((residuals_px[nearest] * weight[..., None]).sum(1))


def dense_points(
    joints_mm: NDArray[np.floating],
    joints_px: NDArray[np.floating],
    surface_mm: NDArray[np.floating],
    confidence: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Skin points in the picture and how far to trust each: (64, 2) px, (64,) 0..1.

    joints_mm (21, 3) and surface_mm (64, 3) in one frame, joints_px (21, 2), confidence (64,) that a point is seen from
    somewhere round the hand: RTC knows no view. Trust falls with the fit's residual and, for points hidden between
    fingers, by half; NaN points get 0.
    """
    joints, surface = np.asarray(joints_mm, float), np.asarray(surface_mm, float)
    image = np.asarray(joints_px, float)
    camera = fit_scaled_orthographic(joints, image)
    residuals = image - camera.project(joints)
    box = float(np.ptp(image, axis=0).max())
    error = float(np.sqrt((residuals**2).sum(1).mean())) / max(box, 1e-6)
    points = camera.project(surface) + carry_residuals(joints, residuals, surface)
    trust = 0.5 ** ((error / GOOD_RESIDUAL) ** 2) * (0.5 + 0.5 * np.asarray(confidence, float))
    known = np.isfinite(points).all(1)
    return points.astype(np.float32), np.where(known, trust, 0).astype(np.float32)
