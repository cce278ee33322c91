"""Labelled pictures in memory: real hands with machine-made labels, and backgrounds without hands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.evaluation.labels import (
    holds_together,
    is_trusted,
    joint_trust,
    read_labels,
    real_folder,
    usual_bone_lengths,
)
from rt_hands.layout import HANDS, N_HAND, N_HANDS, N_JOINTS

Image = NDArray[np.uint8]
BACKGROUND_PX = 640
LEAST_JOINTS = 15  # trusted ones of a hand: with fewer, the rest is no hand to learn from either


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
        return np.asarray(
            cv2.cvtColor(cv2.imdecode(self.packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8
        )


def _picture(
    label: dict[str, Any], folder: Path, dense: dict[str, NDArray[np.float32]], usual: NDArray[np.float64]
) -> Picture:
    points = np.full((N_HANDS, N_HAND, 2), np.nan, np.float32)
    trust = np.zeros((N_HANDS, N_HAND), np.float32)
    present = np.zeros(N_HANDS, bool)
    for hand in label["hands"]:
        side = HANDS.index(hand["side"])
        points[side, :N_JOINTS] = np.array(hand["joints_px"], np.float32)[:, :2]
        trust[side, :N_JOINTS] = joint_trust(hand, usual)
        present[side] = True
    if label["file"] in dense:
        surface = dense[label["file"]]
        points[:, N_JOINTS:], trust[:, N_JOINTS:] = surface[..., :2], surface[..., 2]
    packed = np.fromfile(folder / label["file"], np.uint8)
    return Picture(packed, points, trust, present, label["file"])


def load_real(
    split: Literal["train", "val"], dense: dict[str, NDArray[np.float32]] | None = None
) -> list[Picture]:
    """The pictures of a split whose labels are to be believed.

    For training, hands of which a finger or two are doubtful stay, without those: fists and hands that point down.
    dense: by file name, the 64 surface points of both hands as pseudo-labels (2, 64, 3): x_px, y_px, trust.
    """
    labels = read_labels(split)
    usual = usual_bone_lengths(labels)
    folder = real_folder()
    if split == "val":
        labels = [label for label in labels if is_trusted(label, usual)]
    pictures = [_picture(label, folder, dense or {}, usual) for label in labels if holds_together(label)]
    return [p for p in pictures if (p.trust[p.present, :N_JOINTS].sum(1) >= LEAST_JOINTS).all()]


def load_backgrounds() -> list[Image]:
    """Backgrounds without hands, RGB, shrunk to BACKGROUND_PX."""
    images = []
    for path in sorted((real_folder().parent / "backgrounds").glob("*.jpg")):
        image = cv2.imread(str(path))
        if image is None:
            raise InvalidInput(f"{path.name} is not a picture that OpenCV can read.")
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        scale = min(1.0, BACKGROUND_PX / max(image.shape[:2]))
        images.append(
            np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        )
    return images
