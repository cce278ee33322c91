"""The views of one FrameSet brought to one moment.

Cameras without a trigger take the pictures of a set up to half a period apart; a hand at 1 m/s goes 17 mm in half a
period of 30 fps. The set's moment is its earliest picture: what the later ones saw is moved back, on a straight line to
what the same view saw before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import N_HANDS, hand_slice
from rt_hands.types import Hands2D

WORTH_NS: Final = 1_000_000
"""Pictures nearer in time are of one moment."""
LONGEST_NS: Final = 250_000_000
"""What was seen longer ago says nothing of where a hand was between."""
SAME_HAND: Final = 1.0
"""A hand that moved on by more than this, in sizes of the hand, may be another one."""


@dataclass(slots=True)
class OneMoment:
    """Call once a FrameSet, times in order."""

    _last: dict[str, tuple[int, Hands2D]] = field(default_factory=dict)

    def __call__(self, views: Mapping[str, Hands2D], times_ns: Mapping[str, int]) -> dict[str, Hands2D]:
        """The views' hands as they were at the earliest of the times; those without a past stay as they are."""
        moment_ns = min((times_ns[camera] for camera in views), default=0)
        moved = {
            camera: self._moved(camera, hands, times_ns[camera], moment_ns) for camera, hands in views.items()
        }
        self._last |= {camera: (times_ns[camera], hands) for camera, hands in views.items()}
        return moved

    def _moved(self, camera: str, hands: Hands2D, t_ns: int, moment_ns: int) -> Hands2D:
        before_ns, before = self._last.get(camera, (t_ns, hands))
        if t_ns - moment_ns < WORTH_NS or not before_ns < moment_ns or t_ns - before_ns > LONGEST_NS:
            return hands
        share = (moment_ns - before_ns) / (t_ns - before_ns)
        points = hands.points_px.copy()
        for hand in range(N_HANDS):
            at = hand_slice(hand)
            step_px = hands.points_px[at, :2] - before.points_px[at, :2]
            if hands.present[hand] and before.present[hand] and _is_same(step_px, hands.points_px[at, :2]):
                points[at, :2] -= np.nan_to_num((1 - share) * step_px)
        return Hands2D(points, hands.present, hands.presence)


def _is_same(step_px: NDArray[np.float32], points_px: NDArray[np.float32]) -> bool:
    known = np.isfinite(step_px[:, 0])
    if not known.any():
        return False
    size_px = float(np.ptp(points_px[known], axis=0).max())
    return bool(np.median(np.linalg.norm(step_px[known], axis=1)) < SAME_HAND * size_px)
