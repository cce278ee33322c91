"""The One-Euro filter on all points of a hand at once. Casiez, Roussel, Vogel, CHI 2012."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Smoothing:
    """min_cutoff_hz: cutoff at rest, lower is steadier. beta: Hz of cutoff gained per hand size a second of speed.

    Speed is divided by the hand's size, so that near and far hands are smoothed alike. d_cutoff_hz: of the speed.
    """

    min_cutoff_hz: float = 1.2
    beta: float = 8.0
    d_cutoff_hz: float = 2.0


@dataclass(slots=True)
class OneEuro:
    """State of one hand's filter; `reset` on every new hand, or it would fly in from the last one."""

    smoothing: Smoothing = field(default_factory=Smoothing)
    _points: Points | None = None
    _speed: Points | None = None
    _t_ns: int = 0

    def reset(self) -> None:
        """Forget the past; the next points pass unchanged."""
        self._points = self._speed = None

    def __call__(self, points_px: NDArray[np.floating], t_ns: int, size_px: float) -> Points:
        """Smoothed points, (N, 2) px or (N, 3) mm in and out, size_px in the same unit.

        A time not later than the last one returns the last points.
        """
        points = points_px.astype(np.float64)
        if self._points is None or self._speed is None:
            self._points, self._speed, self._t_ns = points, np.zeros_like(points), t_ns
            return points
        dt = (t_ns - self._t_ns) * 1e-9
        if dt <= 0:
            return self._points
        step = points - self._points
        kept = 1 - _share(self.smoothing.d_cutoff_hz, dt)
        self._speed = kept * self._speed + (1 - kept) / dt * step
        # One cutoff for all axes of a point: filtering them apart bends straight paths.
        sizes_per_s = np.sqrt((self._speed * self._speed).sum(1, keepdims=True)) / max(size_px, 1.0)
        step *= _share(self.smoothing.min_cutoff_hz + self.smoothing.beta * sizes_per_s, dt)
        self._points = self._points + step
        self._t_ns = t_ns
        return self._points


def _share(cutoff_hz: float | NDArray[np.float64], dt: float) -> float | NDArray[np.float64]:
    """Weight of the new sample in a first-order low pass."""
    turn = 2 * np.pi * cutoff_hz * dt
    return turn / (turn + 1)
