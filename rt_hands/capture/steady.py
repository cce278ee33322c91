"""Stamps that jump: a camera whose clock is set while it records."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from rt_hands.capture.source import Notice

LONGEST_GAP_S = 5.0
"""A camera without a picture for so long is worth a word: it was off, or its clock jumped ahead."""
STEPS = 9
"""The median of so many steps is the interval: single ones are short or long after a picture that came late."""


class Steady:
    """Call with each stamp of one camera, ns; gives it back, moved where that is needed for time to go on.

    A jump back is told of and taken off all later stamps, so that the next picture comes one interval after the last.
    One of less than an interval, as of two pictures handed over at once, is no clock that was set: that picture follows
    at once, later stamps stay. A jump ahead can't be told from a camera that was off, or a slow one: the first is told
    of, the stamps stay, the view is absent till then.
    """

    def __init__(self, camera: str, notice: Notice) -> None:
        self._camera, self._notice = camera, notice
        self._last_ns: int | None = None
        self._steps_ns = deque[int](maxlen=STEPS)
        self._shift_ns = 0
        self._count = 0
        self._gap_told = self._doubled_told = False

    def __call__(self, stamp_ns: int) -> int:
        t_ns = stamp_ns + self._shift_ns
        if self._last_ns is not None:
            step_ns = t_ns - self._last_ns
            if step_ns > LONGEST_GAP_S * 1e9:
                self._tell_gap(step_ns * 1e-9)
            elif step_ns > 0:
                self._steps_ns.append(step_ns)
            else:
                t_ns = self._last_ns + self._onward_ns(step_ns)
        self._last_ns = t_ns
        self._count += 1
        return t_ns

    def _onward_ns(self, step_ns: int) -> int:
        """How long after the last picture one comes whose stamp is no later."""
        interval_ns = sorted(self._steps_ns)[len(self._steps_ns) // 2] if self._steps_ns else 1
        if step_ns > -interval_ns:
            self._tell_doubled()
            return 1
        self._notice(
            f"Camera '{self._camera}': its clock jumps back by {-step_ns * 1e-9:.2f} s at picture "
            f"{self._count}; its later pictures are taken to follow on."
        )
        self._shift_ns += interval_ns - step_ns
        return interval_ns

    def _tell_doubled(self) -> None:
        if self._doubled_told:
            return
        self._doubled_told = True
        self._notice(
            f"Camera '{self._camera}': picture {self._count} is stamped no later than the one before it; it is taken "
            "to follow at once, as later such pictures are."
        )

    def _tell_gap(self, gap_s: float) -> None:
        if self._gap_told:
            return
        self._gap_told = True
        self._notice(
            f"Camera '{self._camera}' has no picture for {gap_s:.1f} s before picture {self._count}: it was off, or "
            "its clock jumped, or it is slow. The other views go on without it, then and in later gaps."
        )


def steady_times(times_ns: NDArray[np.int64], camera: str, notice: Notice) -> NDArray[np.int64]:
    """`Steady` on all the stamps of a recording."""
    steps = np.diff(times_ns)
    if not len(steps) or (steps.min() > 0 and steps.max() <= LONGEST_GAP_S * 1e9):
        return times_ns
    steady = Steady(camera, notice)
    return np.array([steady(int(t)) for t in times_ns], np.int64)
