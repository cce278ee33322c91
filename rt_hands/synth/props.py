"""What hands wear: sleeves, watches, bracelets and finger rings, as simple tubes round the mesh."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.synth.render import Mesh

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

_AROUND = 28  # corners of a tube's cross-section
CLOTH_PX = 128


@dataclass(frozen=True, slots=True)
class Arm:
    """The forearm as an axis. to_elbow: (3,) unit, from the wrist.

    centres_mm: (R, 3) along the axis from the wrist, at_mm: (R,), radii_mm: (R, 2) of the ellipse along u and v,
    u, v: (3,) unit, across the arm and through it; v points out of the back of the hand.
    """

    to_elbow: F64
    u: F64
    v: F64
    at_mm: F64
    centres_mm: F64
    radii_mm: F64

    def at(self, s_mm: F64) -> tuple[F64, F64]:
        """Centres (N, 3) and radii (N, 2) at distances from the wrist."""
        centres = np.stack([np.interp(s_mm, self.at_mm, self.centres_mm[:, i]) for i in range(3)], 1)
        # np.interp holds the last centre still; beyond the mesh the sleeve goes straight on.
        beyond = np.clip(s_mm - self.at_mm[-1], 0, None) + np.clip(s_mm - self.at_mm[0], None, 0)
        radii = np.stack([np.interp(s_mm, self.at_mm, self.radii_mm[:, i]) for i in range(2)], 1)
        return centres + beyond[:, None] * self.to_elbow, radii


def measure_arm(vertices_mm: F32, wrist_mm: F64, to_elbow: F64, back: F64) -> Arm:
    """Fit ellipses to slices of the forearm. back: (3,) direction out of the back of the hand."""
    v = back - to_elbow * (back @ to_elbow)
    v /= np.linalg.norm(v)
    u = np.cross(v, to_elbow)
    local = (vertices_mm - wrist_mm) @ np.stack([u, v, to_elbow]).T
    length = local[:, 2].max()
    at, centres, radii = [], [], []
    for s in np.linspace(8, max(length - 4, 20), 12):
        # The mesh is coarse along the forearm: a slice must be as thick as its longest triangles.
        cut = local[np.abs(local[:, 2] - s) < 17]
        if len(cut) < 6:
            continue
        low, high = cut[:, :2].min(0), cut[:, :2].max(0)
        at.append(s)
        centres.append(wrist_mm + (low + high) / 2 @ np.stack([u, v]) + s * to_elbow)
        radii.append((high - low) / 2)
    rounded = np.pad(np.array(radii), ((1, 1), (0, 0)), mode="edge")
    widest = np.maximum(np.maximum(rounded[:-2], rounded[1:-1]), rounded[2:])
    return Arm(to_elbow, u, v, np.array(at), np.array(centres), widest)


def tube(
    centres: F64, u: F64, v: F64, radii: F64, texture: U8, repeat: float = 1.0, **material: object
) -> Mesh:
    """A tube through rings: centres (R, 3), unit axes (3,), radii (R, A, 2) per ring and corner along u and v."""
    rings, around = radii.shape[:2]
    angle = np.linspace(0, 2 * np.pi, around)
    flat = radii * np.stack([np.cos(angle), np.sin(angle)], 1)
    points = centres[:, None] + flat[..., :1] * u + flat[..., 1:] * v
    along, round_ = np.gradient(points, axis=0), np.gradient(points, axis=1)
    round_[:, 0] = round_[:, -1] = points[:, 1] - points[:, -2]
    normals = np.cross(along, round_)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    outwards = np.sign(np.einsum("rai,rai->", normals, points - centres[:, None]))
    run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    uv = np.stack(np.meshgrid(angle / (2 * np.pi) * 4 * repeat, run / 45 * repeat), -1)
    index = np.arange(rings * around).reshape(rings, around)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    return Mesh(
        points.reshape(-1, 3).astype(np.float32),
        (normals * outwards).reshape(-1, 3).astype(np.float32),
        faces.astype(np.int32),
        uv.reshape(-1, 2).astype(np.float32),
        texture,
        two_sided=True,
        **material,  # type: ignore[arg-type]
    )


def sleeve(arm: Arm, rng: np.random.Generator, from_mm: float, to_mm: float) -> Mesh:
    """A sleeve that starts from_mm off the wrist: loose, with folds and a cuff."""
    s = np.concatenate([from_mm + np.array([0.4, 0.0, 0.0, 6.0]), np.linspace(from_mm + 12, to_mm, 22)])
    centres, inner = arm.at(s)
    loose = rng.uniform(2.5, 9) + 0.06 * (s - from_mm).clip(0, 60)
    angle = np.linspace(0, 2 * np.pi, _AROUND)
    folds = np.zeros((len(s), _AROUND))
    for _ in range(4):
        waves, turn = rng.integers(1, 4), rng.uniform(8, 30)
        folds += rng.uniform(0.3, 1.0) * np.sin(s[:, None] / turn + waves * angle + rng.uniform(0, 6.3))
    folds *= np.minimum(1, (s - from_mm) / 25)[:, None] * rng.uniform(0.4, 1.6)
    radii = inner[:, None] + loose[:, None, None] + folds[..., None]
    radii = np.maximum(radii, inner[:, None] + 2.5)  # or skin would show through a fold
    radii[0] = inner[0] + 0.6  # the cuff turns in, so its edge has a thickness
    mesh = tube(centres, arm.u, arm.v, radii, cloth(rng), repeat=float(rng.uniform(0.7, 2.5)), roughness=0.85)
    return mesh


def long_sleeve(arm: Arm, from_mm: float, shoulder_mm: F64, texture: U8) -> Mesh:
    """A sleeve from the wrist round the elbow to a shoulder; smooth, so that it can move."""
    elbow_at = arm.at_mm[-1] + 45
    s = np.concatenate([from_mm + np.array([0.4, 0.0, 0.0, 6.0]), np.linspace(from_mm + 12, elbow_at, 16)])
    lower, inner = arm.at(s)
    t = np.linspace(0, 1, 16)[1:, None]
    corner = lower[-1] + 55 * arm.to_elbow
    upper = (1 - t) ** 2 * lower[-1] + 2 * t * (1 - t) * corner + t**2 * shoulder_mm
    centres = np.concatenate([lower, upper])
    loose = 5 + 9 * np.clip((s - from_mm) / 120, 0, 1)
    radii = np.concatenate([inner + loose[:, None], inner[-1] + loose[-1] + 12 * t * np.ones((1, 2))])
    radii[0] = inner[0] + 0.6
    angle = np.linspace(0, 2 * np.pi, _AROUND)
    run = np.arange(len(centres))[:, None]
    folds = 1 + 0.03 * np.sin(0.9 * run + 2 * angle) * np.clip((run - 4) / 6, 0, 1)
    u, v = _carried(centres, arm.u, arm.v)
    return tube(centres, u, v, radii[:, None] * folds[..., None], texture, 1.4, roughness=0.9)


def _carried(centres: F64, u: F64, v: F64) -> tuple[F64, F64]:
    """Axes across a bent tube, turned along with it: (R, 1, 3) each."""
    way = np.gradient(centres, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    rows = [(u, v)]
    for before, after in itertools.pairwise(way):
        axis = np.cross(before, after)
        sine = float(np.linalg.norm(axis))
        turn = cv2.Rodrigues(axis * (np.arcsin(min(1.0, sine)) / max(sine, 1e-9)))[0]
        rows.append((turn @ rows[-1][0], turn @ rows[-1][1]))
    return np.array([r[0] for r in rows])[:, None], np.array([r[1] for r in rows])[:, None]


def band(arm: Arm, rng: np.random.Generator, at_mm: float) -> list[Mesh]:
    """A watch (two in three) or a plain bracelet round the wrist."""
    watch = rng.random() < 0.67
    width = rng.uniform(14, 22) if watch else rng.uniform(3, 10)
    s = at_mm + width * np.array([-0.5, -0.49, -0.3, 0, 0.3, 0.49, 0.5])
    centres, inner = arm.at(s)
    lift = rng.uniform(1.5, 2.6) * np.array([0.1, 0.8, 1, 1, 1, 0.8, 0.1])
    radii = np.repeat(inner[:, None] + lift[:, None, None], _AROUND, 1)
    shine = {"roughness": float(rng.uniform(0.25, 0.7)), "reflectance": float(rng.uniform(0.03, 0.35))}
    meshes = [tube(centres, arm.u, arm.v, radii, _plain(rng), **shine)]
    if watch:
        meshes += _watch_case(arm, rng, at_mm)
    return meshes


def _watch_case(arm: Arm, rng: np.random.Generator, at_mm: float) -> list[Mesh]:
    centre, inner = arm.at(np.array([at_mm]))
    size, thick = rng.uniform(14, 20), rng.uniform(6, 10)
    lift = inner[0, 1] + thick * np.array([-0.5, 0.4, 0.5, 0.5])
    centres = centre + lift[:, None] * arm.v
    angle = np.linspace(0, 2 * np.pi, _AROUND)
    # A superellipse: round watches and square ones with soft corners.
    power = rng.choice([2.0, 6.0])
    shape = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    radii = (size * np.array([1, 1, 0.94, 0.0]))[:, None, None] * shape[None, :, None] * np.ones(2)
    dark = np.full((8, 8, 3), rng.integers(8, 60), np.uint8)
    return [tube(centres, arm.u, arm.to_elbow, radii, dark, roughness=0.25, reflectance=0.08)]


def finger_ring(middle_mm: F64, axis: F64, radius_mm: float, rng: np.random.Generator) -> Mesh:
    """A metal ring round a finger: middle_mm on its axis, radius_mm of the skin there."""
    u = np.cross(axis, (0.3, 0.5, 0.8))
    u /= np.linalg.norm(u)
    width = rng.uniform(2, 5)
    s = width * np.array([-0.5, -0.45, 0.0, 0.45, 0.5])
    centres = middle_mm + (s - 2.0)[:, None] * axis
    lift = np.array([-0.6, 0.5, 0.9, 0.5, -0.6])
    radii = (radius_mm + lift)[:, None, None] * np.ones((1, _AROUND, 2))
    metal = (230, 190, 110) if rng.random() < 0.5 else (205, 205, 210)
    texture = np.full((4, 4, 3), metal, np.uint8)
    return tube(centres, u, np.cross(axis, u), radii, texture, roughness=0.3, reflectance=0.5)


def _plain(rng: np.random.Generator) -> U8:
    return np.full((4, 4, 3), _cloth_colour(rng), np.uint8)


def _cloth_colour(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Half of all clothes are near black, grey or white; the rest any hue."""
    value = rng.integers(15, 245)
    saturation = rng.integers(0, 25) if rng.random() < 0.5 else rng.integers(40, 220)
    hsv = np.array([[[rng.integers(0, 180), saturation, value]]], np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])


