"""Synthetic rigs with exact answers, for the tests and the fuzzing of the C++ core."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Cameras = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
DIST = np.array([-0.2, 0.05, 1e-3, -2e-3, 0.01])


def ring(views: int, seed: int = 0, dist: NDArray[np.float64] = DIST) -> Cameras:
    """`views` cameras on a circle of 1 m looking at the origin: K, dist, cam_from_world (V, 3, 4) mm, size."""
    rng = np.random.default_rng(seed)
    poses = np.empty((views, 3, 4))
    for v in range(views):
        angle = 2 * np.pi * v / max(views, 5)
        centre = np.array([1000 * np.sin(angle), rng.uniform(-300, 300), -1000 * np.cos(angle)])
        forward = -centre / np.linalg.norm(centre)
        right = np.cross([0, 1, 0], forward)
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        poses[v] = np.column_stack([rotation, -rotation @ centre])
    K = np.tile(np.array([[1000.0, 0, 639.5], [0, 1010, 359.5], [0, 0, 1]]), (views, 1, 1))
    return K, np.tile(dist, (views, 1)), poses, np.tile([1280.0, 720.0], (views, 1))


def hand_points(count: int, seed: int = 1) -> NDArray[np.float64]:
    """(count, 3) mm, a hand's spread about the origin."""
    return np.random.default_rng(seed).normal(0, 60, (count, 3))


def cv2_project(
    points: NDArray[np.float64], K: NDArray, dist: NDArray, poses: NDArray
) -> NDArray[np.float64]:
    """cv2.projectPoints in a loop: (V, N, 2), float64."""
    if not len(points):  # cv2 answers None
        return np.zeros((len(K), 0, 2))
    return np.stack(
        [
            cv2.projectPoints(points.astype(float), pose[:, :3], pose[:, 3], k, d)[0][:, 0]
            for k, d, pose in zip(K, dist, poses, strict=True)
        ]
    )
