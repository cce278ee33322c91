"""Finished pictures in shards: one scene a sample, one view or a rig; and the reader that gives FrameSets back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput
from rt_hands.synth import scene, shards, staging
from rt_hands.synth.lights import Look
from rt_hands.synth.subjects import Split
from rt_hands.types import Frame, FrameSet

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

JPEG_QUALITY = 93


@dataclass(frozen=True, slots=True)
class SceneSample:
    """One moment with its truth; V views.

    frames: pictures, BGR. rig: their cameras, in the same order. points_world_mm: (170, 3). points_px: (V, 170, 2),
    visibility: (V, 170) uint8, see `truth`; points_cam_mm: (V, 170, 3). masks: (h, w, 2) uint8 each, right and left.
    boxes_px: (V, 2, 4). look, subject: where it comes from.
    """

    frames: FrameSet
    rig: Rig
    points_world_mm: F32
    points_px: F32
    visibility: U8
    points_cam_mm: F32
    boxes_px: F32
    masks: tuple[U8, ...]
    look: str
    subject: int


def _make(seed: int, index: int, look_name: Look | None, cameras: int, split: Split) -> shards.Sample:
    sampled = scene.sample_scene(seed, index, look_name, cameras, split)
    return encode(sampled, scene.render_scene(sampled))


def encode(sampled: scene.Scene, views: list[scene.View]) -> shards.Sample:
    """The files of a scene: a JPEG and a mask PNG a view, truth.npz, meta.json."""
    files: dict[str, bytes] = {}
    for view in views:
        bgr = np.ascontiguousarray(view.image_rgb[..., ::-1])
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        mask = np.concatenate([view.truth.masks, np.zeros_like(view.truth.masks[..., :1])], -1)
        _, png = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        files[f"{view.camera.id}.jpg"] = jpeg.tobytes()
        files[f"{view.camera.id}.mask.png"] = png.tobytes()
    points, _ = staging.points_of(sampled.hands)
    truth = {
        name: np.stack([getattr(v.truth, name) for v in views])
        for name in ("points_px", "visibility", "points_cam_mm", "boxes_px")
    }
    rig = Rig(sampled.cameras)
    lenses = {"K": rig.K, "distortion": rig.distortion, "cam_from_world": rig.cam_from_world}
    files["truth.npz"] = shards.encode_arrays(points_world_mm=points.astype(np.float32), **truth, **lenses)
    meta = {"look": sampled.look, "subject": sampled.subject, "cameras": {c.id: c.size_px for c in rig}}
    files["meta.json"] = json.dumps(meta).encode()
    return files


def decode(key: str, files: shards.Sample) -> SceneSample:
    """The scene of `encode`. Raises InvalidInput where a file of the sample is missing or broken."""
    try:
        meta = json.loads(files["meta.json"])
        arrays = shards.decode_arrays(files["truth.npz"])
        pictures = {c: _picture(files[f"{c}.jpg"]) for c in meta["cameras"]}
        masks = tuple(
            np.ascontiguousarray(_picture(files[f"{c}.mask.png"])[..., :2]) for c in meta["cameras"]
        )
    except KeyError as error:
        raise InvalidInput(
            f"Sample {key} has no file {error}; its shard is not one of rt_hands.synth."
        ) from None
    lenses = zip(arrays.pop("K"), arrays.pop("distortion"), arrays.pop("cam_from_world"), strict=True)
    rig = Rig(
        tuple(
            Camera(c, tuple(size), *lens)
            for (c, size), lens in zip(meta["cameras"].items(), lenses, strict=True)
        )
    )
    frames = FrameSet(tuple(Frame(image, c, int(key), 0) for c, image in pictures.items()), int(key))
    return SceneSample(frames, rig, masks=masks, look=meta["look"], subject=meta["subject"], **arrays)


def _picture(content: bytes) -> U8:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InvalidInput("A picture in the shard can't be decoded; delete the shard and make it again.")
    return np.asarray(image, np.uint8)


def write(
    out: Path,
    count: int,
    seed: int,
    look_name: Look | None = None,
    cameras: int = 1,
    split: Split = "train",
    processes: int = 2,
    first: int = 0,
) -> int:
    """Write shards of scenes, resumable; returns how many scenes were made now."""
    kind = f"{'images' if cameras == 1 else f'rig{cameras}'}-{look_name or 'any'}-{split}"
    plan = shards.Plan(kind, seed, count, per_shard=max(16, 256 // cameras), first=first)
    make = partial(_make, look_name=look_name, cameras=cameras, split=split)
    return shards.write_dataset(out, plan, make, processes)


def read(folder: Path) -> Iterator[SceneSample]:
    """All scenes of a folder of shards, in order."""
    for key, files in shards.read_samples(shards.shard_paths(folder)):
        yield decode(key, files)
