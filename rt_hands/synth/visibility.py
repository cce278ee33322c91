"""Which surface points a rig of cameras sees, without a mesh: facing the camera, and no capsule in the way.

Cameras stand round the hand in any direction, 0.4 to 1 m off. A point is visible when at least one of them sees it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

N_CAMERAS: Final = 4
NEAREST_MM: Final = 400.0
FARTHEST_MM: Final = 1000.0
LEAST_FACING: Final = 0.0  # cosine between skin and the way to the camera
COVER: Final = 1.0  # share of a capsule's radius that hides
CLEARANCE_MM: Final = (
    7.0  # a capsule hides a point from which the ray leaves it this far on: not the one it lies on
)


def random_cameras(rng: np.random.Generator, n: int, centre: F32) -> F32:
    """Positions (n, 4, 3) mm of cameras round `centre` (n, 3)."""
    way = rng.standard_normal((n, N_CAMERAS, 3), np.float32)
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    distance = rng.uniform(NEAREST_MM, FARTHEST_MM, (n, N_CAMERAS, 1)).astype(np.float32)
    return centre[:, None] + distance * way


def seen(points: F32, normals: F32, starts: F32, ends: F32, radii_mm: F32, cameras: F32) -> NDArray[np.bool_]:
    """Whether cameras see skin points past capsules, all in one frame, mm.

    points, normals (n, P, 3); capsule axes starts, ends (n, C, 3), radii (n, C); cameras (n, V, 3) -> (n, V, P).
    """
    towards = cameras[:, :, None] - points[:, None]
    distance = np.sqrt((towards * towards).sum(-1))
    facing = (towards * normals[:, None]).sum(-1) > LEAST_FACING * distance
    out = np.zeros(facing.shape, bool)
    for view in range(cameras.shape[1]):
        # Only points that face the camera need the search: about half.
        sample, point = np.nonzero(facing[:, view])
        way = towards[sample, view, point] / distance[sample, view, point, None]
        clear = _clear(points[sample, point], way, starts[sample], ends[sample], radii_mm[sample])
        out[sample, view, point] = clear
    return out


def _clear(origin: F32, way: F32, start: F32, end: F32, radius: F32) -> NDArray[np.bool_]:
    """Whether rays (M, 3) leave without meeting capsules (M, C, 3), but for those they start in: (M,)."""
    axis, off = end - start, start - origin[:, None]
    # Parts along the ray, and what is left across it, where the ray is a point.
    axis_along, off_along = (axis @ way[..., None])[..., 0], (off @ way[..., None])[..., 0]
    axis_sq = _dot(axis, axis) - axis_along * axis_along
    mixed = _dot(axis, off) - axis_along * off_along
    t = np.clip(-mixed / np.maximum(axis_sq, 1e-3), 0.0, 1.0)
    gap_sq = _dot(off, off) - off_along * off_along + t * (2.0 * mixed + t * axis_sq)
    spare = (COVER * radius) ** 2 - gap_sq
    # Where the ray leaves the capsule, seen from the point: well ahead of it, the capsule hides the point.
    leaves = off_along + t * axis_along + np.sqrt(np.maximum(spare, 0.0))
    hidden: NDArray[np.bool_] = np.any((spare > 0) & (leaves > CLEARANCE_MM), axis=1)
    return ~hidden


def _dot(a: F32, b: F32) -> F32:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
