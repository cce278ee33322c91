"""Cameras that look at hands: round the whole sphere, as a webcam, as a rig; real lenses."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera

F64 = NDArray[np.float64]

INSIDE_ARM_COSINE: Final = 0.72  # a camera within 44 degrees of the elbow's direction looks out of the sleeve


def looking(
    name: str,
    eye_mm: F64,
    at_mm: F64,
    up: F64,
    size_px: tuple[int, int],
    focal_px: float,
    distortion: F64 | None = None,
) -> Camera:
    """A camera at eye_mm that looks at at_mm with up upwards in the picture."""
    z = _unit(at_mm - eye_mm)
    side = np.cross(z, up)
    if np.linalg.norm(side) < 1e-6:
        side = np.cross(z, np.roll(up, 1) + 0.1)
    x = _unit(side)
    rotation = np.stack([x, np.cross(z, x), z])
    k = np.array([[focal_px, 0, (size_px[0] - 1) / 2], [0, focal_px, (size_px[1] - 1) / 2], [0, 0, 1]])
    pose = np.column_stack([rotation, -rotation @ eye_mm])
    return Camera(name, size_px, k, np.zeros(5) if distortion is None else distortion, pose)


def direction_to_hand(rng: np.random.Generator, viewer: F64, up: F64, arms: list[F64]) -> F64:
    """(3,) unit vector from the hand to a camera, never out of a sleeve.

    Half of them anywhere on the sphere, half as a webcam sees raised hands: from the viewer's side, one in three from
    behind. viewer, up: (3,) unit, where a viewer stands and where the fingers point. arms: (3,) to the elbows.
    """
    while True:
        if rng.random() < 0.5:
            direction = _unit(rng.normal(0, 1, 3))
        else:
            face = viewer * rng.choice([1.0, 1.0, -1.0])
            direction = _unit(face + rng.uniform(-0.9, 0.9) * up + rng.uniform(-1, 1) * np.cross(viewer, up))
        if all(direction @ arm < INSIDE_ARM_COSINE for arm in arms):
            return direction


def crop_camera(
    rng: np.random.Generator, points_mm: F64, direction: F64, up: F64, size_px: int, share: float
) -> Camera:
    """A square picture cut out of a wider one, in which the points' box takes a share of the side.

    The distance is 25 to 100 cm and the hand lies up to 20 degrees off the lens's axis, so the perspective is that
    of hands anywhere in a webcam's picture.
    """
    distance = np.exp(rng.uniform(np.log(250), np.log(1000)))
    middle = (points_mm.min(0) + points_mm.max(0)) / 2
    eye = middle + direction * distance
    beside = np.cross(direction, _unit(rng.normal(0, 1, 3)))
    aim = middle + beside * distance * np.tan(np.deg2rad(rng.uniform(0, 20)))
    camera = looking("crop", eye, aim, up, (size_px, size_px), 1.0)
    local = points_mm @ camera.rotation.T + camera.translation_mm
    plane = local[:, :2] / local[:, 2:]
    low, high = plane.min(0), plane.max(0)
    focal = share * size_px / (high - low).max()
    centre = (size_px - 1) / 2 - focal * (low + high) / 2
    k = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    return Camera("crop", (size_px, size_px), k, np.zeros(5), camera.cam_from_world)


def random_up(rng: np.random.Generator, direction: F64, fingers: F64) -> F64:
    """Which way is up in the picture: the fingers three times in five, give or take 40 degrees, else any way."""
    if rng.random() < 0.4:
        return _unit(rng.normal(0, 1, 3))
    turn = rng.normal(0, np.deg2rad(40))
    return np.asarray(np.cos(turn) * fingers + np.sin(turn) * np.cross(direction, fingers))


def real_lens(rng: np.random.Generator) -> F64:
    """(5,) distortion of a webcam or phone: mostly mild barrel."""
    k1 = rng.normal(-0.02, 0.06)
    return np.array([k1, -0.6 * k1 + rng.normal(0, 0.03), *rng.normal(0, 0.0008, 2), rng.normal(0, 0.01)])


def _unit(vector: F64) -> F64:
    return np.asarray(vector / np.linalg.norm(vector))
