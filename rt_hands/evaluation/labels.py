"""The real pictures' machine-made labels, and which of them to believe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import HAND_POINT_NAMES, JOINT_BONES, N_JOINTS, TIP_JOINTS
from rt_hands.paths import data_dir

MIN_SCORE = 0.7
BONE_RATIO = 2.5  # longer or shorter than the set's median bone by more than this: the teacher was wrong
MIN_SIDE_RATIO = 0.2
PAIR_SETS = ("webcam_dacrron",)
"""Sets of hands that touch or cross: where the teacher has one hand, five in six pictures show two."""
TIP_BEYOND = (0.21, 0.28, 0.28, 0.28, 0.28)
"""Of the last bone. Measured between MediaPipe's readings of 320 rendered hands and their truth; the same shares take
the proportions of its 3D hands in real pictures to those of rendered ones (middle, index, little finger's last bone
0.28, 0.25, 0.20 -> 0.31, 0.31, 0.24 of the finger, rendered 0.32, 0.31, 0.24)."""
WRIST_BEYOND = 0.09
THUMB_CMC = {"wrist": 0.76, "thumb_cmc": 0.10, "thumb_mcp": -0.14, "index_mcp": 1.01, "middle_mcp": -0.73}
THUMB_MCP_BEFORE = 0.24
"""Of the palm; of these joints, in all 1; of the bone before. Least squares over 226 rendered hands that MediaPipe read
well: half of them told the shares, on the others its wrist is off by 7.6 % of the hand without and 5.3 with them, the
thumb's cmc by 13.1 and 4.9, its mcp by 7.2 and 4.3. On 300 real train hands the data engine's hands (25 principal
components, scaled orthographic) then fit to 2.1 % at the wrist instead of 5.5 and 2.4 at the cmc instead of 7.5, which
is as near as to hands of its own (2.0, 1.7); shares 1.2 and 1.4 times as large fit worse. The knuckles' and other
joints' shifts are below 3 % and did not fit better."""


def real_folder() -> Path:
    """Folder of the real pictures; raises where the data is absent."""
    data = data_dir()
    if data is None or not (data / "real" / "labels.jsonl").is_file():
        raise InvalidInput(
            "The real pictures are not here. Set RT_HANDS_DATA to the folder that holds real/labels.jsonl."
        )
    return data / "real"


def read_labels(split: Literal["train", "val"]) -> list[dict[str, Any]]:
    """Lines of labels.jsonl of one split, as they are but for joints that are defined otherwise: see `own_joints`."""
    with (real_folder() / "labels.jsonl").open() as lines:
        labels = [label for label in map(json.loads, lines) if label["split"] == split]
    for hand in (hand for label in labels for hand in label["hands"]):
        for key in ("joints_px", "joints_world_m"):
            hand[key] = own_joints(np.array(hand[key])).tolist()
    return labels


def own_joints(joints: NDArray[np.floating]) -> NDArray[np.float64]:
    """MediaPipe's joints (..., 21, 2 or more) where this project has them, as the data engine's skeleton does.

    MediaPipe's tips lie short of the fingers' ends, its wrist within the palm, the two lower joints of its thumb nearer
    to the tip (`TIP_BEYOND`, `WRIST_BEYOND`, `THUMB_CMC`, `THUMB_MCP_BEFORE`).
    """
    return np.asarray(_OWN_FROM_MEDIAPIPE @ np.asarray(joints, float))


def _own_from_mediapipe() -> NDArray[np.float64]:
    """(21, 21) shares of MediaPipe's joints in ours; each row adds up to 1."""
    index = HAND_POINT_NAMES.index
    out = np.eye(N_JOINTS)

    def towards(joint: int, other: int, share: float) -> None:
        out[joint, [joint, other]] = 1 - share, share

    towards(index("wrist"), index("middle_mcp"), -WRIST_BEYOND)
    towards(index("thumb_mcp"), index("thumb_cmc"), THUMB_MCP_BEFORE)
    for tip, share in zip(TIP_JOINTS, TIP_BEYOND, strict=True):
        towards(tip, tip - 1, -share)
    out[index("thumb_cmc")] = 0
    out[index("thumb_cmc"), [index(name) for name in THUMB_CMC]] = list(THUMB_CMC.values())
    return out


_OWN_FROM_MEDIAPIPE = _own_from_mediapipe()


def bone_lengths(joints: NDArray[np.floating]) -> NDArray[np.float64]:
    """Lengths of the 20 bones over their mean: (..., 21, 3) -> (..., 20)."""
    parent, child = np.array(JOINT_BONES).T
    length = np.linalg.norm(joints[..., child, :] - joints[..., parent, :], axis=-1)
    return np.asarray(length / np.maximum(length.mean(-1, keepdims=True), 1e-9))


def holds_together(label: dict[str, Any]) -> bool:
    """Whether a label's hands may be what the picture shows: score, sides, size.

    One doubtful hand rules out the whole picture: left unlabelled it would teach that there is none.
    """
    hands = label["hands"]
    if len(hands) == 1 and label["file"].startswith(PAIR_SETS):
        return False
    sides = [h["side"] for h in hands]
    if not hands or len(set(sides)) != len(sides) or min(h["score"] for h in hands) <= MIN_SCORE:
        return False
    boxes = [np.ptp(np.array(h["joints_px"])[:, :2], axis=0) for h in hands]
    return all(box.min() >= MIN_SIDE_RATIO * box.max() for box in boxes)


def joint_trust(hand: dict[str, Any], usual_bones: NDArray[np.float64]) -> NDArray[np.float32]:
    """(21,) 1, or 0 at both ends of a bone of impossible length and from there to the finger's tip.

    Fingers bent towards the camera or into the fist are read so, while the rest of the hand is right.
    """
    ratio = bone_lengths(np.array(hand["joints_world_m"])) / usual_bones
    trust = np.ones(N_JOINTS, np.float32)
    for bone in np.flatnonzero((ratio > BONE_RATIO) | (ratio < 1 / BONE_RATIO)):
        parent, child = JOINT_BONES[bone]
        finger = (child - 1) // 4
        trust[max(parent, 4 * finger + 1) : 4 * finger + 5] = 0
    return trust


def is_trusted(label: dict[str, Any], usual_bones: NDArray[np.float64]) -> bool:
    """Whether all of a label is to be believed: it holds together, and no bone is of impossible length."""
    return holds_together(label) and all(joint_trust(hand, usual_bones).all() for hand in label["hands"])


def usual_bone_lengths(labels: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Median of the 20 bone lengths (over their mean) of all hands: (20,)."""
    joints = np.array([h["joints_world_m"] for label in labels for h in label["hands"]])
    return np.asarray(np.median(bone_lengths(joints), axis=0))
