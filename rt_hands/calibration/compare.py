"""How good a rig is on board corners that it was not fitted to, and how far two rigs differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.calibration.geometry import Array, rotation_deg
from rt_hands.calibration.observations import Observations
from rt_hands.camera import Rig

_MIN_CORNERS = 6


@dataclass(frozen=True)
class HeldOut:
    """Errors on corners triangulated from all views that saw them.

    rms_px: reprojection. rms_mm: distance of the corners to the true board laid on them rigidly. scale: size of the
    triangulated board over the true one, by moment. sets, corners: how many there were (0: errors are NaN).
    """

    rms_px: float
    rms_mm: float
    scale: dict[int, float]
    sets: int
    corners: int


def triangulated(seen: Observations, rig: Rig, moment: int) -> tuple[NDArray[np.int64], Array, Array]:
    """(n,) ids, (n, 3) mm and (n,) rms px of the corners that two or more cameras saw in one set."""
    views = [v for v in seen.views if v.moment == moment and v.camera in rig.ids]
    points = np.full((len(rig), seen.board.n_corners, 2), np.nan)
    for view in views:
        points[rig.ids.index(view.camera), view.ids] = view.corners_px
    scores = np.isfinite(points[..., 0]).astype(np.float64)
    mm, residual, used, _ = _core.triangulate(
        points, scores, rig.K, rig.distortion, rig.cam_from_world, reject=False, max_residual_px=1e6
    )
    ids = np.flatnonzero(used >= 2)
    return ids, mm[ids], residual[ids]


def fit_rigid(model: Array, points: Array) -> tuple[Array, float]:
    """(rms-ready) distances (n,) after the best rotation and shift, and the best scale (Kabsch, Umeyama)."""
    a, b = model - model.mean(axis=0), points - points.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    r = (u @ flip @ vt).T
    scale = float(np.trace(np.diag(s) @ flip) / (a**2).sum())
    return np.linalg.norm(b - a @ r.T, axis=1), scale


def held_out(seen: Observations, rig: Rig) -> HeldOut:
    """Triangulate every shared set and compare with the board."""
    model = seen.board.corners_mm()
    px, mm, scale = [], [], {}
    for moment in seen.shared():
        ids, points, residual = triangulated(seen, rig, moment)
        if len(ids) < _MIN_CORNERS or np.linalg.matrix_rank(model[ids] - model[ids].mean(axis=0)) < 2:
            continue
        distances, scale[moment] = fit_rigid(model[ids], points)
        px.append(residual)
        mm.append(distances)
    if not px:
        return HeldOut(float("nan"), float("nan"), {}, 0, 0)
    all_px, all_mm = np.concatenate(px), np.concatenate(mm)
    return HeldOut(
        float(np.sqrt(np.mean(all_px**2))),
        float(np.sqrt(np.mean(all_mm**2))),
        scale,
        len(px),
        len(all_px),
    )


@dataclass(frozen=True)
class PairDifference:
    """Of two cameras: the turn between both rigs' relative rotations, and the baseline's change and length."""

    cameras: tuple[str, str]
    rotation_deg: float
    baseline_percent: float
    baseline_mm: float


def compare(rig: Rig, reference: Rig) -> tuple[PairDifference, ...]:
    """Camera pairs that both rigs have; the choice of world does not matter."""
    common = [c for c in rig.ids if c in reference.ids]
    differences = []
    for a, b in combinations(common, 2):
        ours, theirs = (r[b].cam_from_world @ np.linalg.inv(r[a].cam_from_world) for r in (rig, reference))
        lengths = [
            float(np.linalg.norm(r[a].centre_world_mm - r[b].centre_world_mm)) for r in (rig, reference)
        ]
        turn = rotation_deg(ours[:3, :3] @ theirs[:3, :3].T)
        percent = 100 * (lengths[0] / lengths[1] - 1) if lengths[1] else float("inf")
        differences.append(PairDifference((a, b), turn, percent, lengths[0]))
    return tuple(differences)
