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

from rt_hands import _core
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
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
        late = [camera for camera in views if self._can_be_moved(camera, times_ns[camera], moment_ns)]
        moved = dict(views)
        if late:
            moved |= self._moved(late, views, times_ns, moment_ns)
        self._last |= {camera: (times_ns[camera], hands) for camera, hands in views.items()}
        return moved

    def _can_be_moved(self, camera: str, t_ns: int, moment_ns: int) -> bool:
        before_ns = self._last[camera][0] if camera in self._last else t_ns
        return t_ns - moment_ns >= WORTH_NS and before_ns < moment_ns and t_ns - before_ns <= LONGEST_NS

    def _moved(
        self, late: list[str], views: Mapping[str, Hands2D], times_ns: Mapping[str, int], moment_ns: int
    ) -> dict[str, Hands2D]:
        points = np.stack([views[camera].points_px for camera in late])
        before = np.stack([self._last[camera][1].points_px for camera in late])
        t_ns = np.array([times_ns[camera] for camera in late], np.float64)
        back = (t_ns - moment_ns) / (t_ns - [self._last[camera][0] for camera in late])
        now, then = (a.reshape(-1, N_HAND, 3) for a in (points, before))
        moved = _core.moved_back(now, then, np.repeat(back, N_HANDS), joints=N_JOINTS, most=SAME_HAND)
        points = moved.reshape(points.shape)
        return {
            camera: Hands2D(points[v], views[camera].present, views[camera].presence)
            for v, camera in enumerate(late)
        }


def middle(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """(..., n) -> (...) median of those that are there, the upper of two, infinity for none; ten times faster."""
    rows = np.sort(values.reshape(-1, values.shape[-1]), axis=1)
    # NaN is sorted behind infinity, and less than nothing.
    known = (rows < np.inf).sum(1)
    at = np.minimum(known // 2, rows.shape[1] - 1)
    found = np.where(known > 0, rows[np.arange(len(rows)), at], np.inf)
    return np.asarray(found.reshape(values.shape[:-1]), values.dtype)
