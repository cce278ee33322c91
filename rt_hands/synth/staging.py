"""Posed hands made ready to draw: skin, tint, sleeve, watch and rings, and the capsules that darken folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import JOINT_BONES, N_HAND, N_JOINTS, N_POINTS, hand_slice
from rt_hands.synth import props, skins
from rt_hands.synth.hand import HandMesh
from rt_hands.synth.render import Mesh

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

SCATTER: Final = (0.32, 0.14, 0.09)
_PALM_MM: Final = 92.0
# Capsule radii on an average hand, in the order of JOINT_BONES: a little inside the skin.
_RADII_MM: Final = np.array([11, 10, 9, 8] + [9.5, 8.2, 7.2, 6.4] * 3 + [9, 7.2, 6.3, 5.6], np.float32)


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a person wears and looks like, drawn once and kept over a session. None: bare."""

    skin: skins.Skin
    tint: tuple[float, float, float]
    roughness: float
    reflectance: float
    sleeve_from_mm: float | None
    band_at_mm: float | None
    ringed_finger: int | None
    seed: int


def random_outfit(rng: np.random.Generator, skin: str | None = None) -> Outfit:
    """Clothes and skin; `skin` by name, or any."""
    chosen = skins.load(skin if skin else str(rng.choice(skins.names())))
    sleeved, banded, ringed = rng.random(3) < (0.62, 0.22, 0.2)
    # Long sleeves end at the wrist, pushed-up ones anywhere on the forearm.
    start = rng.uniform(8, 45) if rng.random() < 0.6 else rng.uniform(45, 130)
    return Outfit(
        chosen,
        skins.random_tint(chosen, rng),
        float(rng.uniform(0.38, 0.62)),
        float(rng.uniform(0.02, 0.05)),
        float(start) if sleeved else None,
        float(rng.uniform(14, 30)) if banded else None,
        int(rng.integers(1, 5)) if ringed else None,
        int(rng.integers(2**31)),
    )


@lru_cache(maxsize=8)
def _unwelded(faces: bytes, face_uv: bytes) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Vertex and texture place of each drawn vertex, and the faces over them; topology as bytes, to be hashable."""
    pairs = np.stack([np.frombuffer(faces, np.int32), np.frombuffer(face_uv, np.int32)], 1)
    unique, corner = np.unique(pairs, axis=0, return_inverse=True)
    return unique[:, 0], unique[:, 1], corner.reshape(-1, 3).astype(np.int32)


def skin_mesh(hand: HandMesh, outfit: Outfit) -> Mesh:
    """The hand as the renderer wants it: vertices split where the texture is cut."""
    vertex, place, faces = _unwelded(hand.faces.tobytes(), hand.face_uv.tobytes())
    uv = hand.uv[place] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
    return Mesh(
        hand.vertices_mm[vertex],
        hand.normals[vertex],
        faces,
        uv,
        outfit.skin.texture,
        tint=outfit.tint,
        scatter=SCATTER,
        roughness=outfit.roughness,
        reflectance=outfit.reflectance,
        bump_mm=0.5,
        owner=hand.side,
    )


def worn(hand: HandMesh, outfit: Outfit, reach_mm: float = 0.0) -> list[Mesh]:
    """Sleeve, watch or bracelet and ring of a posed hand. The same outfit looks the same in every pose.

    reach_mm: how far from the wrist the sleeve goes at least; there is no arm beyond the elbow to fill it.
    """
    rng = np.random.default_rng([outfit.seed, hand.side])
    arm = arm_of(hand)
    meshes: list[Mesh] = []
    if (
        outfit.band_at_mm is not None
        and (outfit.sleeve_from_mm or 1e3) > outfit.band_at_mm + 18
        and hand.side == 1
    ):
        meshes += props.band(arm, np.random.default_rng([outfit.seed, 7]), outfit.band_at_mm)
    # A bare arm gets a short sleeve where its cut end may come into the picture.
    start = (
        outfit.sleeve_from_mm if outfit.sleeve_from_mm is not None or not reach_mm else 0.9 * arm.at_mm[-1]
    )
    if start is not None:
        meshes.append(
            props.sleeve(arm, np.random.default_rng(outfit.seed), start, max(arm.at_mm[-1] + 60, reach_mm))
        )
    if outfit.ringed_finger is not None and rng.random() < 0.6:
        meshes.append(_ring(hand, outfit.ringed_finger, rng))
    return meshes


def _ring(hand: HandMesh, finger: int, rng: np.random.Generator) -> Mesh:
    base, tip = hand.joints_mm[1 + 4 * finger].astype(float), hand.joints_mm[2 + 4 * finger].astype(float)
    skin = hand.surface_mm[8 * finger : 8 * finger + 4].astype(float)
    axis = (tip - base) / np.linalg.norm(tip - base)
    # The bone does not run through the middle of the finger, so the ring goes round the skin's own middle.
    middle = skin.mean(0)
    from_axis = skin - middle - ((skin - middle) @ axis)[:, None] * axis
    return props.finger_ring(middle, axis, float(np.linalg.norm(from_axis, axis=1).mean()), rng)


def arm_of(hand: HandMesh) -> props.Arm:
    """The forearm of a posed hand as an axis with a thickness."""
    forearm = hand.vertices_mm[hand.forearm_share > 0]
    wrist = hand.joints_mm[0].astype(float)
    # The mesh's last vertex is the middle of the elbow cut.
    to_elbow = hand.vertices_mm[-1] - wrist
    to_elbow = to_elbow / np.linalg.norm(to_elbow)
    return props.measure_arm(forearm, wrist, to_elbow, back_of(hand.joints_mm.astype(float), hand.side))


def back_of(joints_mm: F64, side: int) -> F64:
    """(3,) unit vector out of the back of the hand, from the wrist and the knuckles."""
    index, pinky = joints_mm[5] - joints_mm[0], joints_mm[17] - joints_mm[0]
    normal = np.cross(index, pinky) * (-1.0 if side == 0 else 1.0)
    return np.asarray(normal / np.linalg.norm(normal))


def capsules_of(hands: Sequence[HandMesh]) -> F32:
    """(C, 7) end a, end b, radius mm: 20 bones and the forearm of each hand."""
    rows = []
    for hand in hands:
        joints = hand.joints_mm
        scale = np.linalg.norm(joints[9] - joints[0]) / _PALM_MM
        for (a, b), radius in zip(JOINT_BONES, _RADII_MM, strict=True):
            rows.append([*joints[a], *joints[b], radius * scale])
        rows.append([*joints[0], *hand.vertices_mm[-1], 24 * scale])
    return np.array(rows, np.float32)


def points_of(hands: Sequence[HandMesh]) -> tuple[F64, F64]:
    """Points and outward skin normals of the scene: (170, 3) mm and (170, 3), NaN where absent or a joint."""
    points, normals = np.full((2, N_POINTS, 3), np.nan)
    for hand in hands:
        points[hand_slice(hand.side)] = hand.points_mm
        first = hand.side * N_HAND
        normals[first + N_JOINTS : first + N_HAND] = hand.surface_normals
    return points, normals
