"""Hands and cameras of a rig seen from a camera that circles them: the built-in 3D view. Pure: data in, picture out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera, Rig
from rt_hands.display.draw import Style, draw_hands, put_text
from rt_hands.tracking.rig import reproject
from rt_hands.types import Hands3D, Image

BACKGROUND_BGR: Final = (34, 30, 27)
GRID_BGR: Final = (66, 60, 56)
CAMERA_BGR: Final = (210, 180, 120)
FIELD_OF_VIEW_DEG: Final = 40.0
FRUSTUM_MM: Final = 60.0
GRID_MM: Final = 100.0


@dataclass(frozen=True, slots=True)
class Orbit:
    """Where the virtual camera stands: azimuth and elevation round the rig's middle, distance in rig sizes."""

    azimuth_deg: float = 30.0
    elevation_deg: float = 20.0
    distance: float = 2.3


class World:
    """The still part of the scene: the rig's middle, its up, its size."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        centres = np.array([c.centre_world_mm for c in rig])
        self.centre_mm = _meeting_of_axes(rig)
        self.size_mm = float(max(np.linalg.norm(centres - self.centre_mm, axis=1).max(), 100.0))
        up = -np.mean([c.rotation[1] for c in rig], 0)  # cameras stand upright on average
        self.up = up / max(float(np.linalg.norm(up)), 1e-9)

    def camera(self, orbit: Orbit, size_px: tuple[int, int]) -> Camera:
        """The virtual camera."""
        right = np.cross(self.up, [0.0, 0.0, 1.0] if abs(self.up[2]) < 0.9 else [1.0, 0.0, 0.0])
        right /= np.linalg.norm(right)
        ahead = np.cross(self.up, right)
        a, e = np.radians((orbit.azimuth_deg, orbit.elevation_deg))
        out = np.cos(e) * (np.cos(a) * ahead + np.sin(a) * right) + np.sin(e) * self.up
        z = -out
        x = np.cross(z, self.up)
        x /= np.linalg.norm(x)
        rotation = np.stack([x, np.cross(z, x), z])
        eye = self.centre_mm + out * orbit.distance * self.size_mm
        f = 0.5 * size_px[1] / np.tan(np.radians(FIELD_OF_VIEW_DEG) / 2)
        k = np.array([[f, 0, size_px[0] / 2], [0, f, size_px[1] / 2], [0, 0, 1]])
        return Camera("3D view", size_px, k, np.zeros(5), np.column_stack([rotation, -rotation @ eye]))


def draw_world(
    hands: Hands3D, world: World, orbit: Orbit | None = None, size_px: tuple[int, int] = (960, 720)
) -> Image:
    """The scene as a (height, width, 3) uint8 picture; absent hands and NaN points are left out."""
    view = world.camera(orbit or Orbit(), size_px)
    image = np.full((size_px[1], size_px[0], 3), BACKGROUND_BGR, np.uint8)
    for line in _grid(world):
        _draw_line(image, view, line, GRID_BGR)
    for camera in world.rig:
        corners, apex = _frustum(camera)
        starts = np.concatenate([np.repeat(apex[None], 4, 0), corners])
        ends = np.concatenate([corners, np.roll(corners, 1, 0)])
        for edge in np.stack([starts, ends], 1):
            _draw_line(image, view, edge, CAMERA_BGR)
        place = view.project(apex[None])[0]
        if np.isfinite(place).all() and (place >= 0).all() and (place < size_px).all():
            put_text(image, camera.id, (float(place[0]) + 6, float(place[1]) - 6), 0.4)
    return draw_hands(image, reproject(hands, Rig((view,)))[view.id], Style(labels=False))


def _meeting_of_axes(rig: Rig) -> NDArray[np.float64]:
    """The point nearest to all optical axes, mm; half a metre ahead of a lone camera."""
    centres, axes = np.array([c.centre_world_mm for c in rig]), np.array([c.rotation[2] for c in rig])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    # A faint pull to half a metre ahead keeps parallel cameras solvable.
    ahead = (centres + 500.0 * axes).mean(0)
    left = across.sum(0) + 1e-3 * np.eye(3)
    return np.asarray(np.linalg.solve(left, np.einsum("nij,nj->i", across, centres) + 1e-3 * ahead))


def _grid(world: World) -> list[NDArray[np.float64]]:
    """Lines of a floor under the rig's middle."""
    view = world.camera(Orbit(0.0, 0.0), (2, 2))
    x, z = view.rotation[0], view.rotation[2]
    reach = np.ceil(0.6 * world.size_mm / GRID_MM) * GRID_MM
    floor = world.centre_mm - 0.35 * world.size_mm * world.up
    steps = np.arange(-reach, reach + 1, GRID_MM)
    along = [np.array([floor + s * x - reach * z, floor + s * x + reach * z]) for s in steps]
    return along + [np.array([floor + s * z - reach * x, floor + s * z + reach * x]) for s in steps]


def _frustum(camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (4, 3) of a small picture before the camera, and its centre (3,), world mm."""
    w, h = camera.size_px
    pixels = np.array([[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1]], np.float64)
    rays = pixels @ np.linalg.inv(camera.K).T
    return camera.centre_world_mm + FRUSTUM_MM * rays @ camera.rotation, camera.centre_world_mm


def _draw_line(
    image: Image, view: Camera, ends_mm: NDArray[np.float64], colour: tuple[int, int, int]
) -> None:
    ends = view.project(ends_mm)
    # Beyond OpenCV's fixed-point range lines wrap round.
    if np.isfinite(ends).all() and np.abs(ends).max() < 30_000:
        (x0, y0), (x1, y1) = np.round(ends * 16).astype(int).tolist()
        cv2.line(image, (x0, y0), (x1, y1), colour, 1, cv2.LINE_AA, 4)
