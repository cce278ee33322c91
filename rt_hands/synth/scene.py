"""Whole pictures: hands before any number of cameras, with background, light and all a camera does to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera
from rt_hands.synth import backgrounds, lights, look, people, staging, views
from rt_hands.synth.hand import HandMesh
from rt_hands.synth.lights import LOOKS, Look
from rt_hands.synth.render import Lights, Mesh, renderer
from rt_hands.synth.subjects import Split
from rt_hands.synth.truth import ViewTruth, view_truth

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

LOOK_SHARES: Final = (0.35, 0.2, 0.15, 0.15, 0.15)  # in the order of LOOKS
ARM_MM: Final = 640.0  # wrist to shoulder: sleeves go that far, so that none ends in mid-air
_UP: Final = np.array([0.0, 0.0, 1.0])
_SIZES: Final[dict[Look, tuple[tuple[int, int], ...]]] = {
    "webcam": ((640, 480), (640, 360)),
    "phone": ((480, 640), (640, 480), (360, 640)),
    "desk": ((640, 480),),
    "outdoors": ((640, 480), (480, 640)),
    "studio": ((334, 512), (512, 334)),
}
_DISTANCE_MM: Final[dict[Look, tuple[float, float]]] = {
    "webcam": (320, 900),
    "phone": (280, 700),
    "desk": (350, 700),
    "outdoors": (300, 1000),
    "studio": (600, 1300),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a set of pictures taken at one moment needs. World: mm, z up, the hands round the origin."""

    hands: tuple[HandMesh, ...]
    meshes: tuple[Mesh, ...]
    lights: Lights
    cameras: tuple[Camera, ...]
    backgrounds: tuple[U8, ...]
    effects: tuple[look.Effects, ...]
    look: Look
    subject: int


@dataclass(frozen=True, slots=True)
class View:
    """A finished picture, (h, w, 3) uint8 RGB, its camera and its truth."""

    image_rgb: U8
    camera: Camera
    truth: ViewTruth


def sample_scene(
    seed: int,
    index: int,
    look_name: Look | None = None,
    cameras: int = 1,
    split: Split = "train",
) -> Scene:
    """Scene `index` of a seed, a pure function of its arguments.

    look_name: one of LOOKS, or any. cameras: 1 gives one picture-like view, more a rig round the hands.
    """
    rng = np.random.default_rng([seed, index, cameras, people.SPLIT_NUMBER[split]])
    style = look_name or LOOKS[int(rng.choice(len(LOOKS), p=LOOK_SHARES))]
    # Studio sessions are mostly of two hands that clasp or pray, as in InterHand2.6M.
    both = bool(rng.random() < (0.75 if style == "studio" else 0.45))
    pair = people.sample_hands(rng, split, both)
    posed = _raised(rng, pair, style)
    outfit = staging.random_outfit(rng, pair.skin)
    meshes = [
        m for h in posed for m in (staging.skin_mesh(h, outfit), *staging.worn(h, outfit, reach_mm=ARM_MM))
    ]
    eyes = _rig(rng, posed, style, cameras)
    towards = eyes[0].centre_world_mm / np.linalg.norm(eyes[0].centre_world_mm)
    return Scene(
        posed,
        tuple(meshes),
        lights.sample(style, rng, _UP, towards),
        eyes,
        tuple(backgrounds.sample(style, rng, c.size_px) for c in eyes),
        tuple(look.sample(style, rng) for _ in eyes),
        style,
        pair.subject,
    )


def render_scene(scene: Scene) -> list[View]:
    """All pictures of a scene with their truth, in the order of its cameras."""
    points, normals = staging.points_of(scene.hands)
    capsules = staging.capsules_of(scene.hands)
    pictures = []
    for camera, behind, effects in zip(scene.cameras, scene.backgrounds, scene.effects, strict=True):
        drawn = renderer().draw(scene.meshes, camera, scene.lights, capsules)
        image = look.apply(laid_over(drawn.rgba, behind), effects)
        pictures.append(View(image, camera, view_truth(drawn, camera, points, normals)))
    return pictures


def laid_over(rgba: U8, background_rgb: U8) -> U8:
    """A cut-out with colour already multiplied by alpha, on a background of its size: (h, w, 3) uint8."""
    gone = cv2.merge([255 - rgba[..., 3]] * 3)
    return np.asarray(
        cv2.add(cv2.multiply(background_rgb, gone, scale=1 / 255), np.ascontiguousarray(rgba[..., :3]))
    )


def _raised(rng: np.random.Generator, seen: people.People, style: Look) -> tuple[HandMesh, ...]:
    """The hands turned upright, middle at the origin: fingers up as before a webcam, or level as over a desk."""
    target = np.array([0.0, 0.2, 1.0]) if style != "desk" else np.array([0.0, 1.0, 0.15])
    turn = _turn_onto(seen.up, target + rng.normal(0, 0.45, 3))
    spin = rng.uniform(0, 2 * np.pi)
    about = np.array([[np.cos(spin), -np.sin(spin), 0], [np.sin(spin), np.cos(spin), 0], [0, 0, 1]])
    rotation = about @ turn
    points = np.concatenate([h.points_mm for h in seen.hands]) @ rotation.T
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = rotation, -(points.min(0) + points.max(0)) / 2
    return tuple(people.moved(h, world) for h in seen.hands)


def _turn_onto(a: F64, b: F64) -> F64:
    """A rotation that takes direction a onto direction b."""
    b = b / np.linalg.norm(b)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -0.999:
        other = np.cross(a, (1.0, 0, 0) if abs(a[0]) < 0.9 else (0, 1.0, 0))
        other /= np.linalg.norm(other)
        return np.asarray(2 * np.outer(other, other) - np.eye(3))
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + k + k @ k / (1 + cosine))


def _rig(rng: np.random.Generator, hands: Sequence[HandMesh], style: Look, count: int) -> tuple[Camera, ...]:
    """Cameras at random places round the origin that don't look out of a sleeve; the picture's up is the world's."""
    arms = [h.vertices_mm[-1] - h.joints_mm[0] for h in hands]
    arms = [a / np.linalg.norm(a) for a in arms]
    points = np.concatenate([h.points_mm for h in hands]).astype(float)
    return tuple(_rig_camera(rng, f"cam_{i}", points, arms, style) for i in range(count))


def _rig_camera(rng: np.random.Generator, name: str, points: F64, arms: list[F64], style: Look) -> Camera:
    size = _SIZES[style][int(rng.integers(len(_SIZES[style])))]
    while True:
        lean = (-0.35, 0.9) if style != "desk" else (0.3, 1.2)
        direction = np.array([*rng.normal(0, 1, 2), 0.0])
        direction = direction / np.linalg.norm(direction) + rng.uniform(*lean) * _UP
        direction /= np.linalg.norm(direction)
        if all(direction @ arm < views.INSIDE_ARM_COSINE for arm in arms):
            break
    distance = float(np.exp(rng.uniform(*np.log(_DISTANCE_MM[style]))))
    extent = np.linalg.norm(points.max(0) - points.min(0))
    # The hand fills 25 to 75 % of the short side, and lies anywhere in the picture.
    focal = min(size) * rng.uniform(0.25, 0.75) * distance / extent
    shift = rng.uniform(-0.28, 0.28, 3) * extent
    tilt = rng.normal(0, 0.12, 3)
    return views.looking(
        name, direction * distance, shift, _UP + tilt, size, float(focal), views.real_lens(rng)
    )
