"""Which frames of several cameras belong to one moment, by their grab times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ABSENT = -1
"""In a set: this camera has no frame of that moment."""


def bundle(times_ns: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Sets of frames that were grabbed together.

    times_ns: rising grab times of each of V cameras. Returns (sets, V) indices into them, `ABSENT` where a camera has
    no frame within half a period of the set's first; every frame is in exactly one set, sets are in order of time.
    """
    tolerance_ns = half_period_ns(times_ns)
    at = [0] * len(times_ns)
    sets = []
    while any(at[v] < len(times) for v, times in enumerate(times_ns)):
        nexts = [int(times[at[v]]) if at[v] < len(times) else None for v, times in enumerate(times_ns)]
        first = min(t for t in nexts if t is not None)
        row = [at[v] if t is not None and t - first <= tolerance_ns else ABSENT for v, t in enumerate(nexts)]
        at = [i + (chosen != ABSENT) for i, chosen in zip(at, row, strict=True)]
        sets.append(row)
    return np.array(sets, np.int64).reshape(-1, len(times_ns))


def half_period_ns(times_ns: Sequence[NDArray[np.int64]]) -> float:
    """Half of the shortest usual interval between frames of one camera; 0 where no camera has two frames."""
    periods = [float(np.median(np.diff(times))) for times in times_ns if len(times) > 1]
    return min(periods) / 2 if periods else 0.0
