"""What hands look like: the mean of their joints, how these vary together, and the lengths of the bones.

Measured on the data engine's training people in the canonical hand frame, so lengths are in palms; the file
`weights/hand_shape.json` is made by `python -m rt_hands.lifting.shape_prior`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import MissingPart, run_command
from rt_hands.layout import JOINT_BONES, N_JOINTS
from rt_hands.lifting.canonical import canonical_frame
from rt_hands.paths import weights_dir, write_atomically

FILE: Final = "hand_shape.json"
BONES: Final = np.array(JOINT_BONES)
N_FREE: Final = 3 * N_JOINTS
WIDER: Final = 1.5
"""Real people vary more than made-up ones, whose palms are almost rigid: the covariance is made so much larger ..."""
OWN_PALMS: Final = 0.04
"""... and each joint may lie this far off on its own account, 3.4 mm on a grown-up's hand."""
FRAME_STD: Final = (0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1)
"""The canonical frame is fitted to noisy joints: rotation (radians), shift (palms) and scale that it may be off by."""
SAMPLES: Final = 40_000


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


def measure(joints_mm: NDArray[np.floating]) -> bytes:
    """The file's content for right hands (N, 21, 3)."""
    frame = canonical_frame(joints_mm, np.zeros(len(joints_mm), np.int64))
    joints = frame.to_canonical(joints_mm)
    covariance = np.cov(joints.reshape(len(joints), -1).T)
    content = {
        "samples": len(joints),
        "bones": np.round(bone_lengths(joints).mean(0), 5).tolist(),
        "mean": np.round(joints.mean(0).ravel(), 5).tolist(),
        "covariance": np.round(covariance[np.tril_indices(N_FREE)], 6).tolist(),
    }
    return json.dumps(content).encode() + b"\n"


def main(_: Sequence[str]) -> int:
    """Measure training people and write the packaged file; half a minute."""
    try:
        from rt_hands.synth.points import PointSampler
    except ImportError as error:
        raise MissingPart(
            f"Measuring hands needs the data engine ({error.name}): pip install 'rt_hands[synth]'"
        ) from error
    sampler = PointSampler("train", 1)
    joints_mm = np.concatenate([sampler.batch(i, 2000).joints_mm for i in range(SAMPLES // 2000)])
    write_atomically(weights_dir() / FILE, measure(joints_mm.astype(np.float64)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
