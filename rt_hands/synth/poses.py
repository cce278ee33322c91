"""Poses: 27 joint angles drawn within anatomical limits, from gestures, blends of gestures and free curls.

Poses are split as people are. A pose's cell says how far each digit is curled (three levels) and whether the fingers
are spread; the 486 cells are dealt to train, val and test (80 / 10 / 10) by a fixed shuffle. A split emits only poses
of its own cells, so that a test pose's combination of curls was never seen in training.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import FINGERS, TIP_JOINTS
from rt_hands.synth.arm_model import BONES
from rt_hands.synth.collision import REFERENCE_LENGTH_MM, capsules, own_depth
from rt_hands.synth.gestures import GESTURES
from rt_hands.synth.library import library
from rt_hands.synth.skeleton import DIGIT_BONES, DOF, DOFS, N_DOFS, Skeleton, forward
from rt_hands.synth.subjects import SPLITS, Split, check_split

F32 = NDArray[np.float32]

_LIMITS_DEG: Final = {
    "wrist_flexion": (-60, 65),
    "wrist_deviation": (-32, 18),
    "forearm_pronation": (-75, 75),
    "thumb_cmc_flexion": (-24, 34),
    "thumb_cmc_abduction": (-28, 26),
    "thumb_cmc_rotation": (-15, 20),
    "thumb_mcp_flexion": (-8, 58),
    "thumb_mcp_abduction": (-8, 10),
    "thumb_ip_flexion": (-15, 78),
    "mcp_flexion": (-22, 92),
    "pip_flexion": (-4, 108),
    "dip_flexion": (-6, 78),
    "ring_arch": (-2, 8),
    "pinky_arch": (-3, 18),
}
_ABDUCTION_DEG: Final = {"index": (-7, 20), "middle": (-9, 9), "ring": (-13, 7), "pinky": (-28, 7)}


def _limits() -> F32:
    def of(name: str) -> tuple[float, float]:
        finger, _, joint = name.partition("_")
        return (
            _LIMITS_DEG[name]
            if name in _LIMITS_DEG
            else (_ABDUCTION_DEG[finger] if joint == "mcp_abduction" else _LIMITS_DEG[joint])
        )

    return np.radians([of(name) for name in DOFS]).astype(np.float32)


LIMITS: Final = _limits()
"""(27, 2) least and greatest angle of each joint, radians."""

MCP: Final = np.array([DOF[f"{f}_mcp_flexion"] for f in FINGERS[1:]])
ABD, PIP, DIP = MCP + 1, MCP + 2, MCP + 3
_THUMB: Final = np.array([DOF[n] for n in DOFS if n.startswith("thumb")])


def limited(angles: F32) -> F32:
    """Angles (N, 27) brought within reach: joint ranges, tight ligaments at bent knuckles, last joints with the middle.

    The ring and pinky follow each other's knuckle within 80 degrees, as their shared tendon makes them.
    """
    out = np.clip(angles, LIMITS[:, 0], LIMITS[:, 1])
    free = np.clip(np.cos(out[:, MCP]), 0.15, 1.0)
    out[:, ABD] *= free
    least = 0.35 * np.maximum(out[:, PIP] - np.radians(25.0), 0.0)
    out[:, DIP] = np.clip(out[:, DIP], least, 0.85 * np.maximum(out[:, PIP], 0.0) + np.radians(8.0))
    pinky, ring = out[:, MCP[3]], out[:, MCP[2]]
    out[:, MCP[2]] = np.clip(ring, pinky - np.radians(80.0), pinky + np.radians(80.0))
    # Neighbours may not cross: at straight fingers each lies beside the last.
    for k in (1, 2, 3):
        gap = np.radians(3.0) * np.clip(1.0 - np.abs(out[:, MCP[k]] - out[:, MCP[k - 1]]) / 0.6, 0.0, 1.0)
        out[:, ABD[k]] = np.minimum(out[:, ABD[k]], out[:, ABD[k - 1]] + gap)
    return out


def _noise(rng: np.random.Generator, n: int) -> F32:
    """Correlated scatter round a hand shape: the hand as a whole, each finger, each joint. (n, 27) radians."""
    noise = rng.standard_normal((n, N_DOFS), np.float32) * np.float32(np.radians(3.5))
    fingers = rng.standard_normal((n, 4), np.float32) * 6.0 + rng.standard_normal((n, 1), np.float32) * 6.0
    for columns, share in ((MCP, 0.9), (PIP, 1.0), (DIP, 0.6)):
        noise[:, columns] += np.radians(fingers * share)
    spread = np.radians(rng.standard_normal((n, 1), np.float32) * 3.0)
    noise[:, ABD] += spread * np.array([1.0, 0.1, -0.7, -1.4], np.float32)
    noise[:, _THUMB] *= 1.6
    return noise


def _free(rng: np.random.Generator, n: int) -> F32:
    """Hands of no name: fingers that curl mostly together, a thumb anywhere in its range. (n, 27) radians."""
    out = np.zeros((n, N_DOFS), np.float32)
    curl = rng.uniform(-0.1, 1.0, (n, 1)) + np.cumsum(rng.normal(0, 0.13, (n, 4)), axis=1)
    apart = rng.random((n, 4)) < 0.22
    curl = np.where(apart, rng.uniform(-0.1, 1.05, (n, 4)), curl)
    # How the curl is shared between knuckle and finger: hooks at one end, flat folds at the other.
    share = rng.normal(0, 0.22, (n, 1)) + rng.normal(0, 0.1, (n, 4))
    out[:, MCP] = np.radians(85.0) * (curl + share)
    out[:, PIP] = np.radians(100.0) * (curl - share) + np.radians(5.0)
    out[:, DIP] = out[:, PIP] * rng.normal(0.64, 0.1, (n, 4))
    spread = rng.normal(0.35, 0.6, (n, 1))
    out[:, ABD] = np.radians(spread * (10.0, 1.0, -7.0, -15.0) + rng.normal(0, 2.0, (n, 4)))
    low, high = LIMITS[_THUMB, 0], LIMITS[_THUMB, 1]
    out[:, _THUMB] = low + (high - low) * rng.beta(1.6, 1.6, (n, len(_THUMB)))
    out[:, DOF["pinky_arch"]] = np.radians(rng.uniform(-2, 14, n))
    out[:, DOF["ring_arch"]] = 0.45 * out[:, DOF["pinky_arch"]]
    return out


def _wrist(rng: np.random.Generator, out: F32) -> None:
    n = len(out)
    out[:, DOF["wrist_flexion"]] = np.radians(rng.normal(-6, 22, n))
    out[:, DOF["wrist_deviation"]] = np.radians(rng.normal(-4, 9, n))
    out[:, DOF["forearm_pronation"]] = np.radians(rng.uniform(-75, 75, n))


def propose(rng: np.random.Generator, n: int, bank: F32 = GESTURES, free: float = 0.4) -> F32:
    """Poses (n, 27) within limits, of any split, not yet checked for collisions.

    A share `free` of no name; of the others two thirds scatter round a shape of the bank (G, 27), one between two.
    """
    kind = rng.random(n)
    first, second = rng.integers(len(bank), size=(2, n))
    mix = np.where(kind < (1 - free) * 2 / 3, 0.0, rng.random(n)).astype(np.float32)[:, None]
    out = (1 - mix) * bank[first] + mix * bank[second] + _noise(rng, n)
    unnamed = kind >= 1 - free
    out[unnamed] = _free(rng, int(unnamed.sum()))
    _wrist(rng, out)
    return limited(out)


# --- splits ----------------------------------------------------------------------------------------------

_CURL_STEPS: Final = np.radians([50.0, 120.0])  # knuckle + middle joint
_THUMB_STEPS: Final = np.radians([12.0, 42.0])  # base + half of the other two
_SPREAD_STEP: Final = np.radians(12.0)  # index against pinky
N_CELLS: Final = 3**5 * 2


def cells(angles: F32) -> NDArray[np.int64]:
    """Cell of each pose, 0 .. 485: (N, 27) -> (N,)."""
    thumb = angles[:, DOF["thumb_cmc_flexion"]] + 0.5 * (
        angles[:, DOF["thumb_mcp_flexion"]] + angles[:, DOF["thumb_ip_flexion"]]
    )
    cell = np.digitize(thumb, _THUMB_STEPS)
    for level in np.digitize(angles[:, MCP] + angles[:, PIP], _CURL_STEPS).T:
        cell = 3 * cell + level
    return 2 * cell + (angles[:, ABD[0]] - angles[:, ABD[3]] > _SPREAD_STEP)


@cache
def split_of_cells() -> NDArray[np.int64]:
    """Place in `SPLITS` of each cell: (486,)."""
    order = np.random.default_rng(64).permutation(N_CELLS)
    out = np.zeros(N_CELLS, np.int64)
    out[order[: N_CELLS // 10]] = 1
    out[order[N_CELLS // 10 : N_CELLS // 5]] = 2
    return out


def in_split(angles: F32, split: Split) -> NDArray[np.bool_]:
    """Whether poses (N, 27) belong to a split: (N,)."""
    check_split(split)
    return split_of_cells()[cells(angles)] == SPLITS.index(split)


_CHUNK: Final = 256  # poses whose capsule pairs fit the cache


# --- samples ---------------------------------------------------------------------------------------------


@cache
def _average_hand() -> tuple[Skeleton, F32]:
    """Skeleton of an average hand, scaled to the capsules' size, and its tips in their bones' frames (5, 3)."""
    hands = library()
    shapes = hands.skeletons.centres / hands.length_mm[:, None, None]
    middle = int(
        np.argmin(np.linalg.norm(shapes - shapes.mean(0), axis=(1, 2)))
    )  # of the most average proportions
    hand = hands.skeletons.take(np.array(middle))
    scale = np.float32(REFERENCE_LENGTH_MM / hands.length_mm[middle])
    tips = hands.coefficients[middle].reshape(len(BONES), 4, -1)[DIGIT_BONES[:, 2], :3, :][:, :, TIP_JOINTS]
    tips = np.stack([tips[d, :, d] for d in range(5)])
    return dataclasses.replace(hand, centres=hand.centres * scale), tips * scale


def _clear(angles: F32) -> NDArray[np.bool_]:
    """Whether the average hand can take these poses without running into itself: (N, 27) -> (N,)."""
    chunks = [_depth(angles[i : i + _CHUNK]) < 0.0 for i in range(0, len(angles), _CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros(0, bool)


def _depth(angles: F32) -> F32:
    hand, local_tips = _average_hand()
    turns, centres = forward(hand, angles)
    last = DIGIT_BONES[:, 2]
    tips = centres[:, last] + (turns[:, last] @ local_tips[..., None])[..., 0]
    return own_depth(*capsules(turns, centres, tips, np.ones(1, np.float32)))


def sample(rng: np.random.Generator, n: int, split: Split) -> F32:
    """Poses (n, 27) of a split, within limits, free of gross self-penetration. A pure function of the rng's state."""
    check_split(split)
    share = {"train": 0.6, "val": 0.06, "test": 0.06}[split]
    kept: list[F32] = []
    missing = n
    while missing > 0:
        angles = propose(rng, min(int(missing / share) + 16, 16384))
        angles = angles[in_split(angles, split)]
        angles = angles[_clear(angles)][:missing]
        kept.append(angles)
        missing -= len(angles)
    return np.concatenate(kept)