def cloth_of(colour: tuple[int, int, int], rng: np.random.Generator, size_px: int) -> U8:
    """A tile of plain knitted cloth of a colour."""
    y, x = np.mgrid[:size_px, :size_px] / size_px
    knit = 0.05 * np.sin(2 * np.pi * 16 * x) + 0.03 * np.sin(
        2 * np.pi * (20 * y + 8 * np.abs((16 * x) % 1 - 0.5))
    )
    knit = knit + rng.normal(0, 0.03, knit.shape)
    return np.clip(np.array(colour) * (1 + knit)[..., None], 0, 255).astype(np.uint8)


def cloth(rng: np.random.Generator) -> U8:
    """A tile of cloth: plain, stripes along or around, or checks, with a weave; (CLOTH_PX, CLOTH_PX, 3) uint8 RGB."""
    base, second = (_cloth_colour(rng).astype(np.float32) for _ in range(2))
    y, x = np.mgrid[:CLOTH_PX, :CLOTH_PX] / CLOTH_PX
    stripes = rng.integers(1, 5)
    share = rng.uniform(0.15, 0.6)
    along, around = (x * stripes * 2) % 1 < share, (y * stripes) % 1 < share
    kind = rng.choice(4, p=[0.55, 0.15, 0.15, 0.15])
    mix = [np.zeros_like(x), along * 1.0, around * 1.0, (along * 1.0 + around) / 2][kind]
    cells = CLOTH_PX // int(rng.choice([2, 4, 8]))
    weave = cv2.resize(rng.normal(0, 1, (cells, cells)), (CLOTH_PX, CLOTH_PX), interpolation=cv2.INTER_LINEAR)
    colour = (base + (second - base) * mix[..., None]) * (1 + rng.uniform(0.02, 0.10) * weave[..., None])
    return np.clip(colour, 0, 255).astype(np.uint8)
