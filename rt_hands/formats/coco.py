"""2D hands as COCO keypoints: one annotation a picture, hands in COCO-WholeBody's order (left first, 21 each).

`keypoints` holds the 42 joints, and `lefthand_kpts`, `righthand_kpts`, `lefthand_valid`, `righthand_valid` the same
the way COCO-WholeBody does. A joint is (x, y, 2), an absent one (0, 0, 0): COCO's rule, not ours. Pixel centres stay
at whole numbers. `surface_kpts` keeps the 128 surface points, right hand first, for readers that know them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rt_hands.formats.hands import HandsSample
from rt_hands.layout import JOINT_BONES, N_HAND, N_JOINTS, joint_names, to_order
from rt_hands.paths import write_atomically
from rt_hands.types import Hands2D


def _flat(points: np.ndarray) -> list[float]:
    """(N, 3) x, y, score -> COCO's x1, y1, v1, x2 ... with v = 2 seen, 0 absent."""
    seen = np.isfinite(points[:, :2]).all(1) & (points[:, 2] > 0)
    triples = np.where(seen[:, None], np.column_stack([points[:, :2], np.full(len(points), 2)]), 0)
    return [round(float(v), 3) for v in triples.ravel()]


def _box(keypoints: list[float]) -> list[float]:
    """x, y, width, height round the seen points; zeros where there are none."""
    xyv = np.array(keypoints).reshape(-1, 3)
    seen = xyv[xyv[:, 2] > 0, :2]
    if not len(seen):
        return [0.0, 0.0, 0.0, 0.0]
    low, high = seen.min(0), seen.max(0)
    return [round(float(v), 3) for v in (*low, *(high - low))]


def _annotation(number: int, hands: Hands2D) -> dict[str, Any]:
    joints = to_order(hands.points_px, "coco_wholebody")
    flat, left, right = _flat(joints), _flat(joints[:N_JOINTS]), _flat(joints[N_JOINTS:])
    box = _box(flat)
    surface = np.delete(hands.points_px, [h * N_HAND + j for h in (0, 1) for j in range(N_JOINTS)], axis=0)
    return {
        "id": number + 1,  # 0 is "no match" to pycocotools
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": flat,
        "num_keypoints": sum(v > 0 for v in flat[2::3]),
        "bbox": box,
        "area": box[2] * box[3],
        "lefthand_kpts": left,
        "righthand_kpts": right,
        "lefthand_box": _box(left),
        "righthand_box": _box(right),
        "lefthand_valid": any(left[2::3]),
        "righthand_valid": any(right[2::3]),
        "surface_kpts": _flat(surface),
        "score": float(np.nanmax(np.where(hands.present, hands.presence, 0))),
    }


def _file_names(samples: Sequence[HandsSample]) -> list[str]:
    """Of the pictures: their own, below the camera's folder where two cameras share one; else made up."""
    cameras: dict[str, set[str]] = {}
    for sample in samples:
        cameras.setdefault(sample.file, set()).add(sample.camera)
    shared = any(len(of_file) > 1 for file, of_file in cameras.items() if file)
    names = []
    for sample in samples:
        folder = f"{sample.camera}/" if sample.camera and (shared or not sample.file) else ""
        names.append(f"{folder}{sample.file or f'{sample.frame:06d}.jpg'}")
    return names


def _image(
    number: int, sample: HandsSample, file_name: str, size_px: tuple[int, int] | None
) -> dict[str, Any]:
    image = {
        "id": number,
        "file_name": file_name,
        "frame": sample.frame,
        "t_ns": sample.t_ns,
        "camera": sample.camera,
    }
    size_px = sample.size_px or size_px
    return image if size_px is None else {**image, "width": size_px[0], "height": size_px[1]}


def write(path: Path, samples: Sequence[HandsSample], size_px: tuple[int, int] | None) -> None:
    """A COCO keypoints file: images, annotations, one category `hands`. size_px: of samples that have none."""
    skeleton = [[a + h * N_JOINTS + 1, b + h * N_JOINTS + 1] for h in (0, 1) for a, b in JOINT_BONES]
    category = {
        "id": 1,
        "name": "hands",
        "supercategory": "person",
        "keypoints": list(joint_names("coco_wholebody")),
        "skeleton": skeleton,
    }
    annotated = [(i, s.hands) for i, s in enumerate(samples) if isinstance(s.hands, Hands2D)]
    data = {
        "info": {"description": "rt_hands export; pixel centres at whole numbers"},
        "images": [
            _image(i, s, name, size_px)
            for i, (s, name) in enumerate(zip(samples, _file_names(samples), strict=True))
        ],
        "annotations": [_annotation(i, hands) for i, hands in annotated if hands.present.any()],
        "categories": [category],
    }
    write_atomically(path, json.dumps(data).encode())
