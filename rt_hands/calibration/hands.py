"""Refine the places of a rig's cameras from the hands that they see: a later check, when somebody has nudged one.

Bundle adjustment over camera poses and triangulated hand joints, lenses kept: Levenberg-Marquardt on the normal
equations with the points eliminated (Schur complement), robust by Cauchy weights. Joints found by a network are off by
pixels, alike in neighbouring moments, so this repairs a moved camera; it does not replace a board.
The joints know no lengths, so the scale is the given rig's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.calibration.geometry import Array, rotation_deg
from rt_hands.camera import Rig
from rt_hands.layout import JOINT_ORDERS
from rt_hands.lifting.identity import settle_hands

JOINTS: Final = JOINT_ORDERS["mediapipe"]
SIDES_WITHIN_HANDS: Final = 0.5
"""In sizes of the hand: rays of a nudged rig may miss by so much when the sides are settled."""
LEAST_SCORE: Final = 0.3
MOST_POINTS: Final = 3000
"""More say nothing new; they are thinned evenly over time."""
HELD_OUT: Final = 5
"""Every fifth moment is kept out of the fit."""
WORTH_ALL: Final = 0.9
"""Moving all cameras must lower the held-out error to this share of what moving the best single one does: joints of a
network are biased, and one free camera takes up less of that than all of them."""
_STAGES: Final = range(3)
_ROUNDS: Final = 25
_LEAST_DAMPING: Final = 1e-6
Lenses = tuple[Array, Array]
"""Focal lengths (V, 2) and centres (V, 2), px."""


@dataclass(frozen=True)
class Seen:
    """Joints of both hands. points_px: (V, T, 42, 2) in the rig's order; scores: (V, T, 42), 0 where not seen."""

    points_px: Array
    scores: Array

    @staticmethod
    def of(moments: Sequence[NDArray[np.float32]], rig: Rig) -> Seen:
        """From each moment's (V, 170, 3) points, with right and left settled over the views."""
        settled = [_settled(points, rig) for points in moments]
        joints = np.stack(settled, axis=1)[:, :, JOINTS].astype(np.float64)
        scores = np.where(np.isfinite(joints[..., 0]) & (joints[..., 2] >= LEAST_SCORE), joints[..., 2], 0.0)
        return Seen(joints[..., :2], np.where((scores > 0).sum(0) >= 2, scores, 0.0))

    def part(self, held_out: bool) -> Seen:
        """The moments that are held out of the fit, or the others."""
        chosen = (np.arange(self.scores.shape[1]) % HELD_OUT == HELD_OUT - 1) == held_out
        return Seen(self.points_px[:, chosen], self.scores[:, chosen])

    def flat(self) -> tuple[Array, Array]:
        """(V, N, 2) and (V, N) of the points that two or more views saw, thinned evenly to MOST_POINTS."""
        points, scores = (a.reshape(len(a), -1, *a.shape[3:]) for a in (self.points_px, self.scores))
        shared = np.flatnonzero((scores > 0).sum(0) >= 2)
        shared = shared[:: max(-(-len(shared) // MOST_POINTS), 1)]
        return points[:, shared], scores[:, shared]


def _settled(points_px: NDArray[np.float32], rig: Rig) -> NDArray[np.float32]:
    settled = settle_hands(points_px, rig, SIDES_WITHIN_HANDS)
    # A camera that is lost altogether keeps its own names: the fit must see it to find it or to say so.
    seen = np.any(np.isfinite(settled[..., 0]), axis=1)
    return np.where(seen[:, None, None], settled, points_px)


@dataclass(frozen=True)
class Refined:
    """rig: with moved cameras. before_px, after_px: median reprojection error of the moments held out of the fit.

    turn_deg, shift_mm: {camera: by how much it differs from the given rig}. std_mm, std_deg: {camera: uncertainty of
    its place and direction from the fit's own residuals, one point in 40 counted as independent; 0 where a
    camera was not free}.
    """

    rig: Rig
    before_px: float
    after_px: float
    turn_deg: dict[str, float]
    shift_mm: dict[str, float]
    std_mm: dict[str, float]
    std_deg: dict[str, float]


def refine(seen: Seen, rig: Rig) -> Refined:
    """Camera poses that bring the joints' rays together, in the given rig's world and scale.

    One moved camera is tried for each, then all; the simpler answer wins unless the other is clearly better.
    """
    fit, test = seen.part(held_out=False).flat(), seen.part(held_out=True)
    everyone = tuple(range(len(rig)))
    alone = [_refined(fit, test, rig, (v,)) for v in everyone] if len(rig) > 2 else []
    best = min(alone, key=lambda r: r.after_px, default=None)
    together = _refined(fit, test, rig, everyone[1:])
    return best if best is not None and together.after_px > WORTH_ALL * best.after_px else together


def _refined(fit: tuple[Array, Array], test: Seen, rig: Rig, free: tuple[int, ...]) -> Refined:
    fitted, stds = _adjust(*fit, rig, free)
    moved = _with_poses(rig, fitted) if len(free) < len(rig) - 1 else _aligned(fitted, rig)
    pairs = list(zip(moved, rig, strict=True))
    return Refined(
        moved,
        residual_px(test, rig),
        residual_px(test, moved),
        {new.id: rotation_deg(new.rotation @ old.rotation.T) for new, old in pairs},
        {new.id: float(np.linalg.norm(new.centre_world_mm - old.centre_world_mm)) for new, old in pairs},
        {camera.id: float(np.linalg.norm(std[3:])) for camera, std in zip(rig, stds, strict=True)},
        {
            camera.id: float(np.degrees(np.linalg.norm(std[:3])))
            for camera, std in zip(rig, stds, strict=True)
        },
    )


def residual_px(seen: Seen, rig: Rig) -> float:
    """Median reprojection error over all points and the views that saw them; NaN for none."""
    points_px, scores = seen.flat()
    mm = _core.triangulate(
        points_px, scores, rig.K, rig.distortion, rig.cam_from_world, max_residual_px=1e4, reject=False
    )[0]
    miss = np.linalg.norm(rig.project(mm) - points_px, axis=2)[scores > 0]
    return float(np.nanmedian(miss)) if np.isfinite(miss).any() else float("nan")


# --- the adjustment -----------------------------------------------------------------------------------------


@dataclass
class _State:
    """poses: (V, 4, 4); points: (N, 3) mm; miss: (V, N, 2) ideal px, 0 where not seen; cost: robust."""

    poses: Array
    points: Array
    miss: Array
    weight: Array
    cost: float


def _adjust(points_px: Array, scores: Array, rig: Rig, free: tuple[int, ...]) -> tuple[Array, Array]:
    """(V, 4, 4) poses, (V, 6) standard deviations (rad, mm). Works in pixels without distortion.

    free: indices of the cameras that may move. With all but one free, nothing but the damping holds the scale.
    """
    ideal = rig.undistort(points_px)
    scores = np.where(np.isfinite(ideal[..., 0]), scores, 0.0)
    ideal = np.nan_to_num(ideal)
    flat = np.zeros((len(rig), 5))
    start = _core.triangulate(
        ideal, scores, rig.K, flat, rig.cam_from_world, max_residual_px=1e4, reject=False
    )[0]
    kept = np.isfinite(start[:, 0])
    ideal, scores = ideal[:, kept], scores[:, kept]
    lens = (rig.K[:, [0, 1], [0, 1]], rig.K[:, :2, 2])
    poses, points, knee_px = np.stack([c.cam_from_world for c in rig]), start[kept], np.inf
    for _ in _STAGES:
        # The knee follows the misses between the stages; within one it stays, so that the cost means one thing.
        state = _evaluate(poses, points, ideal, scores, lens, knee_px)
        knee_px = max(2 * float(np.median(np.linalg.norm(state.miss, axis=2)[scores > 0])), 1.0)
        state = _evaluate(poses, points, ideal, scores, lens, knee_px)
        state = _descend(state, ideal, scores, lens, knee_px, free)
        poses, points = state.poses, state.points
    return poses, _stds(state, lens[0], free)


def _descend(
    state: _State, ideal: Array, scores: Array, lens: Lenses, knee_px: float, free: tuple[int, ...]
) -> _State:
    damping = 1e-3
    for _ in range(_ROUNDS):
        trial = _evaluate(*_moved(state, *_step(state, lens[0], damping, free)), ideal, scores, lens, knee_px)
        if trial.cost < state.cost:
            done = state.cost - trial.cost < 1e-6 * state.cost
            state, damping = trial, max(damping / 5, _LEAST_DAMPING)
            if done:
                break
        else:
            damping *= 8
            if damping > 1e6:
                break
    return state


def _evaluate(
    poses: Array, points: Array, ideal: Array, scores: Array, lens: Lenses, knee_px: float
) -> _State:
    """Misses, and Cauchy's weights and cost at the knee."""
    there, (focal, centre) = scores > 0, lens
    cam = np.einsum("vij,nj->vni", poses[:, :3, :3], points) + poses[:, None, :3, 3]
    seen = cam[..., :2] / np.maximum(cam[..., 2:], 1.0) * focal[:, None] + centre[:, None]
    miss = np.where(there[..., None], seen - ideal, 0.0)
    square = (miss**2).sum(2) / knee_px**2
    cost = float((scores * np.log1p(square)).sum())
    return _State(poses, points, miss, scores / (1 + square), cost)


def _blocks(state: _State, focal: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Normal equations: A (V, 6, 6), W (N, V, 6, 3), B (N, 3, 3), a (V, 6), b (N, 3)."""
    rotation = state.poses[:, :3, :3]
    cam = np.einsum("vij,nj->vni", rotation, state.points) + state.poses[:, None, :3, 3]
    x, y = cam[..., 0], cam[..., 1]
    z = np.maximum(cam[..., 2], 1.0)
    zero = np.zeros_like(z)
    by_cam = np.stack([np.stack([1 / z, zero, -x / z**2], -1), np.stack([zero, 1 / z, -y / z**2], -1)], -2)
    by_cam *= focal[:, None, :, None]
    # A small turn w moves a point of the camera's frame by w x X; rows of -[X]x.
    turn = np.stack(
        [
            np.stack([zero, cam[..., 2], -y], -1),
            np.stack([-cam[..., 2], zero, x], -1),
            np.stack([y, -x, zero], -1),
        ],
        -2,
    )
    by_pose = np.concatenate([by_cam @ turn, by_cam], axis=-1)
    by_point = by_cam @ rotation[:, None]
    weighted = state.weight[..., None, None] * by_pose
    a_block = np.einsum("vnik,vnil->vkl", weighted, by_pose)
    w_block = np.einsum("vnik,vnil->nvkl", weighted, by_point)
    b_block = np.einsum("vn,vnik,vnil->nkl", state.weight, by_point, by_point)
    a = np.einsum("vnik,vni->vk", weighted, state.miss)
    b = np.einsum("vn,vnik,vni->nk", state.weight, by_point, state.miss)
    return a_block, w_block, b_block, a, b


def _reduced(blocks: tuple[Array, ...], damping: float) -> tuple[Array, Array, Array, Array]:
    """Camera-only system S (6V, 6V) and right side, with what gives the points back: W (N, 6V, 3), inverse of B."""
    a_block, w_block, b_block, a, b = blocks
    views = len(a_block)
    eye = np.eye(3)
    inverse = np.linalg.inv(b_block + (damping * b_block * eye) + 1e-9 * eye)
    w_flat = w_block.reshape(len(w_block), 6 * views, 3)
    carried = w_flat @ inverse
    system = -np.einsum("nki,nli->kl", carried, w_flat)
    for v in range(views):
        at = slice(6 * v, 6 * v + 6)
        system[at, at] += a_block[v] + damping * np.diag(np.diag(a_block[v]))
    right = np.asarray(a.ravel() - np.einsum("nki,ni->k", carried, b), np.float64)
    return np.asarray(system, np.float64), right, w_flat, np.asarray(inverse, np.float64)


def _step(state: _State, focal: Array, damping: float, free: tuple[int, ...]) -> tuple[Array, Array]:
    """(V, 6) and (N, 3) to add."""
    blocks = _blocks(state, focal)
    system, right, w_flat, inverse = _reduced(blocks, damping)
    at = _columns(free)
    cameras = np.zeros(len(right))
    cameras[at] = -np.linalg.solve(system[np.ix_(at, at)], right[at])
    points = -np.einsum("nij,nj->ni", inverse, blocks[4] + np.einsum("nki,k->ni", w_flat, cameras))
    return cameras.reshape(-1, 6), points


def _moved(state: _State, cameras: Array, points: Array) -> tuple[Array, Array]:
    poses = state.poses.copy()
    for v, step in enumerate(cameras):
        turn = cv2.Rodrigues(np.ascontiguousarray(step[:3]))[0]
        poses[v, :3, :3] = turn @ poses[v, :3, :3]
        poses[v, :3, 3] = turn @ poses[v, :3, 3] + step[3:]
    return poses, state.points + points


_INDEPENDENT: Final = 1 / 40
"""A network misses a joint alike in moment after moment; with this share the errors measured on the bundled sample,
with joints 5.6 px off, are about one standard deviation."""


def _stds(state: _State, focal: Array, free: tuple[int, ...]) -> Array:
    """(V, 6) rad, mm: from the fit's own residuals; 0 for cameras that stayed."""
    at = _columns(free)
    system = _reduced(_blocks(state, focal), 1e-9)[0][np.ix_(at, at)]
    seen = state.weight > 0
    square = (state.miss**2).sum(2)[seen]
    variance = float((state.weight[seen] * square).sum() / (2 * seen.sum())) / _INDEPENDENT
    if len(free) == len(state.poses) - 1:
        # Along the change of scale all cameras move away from the one that stays: the scale is given, so that is no
        # uncertainty. A camera's translation then grows by its way from there, as it sees it.
        (stays,) = set(range(len(state.poses))).difference(free)
        centre = np.linalg.inv(state.poses[stays])[:3, 3]
        away = [state.poses[v, :3, :3] @ centre + state.poses[v, :3, 3] for v in free]
        scale = np.concatenate([np.concatenate([np.zeros(3), way]) for way in away])
        scale /= max(float(np.linalg.norm(scale)), 1e-9)
        system = system + float(np.trace(system)) * np.outer(scale, scale)
    out = np.zeros(6 * len(state.poses))
    out[at] = np.sqrt(np.maximum(np.diag(np.linalg.pinv(system)) * variance, 0))
    return out.reshape(-1, 6)


def _columns(cameras: tuple[int, ...]) -> NDArray[np.intp]:
    return np.concatenate([np.arange(6 * v, 6 * v + 6) for v in cameras])


def _aligned(poses: Array, rig: Rig) -> Rig:
    """The fitted poses in the given rig's scale and world, placed so that most cameras stay where they were."""
    inverse = np.linalg.inv(poses)
    centres, given = inverse[:, :3, 3], np.stack([camera.centre_world_mm for camera in rig])
    apart, before = (np.linalg.norm(c[:, None] - c, axis=2) for c in (centres, given))
    fits = []
    for anchor, other in permutations(range(len(rig)), 2):
        # World of the fit -> the given world, by the anchor's pose in both and its distance from another camera.
        scaled = poses.copy()
        scaled[:, :3, 3] *= before[anchor, other] / max(apart[anchor, other], 1e-9)
        moved = scaled @ np.linalg.inv(scaled[anchor]) @ rig.cameras[anchor].cam_from_world
        shift = np.linalg.norm(np.linalg.inv(moved)[:, :3, 3] - given, axis=1)
        fits.append((float(np.median(shift)), anchor, moved))
    _, _, best = min(fits, key=lambda fit: fit[:2])
    return _with_poses(rig, best)


def _with_poses(rig: Rig, poses: Array) -> Rig:
    return Rig(tuple(replace(c, cam_from_world=_rigid(p)) for c, p in zip(rig, poses, strict=True)))


def _rigid(pose: Array) -> Array:
    """Without the rounding that many products leave in the rotation."""
    u, _, vt = np.linalg.svd(pose[:3, :3])
    out = pose.copy()
    out[:3, :3] = u @ vt
    return out
