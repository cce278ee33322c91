"""What hands look like, measured on the data engine's training people: `python -m rt_hands.training.hand_shape`.

Writes `weights/hand_shape.json`, which `lifting.shape_prior` reads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import tyro
from numpy.typing import NDArray

from rt_hands.errors import MissingPart, check_target, run_command
from rt_hands.lifting.canonical import canonical_frame
from rt_hands.lifting.shape_prior import FILE, N_FREE, bone_lengths
from rt_hands.paths import weights_dir, write_atomically

SAMPLES: Final = 40_000


@dataclass(frozen=True)
class Options:
    """Measure training people; half a minute."""

    out: Path = weights_dir() / FILE
    """The file to write."""


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


def main(argv: Sequence[str]) -> int:
    """Measure and write."""
    options = tyro.cli(
        Options,
        args=list(argv),
        prog="python -m rt_hands.training.hand_shape",
        description=Options.__doc__,
    )
    check_target(options.out)
    try:
        from rt_hands.synth.points import PointSampler
    except ImportError as error:
        raise MissingPart(
            f"Measuring hands needs the data engine ({error.name}): pip install 'rt_hands[synth]'"
        ) from error
    sampler = PointSampler("train", 1)
    joints_mm = np.concatenate([sampler.batch(i, 2000).joints_mm for i in range(SAMPLES // 2000)])
    write_atomically(options.out, measure(joints_mm.astype(np.float64)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
