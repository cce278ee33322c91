"""Your copy of InterHand2.6M as pseudo-label input: its 42 joints in 3D, its cameras, RTC's skin.

Layout as it is handed out: annotations/<split>/InterHand2.6M_<split>_{data,camera,joint_3d}.json and
images/<split>/<file_name>. Distances in mm. The data itself is not open; nothing of it is in this repository.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera
from rt_hands.errors import InvalidInput
from rt_hands.formats.rigs import load_rig
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS, from_order, hand_slice
from rt_hands.lifting.rtc import Rtc
from rt_hands.training.pseudo_label import JOINTS, SURFACE, Labelled, Source, blank, put, save_crop


@dataclass(frozen=True, slots=True)
class InterHandPicture:
    """One picture: file under images/<split>, its camera, and the joints (42, 3) mm with NaN where not valid."""

    split: str
    file: str
    camera: Camera
    joints_world_mm: NDArray[np.float64]


def _read(folder: Path, split: str, kind: str) -> dict[str, Any]:
    path = folder / "annotations" / split / f"InterHand2.6M_{split}_{kind}.json"
    if not path.is_file():
        raise InvalidInput(
            f"InterHand2.6M's {path.name} is not in {path.parent}. Give the dataset's root with --data."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"Can't read '{path}': {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"'{path}' is not whole JSON ({error}); get it again.") from None
    if not isinstance(content, dict):
        raise InvalidInput(f"'{path}' holds a {type(content).__name__}, not InterHand2.6M's table.")
    return content


def captures(folder: Path, split: str) -> dict[str, list[InterHandPicture]]:
    """All pictures whose frame has joints, by capture."""
    data, joints = _read(folder, split, "data"), _read(folder, split, "joint_3d")
    camera_file = folder / "annotations" / split / f"InterHand2.6M_{split}_camera.json"
    rigs: dict[str, Any] = {}
    found: dict[str, list[InterHandPicture]] = {}
    for image in data["images"]:
        capture = str(image["capture"])
        frame = joints.get(capture, {}).get(str(image["frame_idx"]))
        if frame is None:
            continue
        if capture not in rigs:
            rigs[capture] = load_rig(camera_file, capture=capture)
        world = np.array(frame["world_coord"], float)
        world[np.array(frame["joint_valid"]).ravel() == 0] = np.nan
        picture = InterHandPicture(split, image["file_name"], rigs[capture][str(image["camera"])], world)
        found.setdefault(capture, []).append(picture)
    return found


def label_picture(picture: InterHandPicture, rtc: Rtc, folder: Path, out: Path) -> Labelled | None:
    """Labels of one picture, its crop saved under `out`; None where neither hand is in view."""
    points = from_order(picture.joints_world_mm, "interhand")
    joints = points.reshape(N_HANDS, N_HAND, 3)[:, :N_JOINTS]
    surface, _ = rtc(joints, np.arange(N_HANDS))
    label = blank(f"interhand/{picture.file}")
    for hand in range(N_HANDS):
        both = np.concatenate([joints[hand], surface[hand]])
        projected = picture.camera.project(both)
        sure = np.asarray(np.isfinite(projected).all(1))
        put(label, hand, JOINTS, projected[JOINTS], sure[JOINTS], Source.DATASET)
        put(label, hand, SURFACE, projected[SURFACE], 0.8 * sure[SURFACE], Source.RTC_MULTI_VIEW)
    if not any(np.isfinite(label.points_px[hand_slice(h)]).all(1).sum() > N_JOINTS for h in range(N_HANDS)):
        return None
    image = cv2.imread(str(folder / "images" / picture.split / picture.file))
    if image is None:
        raise InvalidInput(
            f"InterHand2.6M's picture {picture.file} is missing in {folder / 'images' / picture.split}."
        )
    return save_crop(np.asarray(image, np.uint8), label, out)
