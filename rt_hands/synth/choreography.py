"""Smooth movement: two hands that go from key pose to key pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.synth import library, two_hands
from rt_hands.synth.gestures import GESTURE_NAMES, GESTURES
from rt_hands.synth.hand import HandMesh, Subject
from rt_hands.synth.poses import limited
from rt_hands.synth.skeleton import DOF

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# A pair's own frame (x, y up, z to the viewer) -> the room's: x to the person's right, y to the viewer, z up.
WORLD_FROM_PAIR: Final = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])

# Wrists bent back and forearms coming from elbows that hang beside the body, as before a desk.
_WRIST: Final = [DOF["wrist_flexion"], DOF["wrist_deviation"], DOF["forearm_pronation"]]
FOREARM_RAD: Final = np.deg2rad([-32.0, -12.0, 0.0]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Key:
    """Where both hands are at t_s: angles (2, 27) and world_from_hand (2, 4, 4), right then left."""

    t_s: float
    angles: F32
    world_from_hand: F64

    def pulled_apart(self, t_s: float, apart_mm: float) -> Key:
        """The same hands at another time, drawn apart sideways."""
        worlds = self.world_from_hand.copy()
        worlds[0, 0, 3] += apart_mm / 2
        worlds[1, 0, 3] -= apart_mm / 2
        return Key(t_s, self.angles, worlds)


def apart_key(t_s: float, shapes: tuple[str, str], apart_mm: float, lift_mm: float, turn_deg: float) -> Key:
    """Raised hands side by side in named shapes, palms to the viewer but for turn_deg about the forearm."""
    angles = np.stack([GESTURES[GESTURE_NAMES.index(shape)] for shape in shapes]).astype(np.float32)
    angles[:, _WRIST] = FOREARM_RAD
    worlds = np.tile(np.eye(4), (2, 1, 1))
    for side, way in ((0, 1.0), (1, -1.0)):
        lean = cv2.Rodrigues(np.array([0.0, 0.0, -way * np.deg2rad(18)]))[0]
        worlds[side, :3, :3] = lean @ cv2.Rodrigues(np.array([0.0, way * np.deg2rad(turn_deg), 0.0]))[0]
        worlds[side, :3, 3] = (-way * apart_mm / 2, lift_mm - 85, 0)
    return Key(t_s, angles, WORLD_FROM_PAIR @ worlds)


def contact_key(t_s: float, subject: Subject, kind: two_hands.Kind, seed: int) -> Key:
    """Hands that touch, without running into each other."""
    pair = two_hands.sample_pair(np.random.default_rng(seed), subject, "train", kind)
    angles = np.stack(pair.angles)
    angles[:, _WRIST] = FOREARM_RAD
    return Key(t_s, angles, WORLD_FROM_PAIR @ np.stack(pair.world_from_hand).astype(float))


def between(keys: Sequence[Key], t_s: float) -> tuple[F32, F64]:
    """Angles (2, 27) and world_from_hand (2, 4, 4) at a time; held before the first key and after the last.

    Each stretch starts and ends at rest (minimum jerk, Flash and Hogan 1985), as reaching movements do; fingers
    lag a little behind one another and a slow sway keeps held poses alive.
    """
    k = int(np.clip(np.searchsorted([key.t_s for key in keys], t_s, side="right") - 1, 0, len(keys) - 2))
    first, second = keys[k], keys[k + 1]
    share = float(np.clip((t_s - first.t_s) / (second.t_s - first.t_s), 0, 1))
    lag = np.linspace(0.0, 0.12, first.angles.shape[1])
    part = _ease(np.clip(share * 1.12 - lag, 0, 1))
    angles = first.angles + (second.angles - first.angles) * part.astype(np.float32)
    sway = np.sin(2.1 * t_s + np.arange(first.angles.shape[1]) * 1.7)
    angles = angles + (np.deg2rad(1.6) * sway * (np.arange(angles.shape[1]) >= DOF["thumb_cmc_flexion"]))
    worlds = np.stack(
        [
            _rigid_between(a, b, float(_ease(np.array(share))))
            for a, b in zip(first.world_from_hand, second.world_from_hand, strict=True)
        ]
    )
    worlds[:, :3, 3] += 2.0 * np.sin(np.array([1.9, 2.3, 2.7]) * t_s + np.array([[0.0], [1.0]]))
    return limited(angles.astype(np.float32)), worlds


def posed_at(keys: Sequence[Key], subject: Subject, t_s: float) -> tuple[HandMesh, HandMesh]:
    """Right and left hand at a time."""
    angles, worlds = between(keys, t_s)
    model = library.hand_model()
    right, left = (model.posed(subject, angles[side], side, worlds[side]) for side in (0, 1))
    return right, left


def _ease(share: F64) -> F64:
    return share * share * share * (10 + share * (6 * share - 15))


def _rigid_between(a: F64, b: F64, share: float) -> F64:
    out = np.eye(4)
    step, _ = cv2.Rodrigues(b[:3, :3] @ a[:3, :3].T)
    out[:3, :3] = cv2.Rodrigues(share * step)[0] @ a[:3, :3]
    out[:3, 3] = a[:3, 3] + share * (b[:3, 3] - a[:3, 3])
    return out
