"""Recorded hand shapes: joint angles read off landmarks, as a bank of shapes for `poses.sample`.

Landmarks from one picture are noisy, above all in depth and for hidden fingers, so only angles between bones are taken,
brought within anatomical limits, and hands whose bones have impossible lengths are left out. Either hand will do.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.layout import FINGERS, N_JOINTS
from rt_hands.paths import data_dir
from rt_hands.synth import poses
from rt_hands.synth.skeleton import DOF, N_DOFS

F32 = NDArray[np.float32]

# At rest the wrist -> knuckle -> middle joint line is bent by these; measured from it, a straight finger is at 0.
_KNUCKLE_BIAS_DEG: Final = (6.0, 8.0, 10.0, 14.0)
_LONGEST: Final = 0.75  # a finger bone longer than this share of wrist to middle knuckle is a mistake
_LEAST_PALM: Final = 0.35  # pinky to index knuckle over the same: less is a palm seen too much from the side

# Landmarks are shares of the picture's width (x, z) and height (y); palms are as broad as palms are at 4 : 3.
_ASPECT: Final = np.array([4 / 3, 1.0, 4 / 3])


def _unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _bend(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle between directions (..., 3), degrees."""
    return np.degrees(np.arccos(np.clip((_unit(a) * _unit(b)).sum(-1), -1.0, 1.0)))


def plausible(landmarks: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether landmarks (N, 21, 3) can be a hand seen well enough: palm not edge-on, no bone far too long."""
    palm = np.linalg.norm(landmarks[:, 9] - landmarks[:, 0], axis=1)
    bones = np.linalg.norm(np.diff(landmarks[:, 1:].reshape(-1, 5, 4, 3), axis=2), axis=-1)
    wide = np.linalg.norm(landmarks[:, 5] - landmarks[:, 17], axis=1) > _LEAST_PALM * palm
    return wide & (bones.max((1, 2)) < _LONGEST * palm)


def angles_from_landmarks(landmarks: NDArray[np.floating]) -> F32:
    """Joint angles (N, 27), within limits, of landmarks (N, 21, 3) in MediaPipe's order, any scale; wrist at 0."""
    if landmarks.ndim != 3 or landmarks.shape[1:] != (N_JOINTS, 3):
        raise InvalidInput(f"Landmarks have shape {landmarks.shape}; wanted (N, {N_JOINTS}, 3).")
    points = landmarks.astype(np.float64)
    out = np.zeros((len(points), N_DOFS))
    for k, finger in enumerate(FINGERS[1:]):
        base = 5 + 4 * k
        chain = np.diff(points[:, [0, base, base + 1, base + 2, base + 3]], axis=1)
        bends = [_bend(chain[:, i], chain[:, i + 1]) for i in range(3)]
        out[:, DOF[f"{finger}_mcp_flexion"]] = bends[0] - _KNUCKLE_BIAS_DEG[k]
        out[:, DOF[f"{finger}_pip_flexion"]] = bends[1]
        # The last joint is the noisiest and follows the middle one.
        out[:, DOF[f"{finger}_dip_flexion"]] = 0.5 * bends[2] + 0.5 * 0.65 * bends[1]
    out[:, poses.ABD] = _abductions(points)
    _thumb(points, out)
    return poses.limited(np.radians(out).astype(np.float32))


def _abductions(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sideways angles (N, 4), degrees, against the palm's middle line, in the plane of the palm."""
    distal = _unit(points[:, 9] - points[:, 0])
    across = points[:, 5] - points[:, 17]
    radial = _unit(across - (across * distal).sum(-1, keepdims=True) * distal)
    bones = points[:, [6, 10, 14, 18]] - points[:, [5, 9, 13, 17]]
    side, ahead = np.einsum("nki,ni->nk", bones, radial), np.einsum("nki,ni->nk", bones, distal)
    flat = np.degrees(np.arctan2(side, np.maximum(ahead, 0.3 * np.linalg.norm(bones, axis=-1))))
    return np.clip(flat, -25.0, 22.0)


def _thumb(points: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """The thumb: its two bends, and at its base how far it points across the palm and out of it."""
    bones = np.diff(points[:, 1:5], axis=1)
    out[:, DOF["thumb_mcp_flexion"]] = _bend(bones[:, 0], bones[:, 1])
    out[:, DOF["thumb_ip_flexion"]] = _bend(bones[:, 1], bones[:, 2])
    distal = _unit(points[:, 9] - points[:, 0])
    across = points[:, 5] - points[:, 17]
    radial = _unit(across - (across * distal).sum(-1, keepdims=True) * distal)
    way = _unit(points[:, 3] - points[:, 1])
    lean = np.degrees(np.arctan2((way * radial).sum(-1), (way * distal).sum(-1)))
    # At rest (both angles 0) the thumb leans 45 degrees out.
    out[:, DOF["thumb_cmc_flexion"]] = 0.55 * (42.0 - lean)


def bank(letters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", limit: int = 4000, seed: int = 0) -> F32:
    """Hand shapes (G, 27) of the recorded ASL letters in the data folder, to hand to `poses.sample` as `bank`.

    Raises MissingPart where the data folder is absent; the named shapes of `gestures` need none.
    """
    folder = data_dir()
    path = folder / "motion" / "asl_letters_landmarks.npz" if folder else None
    if path is None or not path.exists():
        raise MissingPart("No recorded hand shapes: set RT_HANDS_DATA to a folder that holds motion/.")
    with np.load(path) as recorded:
        chosen = np.isin(recorded["letter"], list(letters))
        landmarks = recorded["landmarks"][chosen] * _ASPECT
    landmarks = landmarks[plausible(landmarks)]
    order = np.random.default_rng(seed).permutation(len(landmarks))[:limit]
    return angles_from_landmarks(landmarks[order])
