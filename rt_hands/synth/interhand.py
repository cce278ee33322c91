"""InterHand2.6M's layout: rendered data written in it. `training.interhand_labels` reads it, and the real data set.

    annotations/SPLIT/InterHand2.6M_SPLIT_{data,camera,joint_3d}.json
    images/SPLIT/CaptureC/SEQUENCE/camNAME/imageFRAME.jpg

Moon et al., "InterHand2.6M", ECCV 2020. 42 joints a frame, mm, right hand first (`layout.JOINT_ORDERS`). Surface
points have no place in it; files written here keep all 170 beside it, in `..._points_170.json`, which nothing here
reads back: it is for your own use.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.formats import interhand as camera_file
from rt_hands.layout import N_HAND, to_order
from rt_hands.paths import write_atomically
from rt_hands.synth import backgrounds, look, people, scene, shards, staging, views, workers
from rt_hands.synth.subjects import Split

F64 = NDArray[np.float64]

SEQUENCE = "0000_rt_hands_synth"
HAND_TYPES = ("right", "left", "interacting")
JPEG_QUALITY = 92
_SIZES_PX = ((512, 334), (334, 512))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write: `frames` moments in captures of `frames_per_capture`, each with its own rig of `cameras`."""

    split: Split
    seed: int
    frames: int
    cameras: int = 8
    frames_per_capture: int = 50


def dome(seed: int, capture: int, count: int) -> Rig:
    """The rig of a capture: cameras on a dome of one metre, half of them upright, lenses without distortion."""
    rng = np.random.default_rng([seed, capture, count, 26])
    cameras = []
    for i in range(count):
        size = _SIZES_PX[i % 2]
        turn, height = 2 * np.pi * (i + rng.uniform(-0.3, 0.3)) / count, rng.uniform(-0.35, 0.85)
        eye = rng.uniform(900, 1150) * np.array([np.cos(turn), np.sin(turn), height]) / np.hypot(1, height)
        camera = views.looking(
            f"{400000 + i}", eye, rng.normal(0, 12, 3), np.array([0, 0, 1.0]), size, rng.uniform(950, 1250)
        )
        k = camera.K.copy()
        k[:2, 2] += rng.normal(0, 6, 2)
        cameras.append(replace(camera, K=k))
    return Rig(tuple(cameras))


def picture_name(capture: int, camera: str, frame: int) -> str:
    """A picture's path below images/SPLIT, as the data set names them."""
    return f"Capture{capture}/{SEQUENCE}/cam{camera}/image{frame:05d}.jpg"


def write(out: Path, plan: Plan, processes: int = 2) -> int:
    """Write pictures and annotations; returns how many pictures were made now. Resumable, frame by frame."""
    root = out / "images" / plan.split
    missing = [f for f in range(plan.frames) if not all(p.exists() for p in _pictures_of(root, plan, f))]
    job = partial(_write_frame, root=root, plan=plan)
    workers.for_each(job, missing, processes, "frames", plan.frames, plan.frames - len(missing))
    folder = out / "annotations" / plan.split
    for name, content in _annotations(plan).items():
        with shards.disk_full_told(folder):
            write_atomically(folder / f"InterHand2.6M_{plan.split}_{name}.json", json.dumps(content).encode())
    return len(missing) * plan.cameras


def _pictures_of(root: Path, plan: Plan, frame: int) -> list[Path]:
    capture = frame // plan.frames_per_capture
    return [root / picture_name(capture, f"{400000 + i}", frame) for i in range(plan.cameras)]


def _scene(plan: Plan, frame: int) -> scene.Scene:
    """A frame's scene, a pure function of the plan and its number, seen by its capture's dome."""
    rng = np.random.default_rng([plan.seed, frame, people.SPLIT_NUMBER[plan.split], 2600])
    sampled = scene.sample_scene(plan.seed, frame, "studio", plan.cameras, plan.split)
    rig = dome(plan.seed, frame // plan.frames_per_capture, plan.cameras)
    behind = tuple(backgrounds.studio(rng, c.size_px) for c in rig)
    # The studio's cameras are alike and stand still: little blur, one white balance.
    effects = tuple(
        replace(look.sample("studio", rng), motion_px=(0.0, 0.0), blur_px=0.4, jpeg=100, seed=i)
        for i, _ in enumerate(rig)
    )
    return replace(sampled, cameras=rig.cameras, backgrounds=behind, effects=effects)


def _write_frame(frame: int, root: Path, plan: Plan) -> None:
    views_ = scene.render_scene(_scene(plan, frame))
    for path, view in zip(_pictures_of(root, plan, frame), views_, strict=True):
        _, data = cv2.imencode(".jpg", view.image_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        with shards.disk_full_told(path):
            write_atomically(path, data.tobytes())
    workers.tick()


def _annotations(plan: Plan) -> dict[str, Any]:
    """The three JSON files, and ours with all 170 points."""
    cameras: dict[str, Any] = {}
    joints: dict[str, dict[str, Any]] = {}
    dense: dict[str, dict[str, Any]] = {}
    images: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for frame in range(plan.frames):
        sampled = _scene(plan, frame)
        points, _ = staging.points_of(sampled.hands)
        capture = frame // plan.frames_per_capture
        rig = Rig(sampled.cameras)
        cameras[str(capture)] = json.loads(camera_file.write(rig))["0"]
        joints.setdefault(str(capture), {})[str(frame)] = _joint_entry(points)
        dense.setdefault(str(capture), {})[str(frame)] = np.round(np.nan_to_num(points, nan=0.0), 3).tolist()
        for camera, projected in zip(rig, rig.project(points), strict=True):
            number = len(images)
            name = picture_name(capture, camera.id, frame)
            images.append(
                _image_entry(number, name, camera.size_px, capture, sampled.subject, camera.id, frame)
            )
            labels.append(_label_entry(number, points, projected))
    data = {"images": images, "annotations": labels, "categories": [{"id": 1, "name": "hand"}]}
    return {"data": data, "camera": cameras, "joint_3d": joints, "points_170": dense}


def _hand_type(points: F64) -> str:
    right, left = np.isfinite(points[0]).all(), np.isfinite(points[N_HAND]).all()
    return HAND_TYPES[2 if right and left else 0 if right else 1]


def _joint_entry(points: F64) -> dict[str, Any]:
    world = to_order(points, "interhand")
    valid = np.isfinite(world).all(1)
    return {
        "world_coord": np.nan_to_num(world, nan=1.0).round(4).tolist(),
        "joint_valid": valid.astype(int)[:, None].tolist(),
        "hand_type": _hand_type(points),
        "hand_type_valid": True,
        "seq": SEQUENCE,
    }


def _image_entry(
    number: int, name: str, size_px: tuple[int, int], capture: int, subject: int, camera: str, frame: int
) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": name,
        "width": size_px[0],
        "height": size_px[1],
        "capture": capture,
        "subject": subject,
        "seq_name": SEQUENCE,
        "camera": camera,
        "frame_idx": frame,
    }


def _label_entry(number: int, points: F64, projected: NDArray[np.float32]) -> dict[str, Any]:
    seen = projected[np.isfinite(projected).all(1)]
    low, high = seen.min(0), seen.max(0)
    valid = np.isfinite(to_order(points, "interhand")).all(1)
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [float(v) for v in (*low, *(high - low))],
        "joint_valid": valid.astype(int).tolist(),
        "hand_type": _hand_type(points),
        "hand_type_valid": 1,
    }
