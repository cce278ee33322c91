"""Labelled pictures in memory: real hands with machine-made labels, and backgrounds without hands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import HANDS, JOINT_BONES, N_HAND, N_HANDS, N_JOINTS
from rt_hands.paths import data_dir

Image = NDArray[np.uint8]
MIN_SCORE = 0.7
BONE_RATIO = 2.5  # longer or shorter than the set's median bone by more than this: the teacher was wrong
MIN_SIDE_RATIO = 0.2


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, still packed as JPEG.

    points_px: (2, 85, 2) float32, right and left hand, NaN where not labelled or absent.
    trust: (2, 85) float32, 0 where not labelled. present: (2,) bool. name: set/file.
    """

    packed: NDArray[np.uint8]
    points_px: NDArray[np.float32]
    trust: NDArray[np.float32]
    present: NDArray[np.bool_]
    name: str

    def image_rgb(self) -> Image:
        """(h, w, 3) uint8."""
        return np.asarray(cv2.imdecode(self.packed, cv2.IMREAD_COLOR_RGB), np.uint8)


def real_folder() -> Path:
    """Folder of the real pictures; raises where the data is absent."""
    data = data_dir()
    if data is None or not (data / "real" / "labels.jsonl").is_file():
        raise InvalidInput(
            "The real pictures are not here. Set RT_HANDS_DATA to the folder that holds real/labels.jsonl."
        )
    return data / "real"


def read_labels(split: Literal["train", "val"]) -> list[dict[str, Any]]:
    """Lines of labels.jsonl of one split, as they are."""
    with (real_folder() / "labels.jsonl").open() as lines:
        return [label for label in map(json.loads, lines) if label["split"] == split]


def bone_lengths(joints: NDArray[np.floating]) -> NDArray[np.float64]:
    """Lengths of the 20 bones over their mean: (..., 21, 3) -> (..., 20)."""
    parent, child = np.array(JOINT_BONES).T
    length = np.linalg.norm(joints[..., child, :] - joints[..., parent, :], axis=-1)
    return np.asarray(length / np.maximum(length.mean(-1, keepdims=True), 1e-9))


def is_trusted(label: dict[str, Any], usual_bones: NDArray[np.float64]) -> bool:
    """Whether all hands of a label are to be believed: score, sides, bone lengths, size.

    One doubtful hand rules out the whole picture: left unlabelled it would teach that there is none.
    """
    hands = label["hands"]
    sides = [h["side"] for h in hands]
    if not hands or len(set(sides)) != len(sides) or min(h["score"] for h in hands) <= MIN_SCORE:
        return False
    for hand in hands:
        ratio = bone_lengths(np.array(hand["joints_world_m"])) / usual_bones
        box = np.ptp(np.array(hand["joints_px"])[:, :2], axis=0)
        if ratio.max() > BONE_RATIO or ratio.min() < 1 / BONE_RATIO or box.min() < MIN_SIDE_RATIO * box.max():
            return False
    return True


def usual_bone_lengths(labels: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Median of the 20 bone lengths (over their mean) of all hands: (20,)."""
    joints = np.array([h["joints_world_m"] for label in labels for h in label["hands"]])
    return np.asarray(np.median(bone_lengths(joints), axis=0))


def _picture(label: dict[str, Any], folder: Path, dense: dict[str, NDArray[np.float32]]) -> Picture:
    points = np.full((N_HANDS, N_HAND, 2), np.nan, np.float32)
    trust = np.zeros((N_HANDS, N_HAND), np.float32)
    present = np.zeros(N_HANDS, bool)
    for hand in label["hands"]:
        side = HANDS.index(hand["side"])
        points[side, :N_JOINTS] = np.array(hand["joints_px"], np.float32)[:, :2]
        trust[side, :N_JOINTS] = 1
        present[side] = True
    if label["file"] in dense:
        surface = dense[label["file"]]
        points[:, N_JOINTS:], trust[:, N_JOINTS:] = surface[..., :2], surface[..., 2]
    packed = np.fromfile(folder / label["file"], np.uint8)
    return Picture(packed, points, trust, present, label["file"])


def load_real(
    split: Literal["train", "val"], dense: dict[str, NDArray[np.float32]] | None = None
) -> list[Picture]:
    """The pictures of a split whose labels hold together.

    dense: by file name, the 64 surface points of both hands as pseudo-labels (2, 64, 3): x_px, y_px, trust.
    """
    labels = read_labels(split)
    usual = usual_bone_lengths(labels)
    folder = real_folder()
    return [_picture(label, folder, dense or {}) for label in labels if is_trusted(label, usual)]


def load_backgrounds(longest_px: int = 640) -> list[Image]:
    """Backgrounds without hands, RGB, shrunk to `longest_px`."""
    images = []
    for path in sorted((real_folder().parent / "backgrounds").glob("*.jpg")):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise InvalidInput(f"{path.name} is not a picture that OpenCV can read.")
        scale = min(1.0, longest_px / max(image.shape[:2]))
        images.append(
            np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        )
    return images
