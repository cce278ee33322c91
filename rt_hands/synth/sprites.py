"""Cut-out hands: RGBA pictures of one hand, or of two together, with the truth of every point.

Training pictures are made of them at load time: flipped (which swaps the hands), turned, scaled, coloured, laid over
a background. Two hands that touch are drawn together, because shadows and hiding can't be had by laying over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera
from rt_hands.errors import InvalidInput
from rt_hands.layout import hand_slice
from rt_hands.synth import lights, people, shards, staging, views
from rt_hands.synth.render import renderer
from rt_hands.synth.subjects import Split
from rt_hands.synth.truth import VISIBLE, view_truth
from rt_hands.synth.two_hands import Kind

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

SPRITE_PX: Final = 320
SHARE: Final = (0.5, 0.62)  # of the sprite's side that the points' box takes; the rest shows forearm
WEBP_QUALITY: Final = 92
Hands = Literal["one", "two"]
TOGETHER: Final[tuple[Kind, ...]] = tuple(
    k for k in get_args(Kind) if k != "apart"
)  # hands apart are better laid over one by one


@dataclass(frozen=True, slots=True)
class Sprite:
    """A cut-out.

    rgba: (h, w, 4) uint8, colour already multiplied by alpha. points_px: (85, 2) of a right hand or (170, 2) of both,
    float32. visibility: (85,) or (170,) uint8, 1 seen, 0 hidden. points_cam_mm: (85, 3) or (170, 3) float32.
    K: (3, 3) float32 of the crop. subject: id of the person in `subjects`, -1 unknown.
    """

    rgba: U8
    points_px: F32
    visibility: U8
    points_cam_mm: F32
    K: F32
    subject: int


def make(seed: int, index: int, hands: Hands = "one", split: Split = "train") -> Sprite:
    """Sprite `index` of a seed: a pure function of its arguments."""
    rng = np.random.default_rng([seed, index, len(hands), people.SPLIT_NUMBER[split]])
    pair = people.sample_hands(rng, split, hands == "two", TOGETHER)
    outfit = staging.random_outfit(rng, pair.skin)
    meshes = [
        m for hand in pair.hands for m in (staging.skin_mesh(hand, outfit), *staging.worn(hand, outfit))
    ]
    camera = sprite_camera(rng, pair)
    light = lights.sample(look_of_sprite(rng), rng, -camera.rotation[1], -camera.rotation[2])
    drawn = renderer().draw(meshes, camera, light, staging.capsules_of(pair.hands))
    points, normals = staging.points_of(pair.hands)
    truth = view_truth(drawn, camera, points, normals)
    kept = hand_slice(0) if hands == "one" else slice(None)
    return Sprite(
        drawn.rgba,
        truth.points_px[kept],
        (truth.visibility[kept] == VISIBLE).astype(np.uint8),
        truth.points_cam_mm[kept],
        camera.K.astype(np.float32),
        pair.subject,
    )


def look_of_sprite(rng: np.random.Generator) -> lights.Look:
    """A look, the webcam's most often."""
    return lights.LOOKS[int(rng.choice(len(lights.LOOKS), p=(0.4, 0.2, 0.15, 0.1, 0.15)))]


def sprite_camera(rng: np.random.Generator, seen: people.People) -> Camera:
    """A camera round the hands whose picture is a sprite."""
    arms = [a / np.linalg.norm(a) for a in (h.vertices_mm[-1] - h.joints_mm[0] for h in seen.hands)]
    direction = views.direction_to_hand(rng, seen.towards_viewer, seen.up, arms)
    points = np.concatenate([h.points_mm for h in seen.hands]).astype(float)
    up = views.random_up(rng, direction, seen.up)
    return views.crop_camera(rng, points, direction, up, SPRITE_PX, float(rng.uniform(*SHARE)))


def encode(sprite: Sprite) -> shards.Sample:
    """The files of a sprite: WebP with alpha, and an npz of the rest."""
    bgra = cv2.cvtColor(sprite.rgba, cv2.COLOR_RGBA2BGRA)
    _, webp = cv2.imencode(".webp", bgra, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
    arrays = {name: getattr(sprite, name) for name in ("points_px", "visibility", "points_cam_mm", "K")}
    return {
        "webp": webp.tobytes(),
        "npz": shards.encode_arrays(subject=np.array(sprite.subject, np.int32), **arrays),
    }


def decode(sample: shards.Sample) -> Sprite:
    """The sprite of `encode`; colours differ by WebP's loss."""
    bgra = cv2.imdecode(np.frombuffer(sample["webp"], np.uint8), cv2.IMREAD_UNCHANGED)
    if bgra is None or bgra.ndim != 3 or bgra.shape[2] != 4:
        raise InvalidInput(
            "A sprite's picture can't be decoded, or has no alpha channel; make its shard again."
        )
    rgba = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)
    # WebP's loss may leave colour outside the outline, or colour above alpha; laid over, both would shine.
    np.minimum(rgba[..., :3], rgba[..., 3:], out=rgba[..., :3])
    arrays = shards.decode_arrays(sample["npz"])
    return Sprite(rgba, subject=int(arrays.pop("subject")), **arrays)


def _make_sample(seed: int, index: int, hands: Hands, split: Split) -> shards.Sample:
    return encode(make(seed, index, hands, split))


def write(
    out: Path,
    count: int,
    seed: int,
    hands: Hands = "one",
    split: Split = "train",
    processes: int = 2,
    first: int = 0,
) -> int:
    """Write shards of sprites, resumable; returns how many were made now."""
    plan = shards.Plan(f"sprites-{hands}-{split}", seed, count, first=first)
    return shards.write_dataset(out, plan, partial(_make_sample, hands=hands, split=split), processes)
