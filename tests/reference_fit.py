"""NumPy twins of the palm's frame and of the fit of all joints of a hand: whole arrays, `linalg` for what is linear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from reference import project

Array = NDArray[np.float64]


def palm_frames(points_mm: Array, template: Array) -> tuple[Array, Array, Array, Array]:
    """Umeyama's fit of the template to each (N, P, 3), NaN where missing: rotation, origin, scale, spread."""
    there = np.isfinite(points_mm).all(2)
    share = (there / np.maximum(there.sum(1, keepdims=True), 1))[..., None]
    points = np.where(there[..., None], points_mm, 0.0)
    middle, centre = (share * points).sum(1), (share * template).sum(1)
    offset = template - centre[:, None]
    u, sigma, vt = np.linalg.svd(((points - middle[:, None]) * share).transpose(0, 2, 1) @ offset)
    sign = np.linalg.det(u @ vt)
    u[:, :, 2] *= sign[:, None]
    rotation = u @ vt
    variance = np.maximum((share * offset**2).sum((1, 2)), 1e-12)
    scale = (sigma[:, 0] + sigma[:, 1] + sign * sigma[:, 2]) / variance
    origin = middle - scale[:, None] * np.einsum("nij,nj->ni", rotation, centre)
    return rotation, origin, scale, sigma[:, 1] / np.maximum(sigma[:, 0], 1e-12)


def axes_of(world_mm: Array, model: dict[str, Array], mirrored: bool) -> tuple[Array, Array, float]:
    """(3, 3) canonical axes in the world, times the scale; the origin; the scale."""
    flip = np.diag((-1.0 if mirrored else 1.0, 1.0, 1.0))
    palm = world_mm[model["palm_joints"]] @ flip
    rotation, origin, scale, _ = (a[0] for a in palm_frames(palm[None], model["palm_template"]))
    return flip @ rotation * scale, flip @ origin, float(scale)


def fit_hand(
    points_px: Array,
    weights: Array,
    noise_px: float,
    bones_mm: Array,
    mirrored: bool,
    start_mm: Array,
    cameras: tuple[Array, Array, Array],
    model: dict[str, Array],
    options: dict[str, float],
) -> tuple[Array, Array]:
    """One hand: points (V, 21, 2), weights (V, 21), bones (20,), start (21, 3) -> joints (21, 3), apart_px (V, 21)."""
    basis, origin, scale = axes_of(start_mm, model, mirrored)
    joints = (start_mm - origin) @ basis / scale**2
    world = np.where(np.isfinite(joints), joints, model["mean"]) @ basis.T + origin
    for _ in range(int(options["steps"])):
        basis, origin, scale = axes_of(world, model, mirrored)
        joints = (world - origin) @ basis / scale**2
        matrix, right = equations(points_px, weights, noise_px, world, basis, cameras, options)
        matrix += model["precision"]
        right += model["precision"] @ (model["mean"] - joints).ravel()
        add_bones(matrix, right, joints, bones_mm / scale, model, options)
        step = np.linalg.solve(matrix, right).reshape(21, 3)
        far = np.linalg.norm(step, axis=1, keepdims=True)
        step *= np.minimum(1.0, options["longest_step"] / np.maximum(far, 1e-9))
        world = (joints + step) @ basis.T + origin
        if np.abs(step).max() <= options["arrived"]:
            break
    drawn = project(world, *cameras, np.ones((len(cameras[0]), 2)))[0]
    return world, np.where(weights > 0, np.linalg.norm(points_px - drawn, axis=2), np.nan)


def equations(
    points_px: Array,
    weights: Array,
    noise_px: float,
    world: Array,
    basis: Array,
    cameras: tuple[Array, Array, Array],
    options: dict[str, float],
) -> tuple[Array, Array]:
    """Normal matrix (63, 63) and right side (63,) of the reprojection errors."""
    matrix, right = np.zeros((21, 3, 21, 3)), np.zeros((21, 3))
    off = np.where(
        weights[..., None] > 0, points_px - project(world, *cameras, np.ones((len(cameras[0]), 2)))[0], 0.0
    )
    for v, (k, _, pose) in enumerate(zip(*cameras, strict=True)):
        cam = world @ pose[:3, :3].T + pose[:3, 3]
        turned = pose[:3, :3] @ basis
        for j in range(21):
            z = max(cam[j, 2], 1.0)
            jacobian = np.diag(k)[:2, None] / z * (turned[:2] - np.outer(cam[j, :2] / z, turned[2]))
            r2 = float(off[v, j] @ off[v, j])
            trusted = weights[v, j] / (noise_px**2 + weights[v, j] * r2 / options["cauchy"] ** 2)
            matrix[j, :, j] += trusted * jacobian.T @ jacobian
            right[j] += trusted * jacobian.T @ off[v, j]
    return matrix.reshape(63, 63), right.ravel()


def add_bones(
    matrix: Array, right: Array, joints: Array, own: Array, model: dict[str, Array], options: dict[str, float]
) -> None:
    """The lengths of bones, as the hand's own where they are known, else the mean's."""
    for i, (parent, child) in enumerate(model["pairs"]):
        known = np.isfinite(own[i])
        wanted = own[i] if known else model["bones"][i]
        std = wanted * options["own_bone_std" if known else "bone_std"]
        along = joints[child] - joints[parent]
        length = max(float(np.linalg.norm(along)), 1e-6)
        row = np.zeros((21, 3))
        row[child], row[parent] = along / (length * std), -along / (length * std)
        matrix += np.outer(row, row)
        right += row.ravel() * (wanted - length) / std
