"""Smoothing and filling of a whole recording, where the future is known too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
SIGMA_MS = 55.0
"""By trial on 2 px of noise at 30 fps: 1.05 px are left at rest and at 500 px/s, 1.08 at a wave of 1000 px/s to and fro
in 0.6 s; 70 ms would leave 0.89 at rest but 1.41 there."""
REACH = 3.0
"""In sigmas; beyond it the weights are under 1 %."""
LONGEST_STEP_MS = 200.0
"""A longer step between two moments parts the past from the future."""
FILLED_SCORE = 0.5
"""Score of a point that was filled in, as a share of the lower one beside the gap."""


@dataclass(frozen=True, slots=True)
class HandPath:
    """One hand over T moments. points: (T, 85, 2) px or (T, 85, 3) mm, NaN where absent. score: (T, 85), 0 there.

    t_ns: (T,) rising. present: (T,) bool. filled: (T,) bool, where the points were made from those before and after.
    """

    t_ns: NDArray[np.int64]
    points: Points
    score: NDArray[np.float32]
    present: NDArray[np.bool_]
    filled: NDArray[np.bool_]


def fill_gaps(path: HandPath, longest_ms: float) -> HandPath:
    """Straight lines through absences no longer than longest_ms between two moments; marked in `filled`.

    A point is filled where it is known on both sides; its score is FILLED_SCORE of the lower one. Absences at the ends
    and longer ones stay.
    """
    points, score = path.points.copy(), path.score.copy()
    present, filled = path.present.copy(), path.filled.copy()
    seen = np.flatnonzero(path.present)
    for before, after in pairwise(seen.tolist()):
        span_ns = int(path.t_ns[after] - path.t_ns[before])
        if after == before + 1 or span_ns > longest_ms * 1e6:
            continue
        inside = slice(before + 1, after)
        share = ((path.t_ns[inside] - path.t_ns[before]) / span_ns)[:, None, None]
        points[inside] = (1 - share) * points[before] + share * points[after]
        lower = FILLED_SCORE * np.minimum(score[before], score[after])
        score[inside] = np.where(np.isfinite(points[inside, :, 0]), lower, 0)
        present[inside] = filled[inside] = True
    return replace(path, points=points, score=score, present=present, filled=filled)


def smooth_two_way(path: HandPath) -> HandPath:
    """A parabola in time fitted round each moment, past and future weighted by a Gaussian: no lag, any frame rate.

    (Savitzky and Golay 1964, for uneven times.) A step longer than LONGEST_STEP_MS, or points that come or go, part the
    past from the future.
    """
    points = path.points.copy()
    for first, end in _runs(path):
        there = np.isfinite(path.points[first, :, 0])
        values, t_sigmas = path.points[first:end, there], path.t_ns[first:end] / (SIGMA_MS * 1e6)
        lows = np.searchsorted(t_sigmas, t_sigmas - REACH)
        highs = np.searchsorted(t_sigmas, t_sigmas + REACH, side="right")
        for i, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
            weights = _parabola_weights(t_sigmas[low:high] - t_sigmas[i])
            points[first + i, there] = np.tensordot(weights, values[low:high], 1)
    return replace(path, points=points)


def _parabola_weights(t_sigmas: Points) -> Points:
    """(n,) weights of values at n times round 0, in sigmas, that give the value at 0 of the parabola through them."""
    # Fewer moments than a parabola needs get a line, or the value itself.
    powers = t_sigmas[:, None] ** np.arange(min(3, len(t_sigmas)))
    weighted = powers * np.exp(-0.5 * t_sigmas[:, None] ** 2)
    return np.asarray(np.linalg.solve(powers.T @ weighted, weighted.T)[0], np.float64)


def _runs(path: HandPath) -> Iterator[tuple[int, int]]:
    """(first, end) of moments in a row with the same points known."""
    there = np.isfinite(path.points[..., 0])
    breaks = (there[1:] != there[:-1]).any(1) | (np.diff(path.t_ns) > LONGEST_STEP_MS * 1e6)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(path.t_ns)]
    for first, end in pairwise(edges):
        if end > first and there[first].any():
            yield first, end
