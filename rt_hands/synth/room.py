"""A room in three dimensions for sessions with several cameras: desk, walls, shelf, window, and who wears the sleeves.

World: mm, z up, hands near the origin, the person at -y looking towards +y.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.synth import props
from rt_hands.synth.render import Lights, Mesh

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

DESK_Z_MM = -250.0
SHOULDERS_MM = np.array([[205.0, -365.0, 370.0], [-205.0, -365.0, 370.0]])  # right, left


def quad(corner: tuple[float, float, float], along: F64, across: F64, texture: U8, cells: int = 24) -> Mesh:
    """A flat rectangle, cut into cells so that lens distortion bends its edges; faces along x across."""
    s, t = np.meshgrid(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1))
    points = np.array(corner) + s[..., None] * along + t[..., None] * across
    normal = np.cross(along, across)
    normals = np.broadcast_to(normal / np.linalg.norm(normal), points.shape)
    index = np.arange(points.shape[0] * points.shape[1]).reshape(points.shape[:2])
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3).astype(np.int32)
    uv = np.stack([s, 1 - t], -1).reshape(-1, 2).astype(np.float32)
    flat = points.reshape(-1, 3).astype(np.float32)
    return Mesh(
        flat,
        normals.reshape(-1, 3).astype(np.float32),
        faces,
        uv,
        texture,
        casts=False,
        two_sided=True,
        roughness=0.6,
    )


def _vec(x: float, y: float, z: float) -> F64:
    return np.array([x, y, z], float)


def box(low: F64, high: F64, texture: U8) -> list[Mesh]:
    """The five sides of a box that can be seen on a desk or a shelf."""
    x, y, z = np.eye(3) * (high - low)
    low_t = tuple(float(v) for v in low)
    top, far, right = (tuple(float(v) for v in low + e) for e in (z, y, x))
    sides = [(top, x, y), (low_t, x, z), (far, x, z), (low_t, y, z), (right, y, z)]
    return [quad(corner, a, b, texture, 1) for corner, a, b in sides]  # type: ignore[arg-type]


def wood(rng: np.random.Generator, size_px: int = 512) -> U8:
    """Planks with grain."""
    base = np.array([164, 122, 84], np.float32)
    y = np.mgrid[:size_px, :size_px][0] / size_px
    wobble = cv2.resize(
        rng.normal(0, 1, (6, 5)).astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_CUBIC
    )
    rings = np.sin(60 * (y + 0.035 * wobble) + 5 * wobble) * 0.045
    fibre = cv2.resize(rng.normal(0, 1, (size_px, 24)).astype(np.float32), (size_px, size_px)) * 0.03
    plank = np.floor(y * 5)
    tone = 1 + 0.07 * np.sin(plank * 2.4) - 0.25 * ((y * 5) % 1 < 0.008)
    return np.clip(base * (tone + rings + fibre)[..., None], 0, 255).astype(np.uint8)


def paint(colour: tuple[int, int, int], rng: np.random.Generator, size_px: int = 256) -> U8:
    """A painted wall: nearly one colour."""
    cloud = cv2.resize(
        rng.normal(0, 1, (8, 8)).astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_CUBIC
    )
    grain = rng.normal(0, 1, (size_px, size_px)).astype(np.float32)
    return np.clip(np.array(colour) * (1 + 0.012 * cloud + 0.008 * grain)[..., None], 0, 255).astype(np.uint8)


def plain(r: int, g: int, b: int) -> U8:
    """One colour."""
    return np.full((4, 4, 3), (r, g, b), np.uint8)


def picture(rng: np.random.Generator, size_px: int = 128) -> U8:
    """Something framed: soft hills under a sky."""
    image = np.zeros((size_px, size_px, 3), np.float32)
    image[:] = np.linspace([170, 196, 214], [236, 214, 180], size_px)[:, None]
    x = np.linspace(0, 6.3, size_px)
    for k, colour in enumerate(([120, 144, 134], [84, 112, 98], [48, 74, 66])):
        edge = size_px * (0.5 + 0.14 * k + 0.06 * np.sin(x * (1 + 0.6 * k) + rng.uniform(0, 6)))
        image[np.arange(size_px)[:, None] > edge] = colour
    out = cv2.GaussianBlur(image, (0, 0), 0.7)
    out[:6] = out[-6:] = out[:, :6] = out[:, -6:] = 40
    return out.astype(np.uint8)


def furniture() -> list[Mesh]:
    """Desk, floor, three walls, window, pictures, a shelf with books, a mug and a notebook on the desk."""
    rng = np.random.default_rng(3)
    wall, side, wooden = paint((196, 200, 198), rng), paint((182, 190, 196), rng), wood(rng)
    meshes = [
        quad((-900, -210, DESK_Z_MM), _vec(1800, 0, 0), _vec(0, 1000, 0), wooden),
        quad((-2600, -1700, -760), _vec(5200, 0, 0), _vec(0, 4500, 0), plain(112, 100, 90)),
        quad((2000, -1500, -760), _vec(-4000, 0, 0), _vec(0, 0, 2600), wall),
        quad((-2000, -1500, -760), _vec(0, 4500, 0), _vec(0, 0, 2600), side),
        quad((2000, 3000, -760), _vec(0, -4500, 0), _vec(0, 0, 2600), side),
        quad((-2000, 3000, -760), _vec(4000, 0, 0), _vec(0, 0, 2600), wall),
        quad((-430, -1480, 60), _vec(-520, 0, 0), _vec(0, 0, 420), picture(rng), 6),
        quad((1150, -1480, -60), _vec(-330, 0, 0), _vec(0, 0, 520), picture(rng), 6),
        replace(
            quad((-1980, -900, -100), _vec(0, 900, 0), _vec(0, 0, 1000), plain(245, 250, 255), 6),
            tint=(3.0, 3.0, 3.0),
        ),
    ]
    meshes += box(_vec(430, -1500, -330), _vec(1400, -1280, -306), plain(120, 86, 58))
    at = 460.0
    while at < 1150:
        thick, tall = rng.uniform(22, 60), rng.uniform(150, 240)
        hue = rng.integers(40, 190, 3)
        meshes += box(
            _vec(at, -1490, -306), _vec(at + thick, -1330, -306 + tall), plain(*(int(v) for v in hue))
        )
        at += thick + rng.uniform(0, 8)
    meshes += box(_vec(330, 150, DESK_Z_MM), _vec(520, 400, DESK_Z_MM + 14), plain(44, 62, 88))
    meshes.append(_mug())
    return meshes


def _mug() -> Mesh:
    z = DESK_Z_MM + np.array([0.0, 4, 80, 95, 95, 30])
    centres = np.stack([np.full(6, -360.0), np.full(6, 120.0), z], 1)
    radii = np.array([38.0, 40, 41, 42, 38, 36])[:, None, None] * np.ones((1, 28, 2))
    return props.tube(
        centres, _vec(1, 0, 0), _vec(0, 1, 0), radii, plain(222, 120, 78), roughness=0.35, reflectance=0.06
    )


def torso(texture: U8) -> Mesh:
    """A jumper from the lap to the neck."""
    z = np.array([-420.0, -300, -120, 60, 200, 340, 420, 470, 490])
    centres = np.stack([np.zeros(9), np.full(9, -400.0) - 20 * np.exp(-(((z - 150) / 160) ** 2)), z], 1)
    wide = np.array([182.0, 182, 188, 198, 204, 200, 180, 120, 70])
    deep = np.array([125.0, 122, 118, 118, 112, 98, 84, 66, 60])
    angle = np.linspace(0, 2 * np.pi, 28)
    folds = 1 + 0.012 * np.sin(z[:, None] / 37 + 3 * angle)
    radii = np.stack([wide[:, None] * folds, deep[:, None] * folds], -1)
    return props.tube(centres, _vec(1, 0, 0), _vec(0, 1, 0), radii, texture, 1.6, roughness=0.9)


def lights() -> Lights:
    """A window to the person's left, a ceiling lamp, a screen's glow from the front."""
    ambient = np.zeros((9, 3), np.float32)
    ambient[0] = (0.36, 0.37, 0.39)
    ambient[1], ambient[2], ambient[3] = (0.05, 0.05, 0.06), (0.10, 0.095, 0.09), (-0.06, -0.065, -0.07)
    towards = np.array([[-0.62, 0.45, 0.75, 0], [0.55, 0.5, 0.8, 0], [0.05, 1.0, 0.15, 0]], np.float32)
    towards[:, :3] /= np.linalg.norm(towards[:, :3], axis=1, keepdims=True)
    colours = np.array([[0.62, 0.60, 0.57], [0.24, 0.21, 0.17], [0.10, 0.11, 0.13]], np.float32)
    return Lights(ambient, towards, colours, exposure=1.05, shadow_softness_px=5.0, shadow_strength=0.85)
