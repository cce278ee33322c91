"""Poses as (6,) vectors (Rodrigues, mm), and one board in one calibrated picture."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.calibration.observations import View

Array = NDArray[np.float64]
LENS = 9  # fx, fy, cx, cy, k1, k2, p1, p2, k3


class Lens(NamedTuple):
    """K (3, 3) and distortion (5,)."""

    K: Array
    distortion: Array


def lens_vector(lens: Lens) -> Array:
    """(9,) fx, fy, cx, cy, k1, k2, p1, p2, k3."""
    return np.concatenate([lens.K[[0, 1, 0, 1], [0, 1, 2, 2]], lens.distortion])


def lens_of(vector: Array) -> Lens:
    """The inverse of `lens_vector`."""
    fx, fy, cx, cy = vector[:4]
    return Lens(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), vector[4:].copy())


def pose_vector(pose: Array) -> Array:
    """(4, 4) -> (6,)."""
    return np.concatenate([cv2.Rodrigues(pose[:3, :3])[0].ravel(), pose[:3, 3]])


def pose_of(vector: Array) -> Array:
    """(6,) -> (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.ascontiguousarray(vector[:3]))[0], vector[3:]
    return pose


def board_in_camera(view: View, lens: Lens, model_mm: Array) -> tuple[Array, float] | None:
    """cam_from_board (4, 4) and its rms px, or None where the corners give no pose.

    A plane seen small has two poses that fit almost alike; the better one is refined.
    """
    points = model_mm[view.ids]
    if len(points) < 4:
        return None
    ok, rotations, translations, _ = cv2.solvePnPGeneric(
        points, view.corners_px, lens.K, lens.distortion, flags=cv2.SOLVEPNP_IPPE
    )
    best: tuple[Array, float] | None = None
    for r, t in zip(rotations, translations, strict=True) if ok else ():
        r, t = cv2.solvePnPRefineLM(points, view.corners_px, lens.K, lens.distortion, r.copy(), t.copy())
        pose = pose_of(np.concatenate([np.ravel(r), np.ravel(t)]))
        rms = float(np.sqrt(np.mean(np.sum(residual_px(view, lens, pose, model_mm) ** 2, axis=1))))
        if np.isfinite(rms) and pose[2, 3] > 0 and (best is None or rms < best[1]):
            best = pose, rms
    return best


def residual_px(view: View, lens: Lens, cam_from_board: Array, model_mm: Array) -> Array:
    """(n, 2) seen minus projected."""
    v = pose_vector(cam_from_board)
    projected = cv2.projectPoints(model_mm[view.ids], v[:3], v[3:], lens.K, lens.distortion)[0]
    return np.asarray(view.corners_px - projected.reshape(-1, 2), np.float64)


def rotation_deg(r: Array) -> float:
    """Angle of a rotation matrix."""
    return float(np.degrees(np.linalg.norm(cv2.Rodrigues(np.ascontiguousarray(r))[0])))


def mean_pose(poses: Array) -> Array:
    """Robust mean of (n, 4, 4): the one nearest to all others, then the mean of those close to it."""
    r = poses[:, :3, :3]
    cosine = (np.einsum("aij,bij->ab", r, r) - 1) / 2
    turn_deg = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    shift = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=2)
    # 1 degree weighs as 1 % of the typical distance.
    unit = 0.01 * max(float(np.median(np.linalg.norm(poses[:, :3, 3], axis=1))), 1.0)
    distance = turn_deg + shift / unit
    centre = int(np.argmin(np.median(distance, axis=1)))
    close = distance[centre] <= max(2 * float(np.median(distance[centre])), 1e-9)
    u, _, vt = np.linalg.svd(r[close].mean(axis=0))
    mean = np.eye(4)
    mean[:3, :3] = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    mean[:3, 3] = np.median(poses[close, :3, 3], axis=0)
    return mean
