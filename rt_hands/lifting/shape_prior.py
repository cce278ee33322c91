"""What hands look like: the mean of their joints, how these vary together, and the lengths of the bones.

Measured on the data engine's training people in the canonical hand frame, so lengths are in palms; the file
`weights/hand_shape.json` is made by `python -m rt_hands.training.hand_shape`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import JOINT_BONES, N_JOINTS
from rt_hands.paths import weights_dir

FILE: Final = "hand_shape.json"
BONES: Final = np.array(JOINT_BONES)
N_FREE: Final = 3 * N_JOINTS
WIDER: Final = 1.5
"""Real people vary more than made-up ones, whose palms are almost rigid: the covariance is made so much larger ..."""
OWN_PALMS: Final = 0.04
"""... and each joint may lie this far off on its own account, 3.4 mm on a grown-up's hand."""
FRAME_STD: Final = (0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1)
"""The canonical frame is fitted to noisy joints: rotation (radians), shift (palms) and scale that it may be off by."""


@dataclass(frozen=True, slots=True)
class ShapePrior:
    """mean: (21, 3) palms. precision: (63, 63), inverse covariance of joints in a fitted frame. bones: (20,) palms,
    in the order of JOINT_BONES."""

    mean: NDArray[np.float64]
    precision: NDArray[np.float64]
    bones: NDArray[np.float64]

    @staticmethod
    def of(
        mean: NDArray[np.float64], covariance: NDArray[np.float64], bones: NDArray[np.float64]
    ) -> ShapePrior:
        """covariance: (63, 63), of exact joints in exact frames."""
        drift = _drifts(mean) * FRAME_STD
        wide = WIDER * covariance + OWN_PALMS**2 * np.eye(N_FREE) + drift @ drift.T
        return ShapePrior(mean, np.asarray(np.linalg.inv(wide), np.float64), bones)


def bone_lengths(joints: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 21, 3) -> (..., 20), in the order of JOINT_BONES."""
    return np.asarray(
        np.linalg.norm(joints[..., BONES[:, 1], :] - joints[..., BONES[:, 0], :], axis=-1), np.float64
    )


def _drifts(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(63, 7) how the joints move with a small rotation, shift or scaling of the frame."""
    turns = [np.cross(axis, mean).ravel() for axis in np.eye(3)]
    shifts = [np.tile(axis, N_JOINTS) for axis in np.eye(3)]
    return np.stack([*turns, *shifts, mean.ravel()], axis=1)


@cache
def shape_prior() -> ShapePrior:
    """The packaged one, read once."""
    data = json.loads((weights_dir() / FILE).read_text())
    triangle = np.zeros((N_FREE, N_FREE))
    triangle[np.tril_indices(N_FREE)] = data["covariance"]
    covariance = triangle + np.tril(triangle, -1).T
    return ShapePrior.of(np.array(data["mean"]).reshape(N_JOINTS, 3), covariance, np.array(data["bones"]))
