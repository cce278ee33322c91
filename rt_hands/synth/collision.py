"""Do parts of a hand, or two hands, run into each other? Phalanges and palm as capsules; batched, soft to the touch."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.synth.skeleton import DIGIT_BONES, METACARPALS

F32 = NDArray[np.float32]

REFERENCE_LENGTH_MM: Final = 185.0
"""Hand length (wrist to middle fingertip) that the radii belong to; they scale with the hand."""

# 15 phalanges (thumb metacarpal, proximal, distal; then proximal, middle, distal of each finger), then 4 palm rays.
# Most flesh lies on the palmar side of the bone: the capsules' axes are shifted that way. Both from the average mesh.
_PHALANX_RADII: Final = (
    (13.5, 10.5, 8.5),
    (10.0, 8.6, 7.2),
    (10.0, 8.7, 7.4),
    (9.6, 8.4, 7.2),
    (8.4, 7.2, 6.2),
)
_PALM_RADII: Final = (13.0, 13.0, 13.0, 13.0)
RADII_MM: Final = np.array([*np.ravel(_PHALANX_RADII), *_PALM_RADII], np.float32)
_SHIFT_MM: Final = np.array([*((4.0, 3.0, 3.5) + (3.0, 2.8, 2.2) * 4), *(5.0,) * 4], np.float32)
FOREARM_RADII_MM: Final = np.array([20.0, 25.0], np.float32)
"""Of the forearm's half near the wrist and the other."""
SOFT: Final = 0.7  # flesh gives: capsules may come this near, as a share of the sum of their radii


_CAPSULE_BONES: Final = np.concatenate([DIGIT_BONES.ravel(), METACARPALS[1:]])


def capsules(turns: F32, centres: F32, tips: F32, scale: F32) -> tuple[F32, F32]:
    """Ends (N, 19, 3) of the capsules' axes of posed hands.

    Bones' turns (N, 21, 3, 3) and centres (N, 21, 3), fingertips (N, 5, 3), scale (N,): length / reference length.
    """
    joints = centres[:, DIGIT_BONES]  # (N, 5, 3, 3)
    # A fingertip's capsule ends a radius before the skin does.
    last = joints[:, :, 2] + 0.7 * (tips - joints[:, :, 2])
    end = np.concatenate([joints[:, :, 1:], last[:, :, None]], axis=2).reshape(len(centres), 15, 3)
    knuckles, wrist = joints[:, 1:, 0], centres[:, 1:2]
    starts = [joints.reshape(len(centres), 15, 3), wrist + 0.3 * (knuckles - wrist)]
    ends = [end, wrist + 0.9 * (knuckles - wrist)]
    palmar = turns[:, _CAPSULE_BONES][..., 2] * (_SHIFT_MM[:, None] * np.reshape(scale, (-1, 1, 1)))
    return np.concatenate(starts, axis=1) + palmar, np.concatenate(ends, axis=1) + palmar


def forearm(wrist: F32, elbow: F32) -> tuple[F32, F32]:
    """Ends (N, 2, 3) of the forearm's two capsules, from the wrist (N, 3) to the elbow cut (N, 3)."""
    along = [wrist + share * (elbow - wrist) for share in (0.06, 0.4, 0.8)]
    return np.stack(along[:2], axis=1), np.stack(along[1:], axis=1)


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
