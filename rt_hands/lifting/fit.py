"""The joints of a hand that fit all views, the lengths of bones and the shapes of hands best at once.

Triangulation looks at each joint alone, so a joint that few views see well flies off. Here all 21 are moved together:
least squares over reprojection (views that miss count less, by Cauchy's weights), bone lengths and the shape prior, by
Gauss and Newton's method in the canonical frame. How much the views are trusted follows from how well their rays met,
so exact views give the exact joints. A joint that no view sees well comes from the rest of its hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.layout import N_HANDS, N_JOINTS
from rt_hands.lifting.canonical import CanonicalFrame, canonical_frame
from rt_hands.lifting.shape_prior import BONES, N_FREE, ShapePrior, bone_lengths, shape_prior
from rt_hands.lifting.trust import trust

Floats = NDArray[np.float64]

STEPS: Final = 8
ARRIVED: Final = 0.003
"""In palms: a step of a quarter of a millimetre ends the search."""
LEAST_NOISE_PX: Final = 0.02
BONE_STD: Final = 0.10
"""Of a bone's length: people's differ by so much from the mean, as a share; made-up people's by 0.05."""
OWN_BONE_STD: Final = 0.04
"""The same once the lengths of this hand are known from its past."""
LONGEST_STEP: Final = 0.3
"""Palms that a joint moves in one step: further, and the Jacobian is not the one it was."""
NOISE_TIMES: Final = 1.5
CAUCHY: Final = 1.0
"""Noises at which a view counts half."""
MISS: Final = 3.0
"""Noises from which on a view is said to miss a joint."""
IMPOSSIBLE: Final = (0.4, 1.8)
"""A triangulated bone beyond these shares of its usual length is no bone: its outer joint is dropped."""
_SIGNS: Final = np.zeros((len(BONES), N_JOINTS))
_SIGNS[np.arange(len(BONES)), BONES[:, 1]] = 1
_SIGNS[np.arange(len(BONES)), BONES[:, 0]] = -1
_JOINT: Final = np.arange(N_JOINTS)
_AT_WRIST: Final = np.flatnonzero(BONES[:, 0] == 0)
_MIRROR: Final = np.diag((-1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True)
class Fitted:
    """joints_mm: (2, 21, 3), NaN for hands that can't be fitted. agree: (V, 2, 21) bool: which views do.

    rms_px: (2, 21) of the views that agree, NaN where none does.
    miss: (2,) how far the joints of the second best view lie from the fitted ones drawn back, in the median, as a share
    of the palm's length there: two views must agree, others may see another thing.
    """

    joints_mm: Floats
    agree: NDArray[np.bool_]
    rms_px: Floats
    miss: Floats


def drop_impossible(joints_mm: Floats, bones_mm: Floats) -> Floats:
    """Joints (2, 21, 3) with NaN where a bone's length can't be; bones_mm: (2, 20), what is usual."""
    share = bone_lengths(joints_mm) / bones_mm
    wrong = (share < IMPOSSIBLE[0]) | (share > IMPOSSIBLE[1])
    out = joints_mm.copy()
    lost_wrists = wrong[:, _AT_WRIST].sum(1) >= 3
    out[lost_wrists, 0] = np.nan
    for hand, bone in np.argwhere(wrong).tolist():
        parent, child = BONES[bone]
        # From the wrist outwards: a joint that is dropped has no say on the next one.
        if np.isfinite(out[hand, parent, 0]):
            out[hand, child] = np.nan
    return out


def fit_joints(
    points_px: NDArray[np.floating],
    scores: NDArray[np.floating],
    joints_mm: Floats,
    noise_px: Floats,
    rig: Rig,
    bones_mm: Floats | None = None,
) -> Fitted:
    """Both hands, right and left.

    points_px: (V, 2, 21, 2), NaN where unseen; scores: (V, 2, 21). joints_mm: (2, 21, 3) to start from, NaN where
    unknown. noise_px: (2,) of the views' points of the usual score. bones_mm: (2, 20) lengths known from the past, NaN
    where not.
    """
    prior, side = shape_prior(), np.arange(N_HANDS)
    usable = np.isfinite(points_px[..., 0]) & (scores > 0)
    weight = np.where(usable, trust(scores), 0.0)
    seen_px = np.where(usable[..., None], points_px, 0.0)
    noise_px = np.maximum(NOISE_TIMES * noise_px, LEAST_NOISE_PX)
    frame = canonical_frame(joints_mm, side)
    joints = frame.to_canonical(joints_mm)
    world_mm = frame.to_world(np.where(np.isfinite(joints), joints, prior.mean))
    for _ in range(STEPS):
        frame = canonical_frame(world_mm, side)
        joints = frame.to_canonical(world_mm)
        drawn_px, jacobian = _drawn(world_mm, frame, rig)
        residual = np.where(usable[..., None], seen_px - drawn_px, 0.0)
        trusted = weight / (noise_px[:, None] ** 2 + weight * (residual**2).sum(3) / CAUCHY**2)
        normal, gradient = _of_views(jacobian, residual, trusted)
        _add_shape(normal, gradient, joints, prior)
        _add_bones(
            normal, gradient, joints, prior, None if bones_mm is None else bones_mm / frame.scale_mm[:, None]
        )
        move = _step(normal, gradient)
        world_mm = frame.to_world(joints + move)
        # NaN of a hand that is not there compares false.
        if not (np.abs(move) > ARRIVED).any():
            break
    drawn_px, _ = _drawn(world_mm, frame, rig)
    apart_px = np.where(usable, np.linalg.norm(seen_px - drawn_px, axis=3), np.nan)
    agree = apart_px * np.sqrt(weight) < MISS * noise_px[:, None]
    square = np.where(agree, apart_px, 0.0) ** 2
    rms_px = np.sqrt(square.sum(0) / np.where(agree.any(0), agree.sum(0), np.nan))
    return Fitted(world_mm, agree, rms_px, _miss(apart_px, world_mm, drawn_px))


def _drawn(world_mm: Floats, frame: CanonicalFrame, rig: Rig) -> tuple[Floats, Floats]:
    """Joints in every view (V, 2, 21, 2) px, and how these move with canonical joints (V, 2, 21, 2, 3).

    The derivative leaves the lens's distortion out, which changes the path of the search, not its end.
    """
    flat = world_mm.reshape(-1, 3)
    px, _, _ = _core.project(flat, rig.K, rig.distortion, rig.cam_from_world, None)
    rotation = rig.cam_from_world[:, :, :3]
    cam = flat @ rotation.transpose(0, 2, 1) + rig.cam_from_world[:, None, :, 3]
    z = np.maximum(cam[..., 2], 1.0)
    focal = rig.K[:, [0, 1], [0, 1]][:, None, :, None] / z[..., None, None]
    by_world = focal * (
        rotation[:, None, :2] - (cam[..., :2] / z[..., None])[..., None] * rotation[:, None, 2:]
    )
    turn = frame.scale_mm[:, None, None] * frame.rotation
    turn = np.where(frame.mirrored[:, None, None], _MIRROR @ turn, turn)
    by_canonical = by_world.reshape(len(rig), N_HANDS, -1, 3) @ turn
    shape = (len(rig), N_HANDS, N_JOINTS, 2)
    return px.reshape(shape), by_canonical.reshape(*shape, 3)


def _of_views(jacobian: Floats, residual: Floats, weight: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Normal matrix (2, 63, 63) and right side (2, 63) of the reprojection errors."""
    weighted = jacobian * weight[..., None, None]
    blocks = np.einsum("vhjki,vhjkl->hjil", weighted, jacobian)
    normal = np.zeros((N_HANDS, N_JOINTS, 3, N_JOINTS, 3))
    normal[:, _JOINT, :, _JOINT, :] = blocks.transpose(1, 0, 2, 3)
    gradient = np.einsum("vhjki,vhjk->hji", weighted, residual)
    return normal.reshape(N_HANDS, N_FREE, N_FREE), gradient.reshape(N_HANDS, N_FREE)


def _add_shape(normal: Floats, gradient: Floats, joints: Floats, prior: ShapePrior) -> None:
    normal += prior.precision
    gradient -= (joints - prior.mean).reshape(N_HANDS, N_FREE) @ prior.precision


def _add_bones(
    normal: Floats, gradient: Floats, joints: Floats, prior: ShapePrior, own: Floats | None
) -> None:
    """own: (2, 20) lengths of these hands in palms, NaN where not known."""
    known = np.isfinite(own) if own is not None else False
    wanted = np.where(known, own if own is not None else 0.0, prior.bones)
    std = np.where(known, OWN_BONE_STD, BONE_STD)
    along = joints[:, BONES[:, 1]] - joints[:, BONES[:, 0]]
    length = np.maximum(np.linalg.norm(along, axis=2), 1e-6)
    std = std * wanted
    pulls = along / (length * std)[..., None]
    rows = (_SIGNS[:, :, None] * pulls[:, :, None]).reshape(N_HANDS, len(BONES), N_FREE)
    normal += rows.transpose(0, 2, 1) @ rows
    pulls = pulls * ((wanted - length) / std)[..., None]
    gradient += (_SIGNS.T @ pulls).reshape(N_HANDS, N_FREE)


def _step(normal: Floats, gradient: Floats) -> Floats:
    step = np.linalg.solve(normal, gradient[..., None]).reshape(N_HANDS, N_JOINTS, 3)
    far = np.linalg.norm(step, axis=2, keepdims=True)
    return np.asarray(step * np.minimum(1.0, LONGEST_STEP / np.maximum(far, 1e-9)))


def _miss(apart_px: Floats, world_mm: Floats, drawn_px: Floats) -> Floats:
    """(2,) each view's median miss, in palms as the view shows them; of the second best view."""
    palm_mm = np.linalg.norm(world_mm[:, 9] - world_mm[:, 0], axis=1)
    spread_px = np.linalg.norm(drawn_px - drawn_px.mean(2, keepdims=True), axis=3).mean(2)
    spread_mm = np.linalg.norm(world_mm - world_mm.mean(1, keepdims=True), axis=2).mean(1)
    palm_px = spread_px * palm_mm / np.maximum(spread_mm, 1e-6)
    share = np.sort(np.nan_to_num(apart_px / palm_px[..., None], nan=np.inf), axis=2)
    middle = np.isfinite(share).sum(2, keepdims=True) // 2
    by_view = np.take_along_axis(share, middle.clip(max=N_JOINTS - 1), axis=2)[..., 0]
    return np.sort(by_view, axis=0)[1] if len(by_view) > 1 else np.full(N_HANDS, np.inf)
