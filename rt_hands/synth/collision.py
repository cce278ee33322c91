"""Do parts of a hand, or two hands, run into each other? Phalanges and palm as capsules; batched, soft to the touch."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.synth.skeleton import DIGIT_BONES

F32 = NDArray[np.float32]

REFERENCE_LENGTH_MM: Final = 185.0
"""Hand length (wrist to middle fingertip) that the radii belong to; they scale with the hand."""

# 15 phalanges (thumb metacarpal, proximal, distal; then proximal, middle, distal of each finger), then 4 palm rays.
_PHALANX_RADII: Final = (
    (13.0, 10.5, 9.0),
    (9.5, 8.2, 7.0),
    (9.5, 8.3, 7.2),
    (9.2, 8.0, 7.0),
    (8.2, 7.0, 6.2),
)
_PALM_RADII: Final = (12.0, 12.0, 12.0, 11.0)
RADII_MM: Final = np.array([*np.ravel(_PHALANX_RADII), *_PALM_RADII], np.float32)
N_CAPSULES: Final = len(RADII_MM)
SOFT: Final = 0.74  # flesh gives: capsules may come this near, as a share of the sum of their radii


def capsules(centres: F32, tips: F32) -> tuple[F32, F32]:
    """Ends (N, 19, 3) of the capsules' axes from posed bone centres (N, 21, 3) and fingertips (N, 5, 3)."""
    joints = centres[:, DIGIT_BONES]  # (N, 5, 3, 3)
    start = joints.reshape(len(centres), 15, 3)
    # A fingertip's capsule ends a radius before the skin does.
    last = joints[:, :, 2] + 0.7 * (tips - joints[:, :, 2])
    end = np.concatenate([joints[:, :, 1:], last[:, :, None]], axis=2).reshape(len(centres), 15, 3)
    knuckles = joints[:, 1:, 0]
    palm_start = centres[:, 1:2] + 0.3 * (knuckles - centres[:, 1:2])
    palm_end = centres[:, 1:2] + 0.9 * (knuckles - centres[:, 1:2])
    return np.concatenate([start, palm_start], axis=1), np.concatenate([end, palm_end], axis=1)


def segment_distance(p: F32, p_end: F32, q: F32, q_end: F32) -> F32:
    """Least distance between segments p..p_end and q..q_end, broadcast over leading axes: (..., 3) -> (...)."""
    u, v, w = p_end - p, q_end - q, p - q
    a, b, c = _dot(u, u), _dot(u, v), _dot(v, v)
    d, e = _dot(u, w), _dot(v, w)
    s = np.clip((b * e - c * d) / np.maximum(a * c - b * b, 1e-6), 0.0, 1.0)
    t = np.clip((b * s + e) / np.maximum(c, 1e-6), 0.0, 1.0)
    s = np.clip((b * t - d) / np.maximum(a, 1e-6), 0.0, 1.0)
    gap = w + s[..., None] * u - t[..., None] * v
    return np.sqrt(_dot(gap, gap))


def _dot(a: F32, b: F32) -> F32:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _own_pairs() -> NDArray[np.int64]:
    """Pairs of a hand's capsules that can meet and must not cross: (P, 2)."""
    pairs = []
    for i in range(15):
        for j in range(i + 1, 15):
            (digit_i, k_i), (digit_j, k_j) = divmod(i, 3), divmod(j, 3)
            # Phalanges of one digit hinge on each other; first ones of neighbours are joined by the web.
            if digit_i != digit_j and not (k_i == 0 and k_j == 0) and i != 0:
                pairs.append((i, j))
    for i in range(1, 15):
        if i % 3 or i < 3:  # a finger's first phalanx is joined to the palm
            pairs += [(i, 15 + ray) for ray in range(4) if i >= 3 or ray > 0]
    return np.array(pairs)


_OWN: Final = _own_pairs()


def own_depth(start: F32, end: F32, scale: float = 1.0) -> F32:
    """How deep, mm, a hand's parts run into each other beyond what flesh gives: (N, 19, 3) ends -> (N,); < 0 clear."""
    i, j = _OWN.T
    gap = segment_distance(start[:, i], end[:, i], start[:, j], end[:, j])
    return (SOFT * scale * (RADII_MM[i] + RADII_MM[j]) - gap).max(1)


def mutual_depth(first: tuple[F32, F32], second: tuple[F32, F32], radii_mm: F32, soft: float = SOFT) -> F32:
    """How deep two hands run into each other, mm: capsule ends (N, C, 3) each -> (N,); < 0 clear.

    `radii_mm` (2, C): of the first and the second hand's capsules.
    """
    gap = segment_distance(*(a[:, :, None] for a in first), *(a[:, None] for a in second))
    return (soft * (radii_mm[0][:, None] + radii_mm[1]) - gap).max((1, 2))
